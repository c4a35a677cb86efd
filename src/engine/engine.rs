//! The engine behind [`Pool`](crate::Pool), which carries out the core's decisions.
//!
//! `core` decides which caller takes, opens or waits; the engine opens connections on
//! threads of their own, checks the ones that were taken, and closes those that must
//! not be used. It holds no lock while it does any of that.

use super::refill_pace::RefillPace;
use super::suspension::Suspension;
use super::use_count::{KnownCounts, UseCounts};
use crate::connection::permit_group::PermitHolder;
use crate::connection::{CloseCause, Managed, Shared};
use crate::driver::{Attempt, Driver};
use crate::engine::core::Core;
use crate::error::{ConnectError, Levels};
use crate::observe::{CloseReason, ConnectionInfo, ConnectionStatus, Snapshot, Uses};
use crate::sys::spawn::spawn_with;
use crate::sys::{housekeeper, stalled};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long the sweep that follows a notice waits: connections that a server ends together
/// are then closed, logged and replaced together.
const END_BURST: Duration = Duration::from_millis(10);

/// One pool's engine, shared by its handles, guards and dials.
pub(crate) struct Engine<D: Driver> {
    pub(super) core: Core<Box<Managed<D>>, ConnectError>,
    pub(super) shared: Arc<Shared<D>>,
    /// The pending attempts, for the text of a timeout.
    pub(super) attempts: Mutex<Vec<Weak<Attempt>>>,
    pub(super) refill_pace: Mutex<RefillPace>,
    pub(super) suspension: Suspension,
    pub(super) known_counts: KnownCounts<Engine<D>>,
    /// Connections that were closed for another pool, until that is reported.
    pub(super) unreported: Mutex<Vec<Box<Managed<D>>>>,
}

impl<D: Driver> Engine<D> {
    pub(crate) fn new(shared: Arc<Shared<D>>) -> Arc<Engine<D>> {
        let permits = Arc::clone(shared.permits());
        let engine = Arc::new(Engine {
            core: Core::new(permits),
            shared,
            attempts: Mutex::new(Vec::new()),
            refill_pace: Mutex::new(RefillPace::default()),
            suspension: Suspension::default(),
            known_counts: KnownCounts::none(),
            unreported: Mutex::default(),
        });
        let weak = Arc::downgrade(&engine);
        engine.shared.permits().listen(Arc::new(move || {
            if let Some(engine) = weak.upgrade() {
                let orders = engine.core.permit_freed(Instant::now());
                engine.start_dials(orders);
                // Filling up to `min_idle` may have waited for this permit.
                engine.start();
            }
        }));
        if let Some(member) = engine.shared.permits().member() {
            let holder: Weak<dyn PermitHolder> = Arc::downgrade(&engine) as Weak<dyn PermitHolder>;
            member.attach(holder);
        }
        let weak = Arc::downgrade(&engine);
        engine.shared.on_end(Arc::new(move || {
            if let Some(engine) = weak.upgrade() {
                housekeeper::call_by(&engine, Instant::now() + END_BURST);
            }
        }));
        engine
    }

    /// Creates the counts of the engine's uses, for its pool.
    pub(crate) fn make_use_counts(self: &Arc<Self>) -> UseCounts<Engine<D>> {
        self.known_counts.make(self)
    }

    /// Has the housekeeper open `min_idle` connections.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.shared.config().min_idle > 0 {
            self.call_housekeeper();
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<D>> {
        &self.shared
    }

    pub(super) fn enter_attempt(&self, attempt: &Arc<Attempt>) {
        let mut attempts = self.attempts.lock();
        attempts.retain(|attempt| attempt.strong_count() > 0);
        attempts.push(Arc::downgrade(attempt));
    }

    /// Returns the attempt that has been pending longest.
    pub(super) fn oldest_attempt(&self) -> Option<Arc<Attempt>> {
        // The last handle of an attempt may be dropped here, so not under the lock.
        let attempts: Vec<_> = self.attempts.lock().iter().filter_map(Weak::upgrade).collect();
        attempts.into_iter().min_by_key(|attempt| attempt.began())
    }

    pub(crate) fn levels(&self) -> Levels {
        levels_of(&self.core.counts(), self.suspension.waiting())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        if self.shared.is_forked() {
            let (name, totals) = (self.shared.name(), self.shared.totals());
            return Snapshot::new(name, Levels::default(), 0, totals, Uses::default());
        }
        // It may be the only call while what keeps `min_idle` open has no thread.
        stalled::press_on();
        let counts = self.core.counts();
        let levels = levels_of(&counts, self.suspension.waiting());
        let (name, totals) = (self.shared.name(), self.shared.totals());
        Snapshot::new(name, levels, counts.abandoned, totals, self.shared.uses())
    }

    /// Returns every open connection, the oldest first.
    pub(crate) fn connections(&self, now: Instant) -> Vec<ConnectionInfo> {
        let mut idle = Vec::with_capacity(self.core.counts().idle as usize);
        self.core.for_each_idle(|managed| idle.push((managed.id(), managed.idle_for(now))));
        let mut all = self.shared.connections(now);
        for info in &mut all {
            if let ConnectionStatus::Idle { since } = &mut info.status {
                *since = idle.iter().find(|(id, _)| *id == info.id).map(|(_, time)| *time);
            }
        }
        all
    }

    /// Hands out no connection until it is resumed, or resumes.
    pub(crate) fn suspend(&self, is_suspended: bool) {
        if is_suspended && self.core.is_closed() {
            return;
        }
        if self.suspension.set(is_suspended) {
            self.shared.event_log().suspended(self.shared.totals(), is_suspended);
        }
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspension.is_suspended()
    }

    /// Refuses all callers from now on and closes the idle connections.
    pub(crate) fn close(&self) {
        discard_all(closing(self.core.close()));
        self.shared.permits().retire();
        // Those who wait for it to be resumed find it closed.
        self.suspension.set(false);
    }

    /// Closes the pool and waits until nothing is open, being opened or being closed any
    /// more, until the deadline at most.
    ///
    /// Observers are called on another thread: slow ones take none of the caller's time
    /// beyond the deadline.
    pub(crate) fn close_until(&self, until: Instant) {
        let (report, done) = crossbeam_channel::bounded(1);
        let close = move |idle: Vec<_>| {
            discard_all(closing(idle));
            let _ = report.send(());
        };
        if let Err(idle) = spawn_with("poolwarden-close", self.core.close(), close) {
            discard_all(closing(idle));
        }
        self.shared.permits().retire();
        self.suspension.set(false);
        let _ = done.recv_deadline(until);
        self.core.wait_settled(until, Instant::now);
    }

    /// Closes the pool after its last handle was dropped: connections in use are closed
    /// at check-in.
    pub(crate) fn last_handle_dropped(&self) {
        if self.shared.is_forked() {
            return;
        }
        self.close();
        self.shared.permits().orphan();
    }

    pub(super) fn call_housekeeper(self: &Arc<Self>) {
        housekeeper::call(self);
    }
}

impl<D: Driver> Drop for Engine<D> {
    fn drop(&mut self) {
        self.last_handle_dropped();
    }
}

fn levels_of(counts: &crate::engine::core::Counts, suspended: u32) -> Levels {
    let open = counts.idle + counts.in_use;
    Levels {
        max_size: counts.limit,
        open,
        in_use: counts.in_use,
        idle: counts.idle,
        pending: counts.pending,
        // The permits and the core's levels have a lock each: a permit may be counted a
        // moment before or after its connection.
        closing: counts.used_permits.saturating_sub(open + counts.pending),
        waiting: counts.waiting + suspended,
    }
}

/// A connection to close, and why.
pub(super) type Discarded<D> = (Box<Managed<D>>, CloseCause);

/// Returns what is closed because its pool is.
pub(super) fn closing<D: Driver>(
    connections: Vec<Box<Managed<D>>>,
) -> impl Iterator<Item = Discarded<D>> {
    connections.into_iter().map(|managed| (managed, CloseCause::planned(CloseReason::PoolClosed)))
}

/// Closes all these connections, and then reports them: an observer that does not return
/// from the first report keeps no other one open.
pub(super) fn discard_all<D: Driver>(connections: impl Iterator<Item = Discarded<D>>) {
    drop(close_all(connections));
}

/// Closes all these connections; dropping one reports that it was closed.
pub(super) fn close_all<D: Driver>(
    connections: impl Iterator<Item = Discarded<D>>,
) -> Vec<Box<Managed<D>>> {
    let close = |(mut managed, cause): Discarded<D>| {
        managed.close_with(cause);
        managed.close_now();
        managed
    };
    connections.map(close).collect()
}

/// Closes a connection for this cause.
pub(super) fn discard<D: Driver>(mut managed: Box<Managed<D>>, cause: CloseCause) {
    managed.close_with(cause);
    drop(managed);
}
