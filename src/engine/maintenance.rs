//! What the housekeeper does for one pool: retires connections that are too old or
//! idle for too long, finds those that died while idle, and keeps `min_idle` open.

use super::engine::{Discarded, Engine, close_all, discard_all};
use crate::connection::{CheckoutVerdict, CloseCause, Managed};
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::clock::{self, Tick};
use crate::sys::housekeeper::Maintain;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often idle connections are checked while no caller uses them: a dead one is
/// found, reported and, for `min_idle`, replaced before a caller needs it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A sweep does not see the connections in use. One that is too old at check-in is
/// closed there, but one that becomes too old afterwards stays until the next sweep.
/// With this many sweeps in a lifetime that delay is well within the margin below a
/// proxy's limit, which is a tenth.
const SWEEPS_PER_LIFETIME: u32 = 20;
/// Sweeps are at least this far apart.
const MIN_SWEEP_GAP: Duration = Duration::from_millis(10);

/// How often a pool that shares permits looks whether one is free for `min_idle`.
const REFILL_AGAIN: Duration = Duration::from_secs(1);

/// How many connections a sweep takes out at a time; a check takes about a third of a
/// microsecond each.
const SWEEP_CHUNK: usize = 16;

impl<D: Driver> Engine<D> {
    pub(super) fn retire(&self, now: Instant) {
        let min_idle = self.shared.config().min_idle;
        let due = self.core.retire_idle(
            min_idle,
            |managed| managed.idled_too_long(now),
            |managed| managed.overdue(now).is_some(),
        );
        discard_all(due.into_iter().map(|managed| {
            let reason = managed.overdue(now).unwrap_or(CloseReason::IdleTimeout);
            (managed, CloseCause::planned(reason))
        }));
    }

    /// Peeks at every idle connection, a few at a time.
    pub(super) fn sweep(self: &Arc<Self>, now: Instant) {
        let (mut index, mut gone) = (0, Vec::new());
        loop {
            let items = self.core.borrow_idle(index, SWEEP_CHUNK);
            if items.is_empty() {
                return self.close_dead(gone, now);
            }
            index += self.check_idle(index, items, &mut gone, now);
        }
    }

    /// Closes connections that were found dead, and logs those that were lost together.
    fn close_dead(&self, gone: Vec<Discarded<D>>, now: Instant) {
        let counts = self.core.counts();
        let open = (counts.idle + counts.in_use) as usize + gone.len();
        let lost = lost_together(&gone);
        let closed = close_all(gone.into_iter());
        for (cause, count) in &lost {
            let cause = (cause.reason, cause.message.as_ref());
            self.shared.event_log().lost_together(self.shared.totals(), (*count, open), cause, now);
        }
        drop(closed);
    }

    /// Checks idle connections that were taken out, and puts the healthy ones back to
    /// their places; returns how many these are. The others are `gone` and must be closed.
    fn check_idle(
        self: &Arc<Self>,
        index: usize,
        items: Vec<Box<Managed<D>>>,
        gone: &mut Vec<Discarded<D>>,
        now: Instant,
    ) -> usize {
        let (taken, mut healthy) = (items.len(), Vec::with_capacity(items.len()));
        for mut managed in items {
            match managed.look(Tick::of(now)) {
                CheckoutVerdict::Close(cause) => gone.push((managed, cause)),
                CheckoutVerdict::Ready
                | CheckoutVerdict::NeedsPing
                | CheckoutVerdict::Unverified => healthy.push(managed),
            }
        }
        if gone.iter().any(|(_, cause)| cause.reason.hints_at_an_outage()) {
            self.core.forbid_extra_attempts();
        }
        let kept = healthy.len();
        let (late, orders) = self.core.return_idle(index, healthy, taken - kept, now);
        self.start_dials(orders);
        gone.extend(
            late.into_iter().map(|late| (late, CloseCause::planned(CloseReason::PoolClosed))),
        );
        kept
    }

    /// Opens connections up to `min_idle`. Returns when to try the next.
    pub(super) fn fill_up(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let min_idle = self.shared.config().min_idle;
        if min_idle == 0 || self.core.is_closed() {
            return None;
        }
        if let Some(later) = self.refill_pace.lock().wait(now) {
            return Some(later);
        }
        while let Some(order) = self.core.refill(min_idle, now) {
            self.start_dials(vec![order]);
        }
        if self.shared.permits().member().is_some() && self.core.counts().idle < min_idle {
            // No other pool tells when it releases a shared permit that nobody waits for.
            return Some(now + REFILL_AGAIN);
        }
        // The attempt of a caller may have failed just now, which wakes only waiters.
        self.core.next_attempt(now)
    }
}

/// Returns the causes for which the peers have ended several of these connections, and of
/// how many each.
fn lost_together<D: Driver>(gone: &[Discarded<D>]) -> Vec<(CloseCause, usize)> {
    let mut causes: Vec<(CloseCause, usize)> = Vec::new();
    for (_, cause) in gone.iter().filter(|(_, cause)| !cause.reason.is_planned()) {
        match causes.iter_mut().find(|(known, _)| known.is_same_loss(cause)) {
            Some((_, count)) => *count += 1,
            None => causes.push((cause.clone(), 1)),
        }
    }
    causes.retain(|(_, count)| *count > 1);
    causes
}

impl<D: Driver> Maintain for Engine<D> {
    fn maintain(self: Arc<Self>, now: Instant) -> Option<Instant> {
        self.report_given_up();
        let next_burst = self.shared.end_bursts(now);
        if self.core.is_closed() {
            return next_burst;
        }
        self.shared.note_suspension(clock::suspended(), now);
        self.retire(now);
        self.sweep(now);
        self.keep_alive(now);
        // Connections that were out for a check when the maximum size was lowered.
        if self.shared.grow(now) || self.shared.permits().is_over() {
            self.resized();
        }
        self.refresh_limits(now);
        self.shared.warn_of_held(now);
        let next_refill = self.fill_up(now);
        let others = [next_refill, self.shared.next_step(), next_burst].into_iter().flatten();
        self.next_sweep(now).into_iter().chain(others).min()
    }

    fn count_left_behind(&self) {
        self.shared.totals().count_left_behind();
    }
}

impl<D: Driver> Engine<D> {
    /// Returns when the next sweep is due; `None` if no connection is open, because a
    /// dial that opens one calls the housekeeper.
    pub(super) fn next_sweep(&self, now: Instant) -> Option<Instant> {
        let counts = self.core.counts();
        if counts.idle + counts.in_use == 0 {
            return None;
        }
        let lifetime = self.shared.age_limits().lifetime().unwrap_or(Duration::MAX);
        let mut next = now + (lifetime / SWEEPS_PER_LIFETIME).clamp(MIN_SWEEP_GAP, SWEEP_EVERY);
        self.core.for_each_idle(|managed| {
            // A connection that `min_idle` keeps open stays due; it is no reason to hurry.
            next = managed.dues().filter(|due| *due > now).fold(next, Instant::min);
        });
        Some(next)
    }
}
