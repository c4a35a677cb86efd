//! The engine behind [`Pool`](crate::Pool): the core's decisions carried out.
//!
//! `core` says who may take, open and wait; this opens on threads of its own,
//! checks what was taken, and closes what must go. No lock is held here while
//! any of that happens.

mod checkout;
mod housekeeping;
mod lease;
mod limits;
mod refusal;

pub(crate) use checkout::Blocking;
pub(crate) use lease::Lease;

use crate::budget::Permit;
use crate::clock;
use crate::core::{Core, Order};
use crate::dial;
use crate::driver::{Attempt, Driver};
use crate::error::{ConnectError, ConnectFault, Levels};
use crate::fence::fence;
use crate::keeper;
use crate::managed::{Discard, Managed, Warden};
use crate::observe::{CloseReason, Snapshot};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// One pool's engine, shared by its handles, guards and dials.
pub(crate) struct Engine<D: Driver> {
    core: Core<Box<Managed<D>>, ConnectError>,
    warden: Arc<Warden<D>>,
    /// The attempts under way, for the text of a time-out.
    attempts: Mutex<Vec<Weak<Attempt>>>,
    unasked: Mutex<housekeeping::Unasked>,
}

impl<D: Driver> Engine<D> {
    pub(crate) fn new(warden: Arc<Warden<D>>) -> Arc<Engine<D>> {
        let budget = Arc::clone(warden.budget());
        let engine = Arc::new(Engine {
            core: Core::new(budget),
            warden,
            attempts: Mutex::new(Vec::new()),
            unasked: Mutex::new(housekeeping::Unasked::default()),
        });
        let weak = Arc::downgrade(&engine);
        engine.warden.budget().listen(Arc::new(move || {
            if let Some(engine) = weak.upgrade() {
                let orders = engine.core.permit_freed(Instant::now());
                engine.carry_out(orders);
                // It may be what the filling up to `min_idle` had to wait for.
                engine.start();
            }
        }));
        engine
    }

    /// Sees to it that `min_idle` connections are open.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.warden.config().min_idle > 0 {
            self.call_keeper();
        }
    }

    pub(crate) fn warden(&self) -> &Arc<Warden<D>> {
        &self.warden
    }

    /// Starts a thread for each connection to open.
    fn carry_out(self: &Arc<Self>, orders: Vec<Order>) {
        for order in orders {
            let duty = Duty { engine: Arc::clone(self), ticket: order.ticket, reported: false };
            let permit = order.permit;
            let thread = std::thread::Builder::new().name("poolwarden-dial".into());
            // If no thread can be had, the closure and with it the duty drop here:
            // the duty then reports itself as failed.
            let _ = thread.spawn(move || duty.fulfil(permit));
        }
    }

    fn enter_attempt(&self, attempt: &Arc<Attempt>) {
        let mut attempts = self.attempts.lock();
        attempts.retain(|attempt| attempt.strong_count() > 0);
        attempts.push(Arc::downgrade(attempt));
    }

    /// The attempt that has been under way longest.
    fn oldest_attempt(&self) -> Option<Arc<Attempt>> {
        let attempts = self.attempts.lock();
        attempts.iter().filter_map(Weak::upgrade).min_by_key(|attempt| attempt.began())
    }

    pub(crate) fn levels(&self) -> Levels {
        levels_of(&self.core.counts())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let counts = self.core.counts();
        let levels = levels_of(&counts);
        Snapshot::new(self.warden.name(), levels, counts.abandoned, self.warden.totals())
    }

    /// Refuses everybody from now on and closes what is idle.
    pub(crate) fn close(&self) {
        for managed in self.core.close() {
            discard(managed, Discard::planned(CloseReason::PoolClosed));
        }
    }

    /// Waits until nothing is open, being opened or being closed any more.
    ///
    /// Blocks for at most the time given; tells whether it came to that.
    pub(crate) fn wait_settled(&self, timeout: Duration) -> bool {
        let until = clock::after(Instant::now(), timeout);
        self.core.wait_settled(until, Instant::now)
    }

    /// The last handle is gone: guards that are still out close at check-in.
    pub(crate) fn last_handle_dropped(&self) {
        self.close();
        self.warden.budget().orphan();
    }

    fn call_keeper(self: &Arc<Self>) {
        keeper::call(self);
    }
}

impl<D: Driver> Drop for Engine<D> {
    fn drop(&mut self) {
        self.last_handle_dropped();
    }
}

fn levels_of(counts: &crate::core::Counts) -> Levels {
    let open = counts.idle + counts.in_use;
    Levels {
        max_size: counts.limit,
        open,
        in_use: counts.in_use,
        idle: counts.idle,
        pending: counts.pending,
        // The permits and the core's levels have a lock each: a permit may be
        // counted a moment before or after its connection.
        closing: counts.used_permits.saturating_sub(open + counts.pending),
        waiting: counts.waiting,
    }
}

/// Closes a connection for this reason.
fn discard<D: Driver>(mut managed: Box<Managed<D>>, discard: Discard) {
    managed.doom(discard);
    drop(managed);
}

/// The duty to open one connection and to report how it went, whatever happens.
struct Duty<D: Driver> {
    engine: Arc<Engine<D>>,
    ticket: Option<u64>,
    reported: bool,
}

impl<D: Driver> Duty<D> {
    fn fulfil(mut self, permit: Permit) {
        let engine = Arc::clone(&self.engine);
        let attempt = dial::attempt(&engine.warden);
        engine.enter_attempt(&attempt);
        let outcome = fence(|| dial::open(&engine.warden, &attempt, permit));
        drop(attempt);
        match outcome {
            Ok(Ok(managed)) => self.succeed(managed),
            Ok(Err(error)) => self.fail(&error),
            Err(panicked) => {
                let error = ConnectError::new(ConnectFault::Panicked, engine.warden.name());
                self.fail(&error.with_source(panicked));
            }
        }
    }

    fn succeed(&mut self, managed: Box<Managed<D>>) {
        self.reported = true;
        let (late, orders) = self.engine.core.dial_succeeded(self.ticket, managed, Instant::now());
        if let Some(late) = late {
            discard(late, Discard::planned(CloseReason::PoolClosed));
        }
        self.engine.unasked.lock().succeeded();
        self.engine.carry_out(orders);
        // The server's limits may just have been read over this connection.
        self.engine.resized();
        self.engine.call_keeper();
    }

    fn fail(&mut self, error: &ConnectError) {
        self.reported = true;
        let now = Instant::now();
        let waits = error.fault().waits();
        if error.fault() == ConnectFault::Saturated {
            self.engine.saturated(now);
        }
        if self.ticket.is_none() {
            self.engine.unasked.lock().failed(now);
        }
        let orders = self.engine.core.dial_failed(self.ticket, error, waits, now);
        self.engine.carry_out(orders);
        self.engine.start();
    }
}

impl<D: Driver> Drop for Duty<D> {
    fn drop(&mut self) {
        if !self.reported {
            let error = ConnectError::new(ConnectFault::LocalResource, self.engine.warden.name());
            self.fail(&error.with_source("no thread could be started to open a connection"));
        }
    }
}
