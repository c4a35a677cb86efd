//! What the keeper does for one pool: retires what is too old or idle for too
//! long, finds what died while nobody looked, and keeps `min_idle` open.

use super::{Engine, discard};
use crate::driver::Driver;
use crate::keeper::Tend;
use crate::managed::{Discard, Look, Managed};
use crate::observe::CloseReason;
use crate::retry::Backoff;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often idle connections are looked at while nobody asks for them: a dead
/// one is found, told of and, for `min_idle`, replaced before a caller comes.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A visit does not see the connections in use, and one that comes back too old is
/// closed by its check-in; but one that grows too old between that and the next
/// visit waits for the visit. So that this is well within the margin below a
/// proxy's limit, a tenth, there are this many visits in a lifetime.
const SWEEPS_IN_A_LIFE: u32 = 20;
/// Visits are no closer than this.
const SWEEP_AT_MOST_EVERY: Duration = Duration::from_millis(10);

/// How many are out of reach of callers at a time during a sweep; a look takes
/// about a third of a microsecond each.
const SWEEP_CHUNK: usize = 16;

/// Pauses between attempts to fill up to `min_idle` while the server is down.
const UNASKED: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// The pace of attempts that no caller asked for.
#[derive(Default)]
pub(super) struct Unasked {
    failures: u32,
    not_before: Option<Instant>,
}

impl Unasked {
    pub(super) fn succeeded(&mut self) {
        *self = Unasked::default();
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + UNASKED.pause(self.failures, fastrand::f64()));
    }

    fn wait(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|not_before| *not_before > now)
    }
}

impl<D: Driver> Engine<D> {
    pub(super) fn retire(&self, now: Instant) {
        let min_idle = self.warden.config().min_idle;
        let due = self.core.retire_idle(
            min_idle,
            |managed| managed.idled_too_long(now),
            |managed| managed.overdue(now).is_some(),
        );
        for managed in due {
            let reason = managed.overdue(now).unwrap_or(CloseReason::IdleTimeout);
            discard(managed, Discard::planned(reason));
        }
    }

    /// Peeks at every idle connection, a few at a time.
    fn sweep(self: &Arc<Self>, now: Instant) {
        let mut place = 0;
        loop {
            let items = self.core.borrow_idle(place, SWEEP_CHUNK);
            if items.is_empty() {
                return;
            }
            let borrowed = Borrowed { engine: self, place, owed: items.len(), items };
            place += borrowed.check(now);
        }
    }

    /// Opens what `min_idle` asks for. Returns when to come back for it.
    fn fill_up(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let min_idle = self.warden.config().min_idle;
        if min_idle == 0 || self.core.is_closed() {
            return None;
        }
        if let Some(later) = self.unasked.lock().wait(now) {
            return Some(later);
        }
        while let Some(order) = self.core.refill(min_idle, now) {
            self.carry_out(vec![order]);
        }
        // An attempt of a caller may have failed just now: nobody comes for us then.
        self.core.next_attempt().filter(|due| *due > now)
    }
}

impl<D: Driver> Tend for Engine<D> {
    fn tend(self: Arc<Self>, now: Instant) -> Option<Instant> {
        if self.core.is_closed() {
            return None;
        }
        self.retire(now);
        self.sweep(now);
        // What was out for a look when the cap was lowered is shed here.
        if self.warden.grow(now) || self.warden.budget().is_over() {
            self.resized();
        }
        self.refresh_limits(now);
        let fill_up_again = self.fill_up(now);
        let others = [fill_up_again, self.warden.next_step()].into_iter().flatten();
        self.next_visit(now).into_iter().chain(others).min()
    }
}

impl<D: Driver> Engine<D> {
    /// When the idle connections want to be looked at again; never if none is
    /// open: whoever opens one calls the keeper.
    fn next_visit(&self, now: Instant) -> Option<Instant> {
        let counts = self.core.counts();
        if counts.idle + counts.in_use == 0 {
            return None;
        }
        let life = self.warden.bounds().lifetime().unwrap_or(Duration::MAX);
        let mut next = now + (life / SWEEPS_IN_A_LIFE).clamp(SWEEP_AT_MOST_EVERY, SWEEP_EVERY);
        self.core.for_each_idle(|managed| {
            // What min_idle keeps open stays due and is no reason to hurry.
            if let Some(due) = managed.next_due().filter(|due| *due > now) {
                next = next.min(due);
            }
        });
        Some(next)
    }
}

/// Idle connections out for a look; whatever happens, they are accounted for.
struct Borrowed<'a, D: Driver> {
    engine: &'a Arc<Engine<D>>,
    place: usize,
    owed: usize,
    items: Vec<Box<Managed<D>>>,
}

impl<D: Driver> Borrowed<'_, D> {
    /// Returns how many are healthy and back in their places.
    fn check(mut self, now: Instant) -> usize {
        let (mut healthy, mut gone) = (Vec::with_capacity(self.items.len()), Vec::new());
        for mut managed in std::mem::take(&mut self.items) {
            match managed.look(now) {
                Look::Close(fate) => gone.push((managed, fate)),
                Look::Fine | Look::AskServer | Look::Doubted => healthy.push(managed),
            }
        }
        if gone.iter().any(|(_, fate)| fate.reason.hints_at_an_outage()) {
            self.engine.core.distrust();
        }
        let back = healthy.len();
        self.settle(healthy, now);
        for (managed, fate) in gone {
            discard(managed, fate);
        }
        back
    }

    fn settle(&mut self, healthy: Vec<Box<Managed<D>>>, now: Instant) {
        let gone = self.owed - healthy.len();
        self.owed = 0;
        let (late, orders) = self.engine.core.return_idle(self.place, healthy, gone, now);
        for managed in late {
            discard(managed, Discard::planned(CloseReason::PoolClosed));
        }
        self.engine.carry_out(orders);
    }
}

impl<D: Driver> Drop for Borrowed<'_, D> {
    fn drop(&mut self) {
        if self.owed > 0 {
            self.settle(Vec::new(), Instant::now());
        }
    }
}
