//! Changes of the maximum size: by the user, by the server's limits, by saturation.

use super::engine::{Engine, discard};
use super::lease::Lease;
use crate::connection::CloseCause;
use crate::driver::Driver;
use crate::engine::core::Take;
use crate::error::FaultClass;
use crate::observe::CloseReason;
use crate::sys::clock;
use std::sync::Arc;
use std::time::Instant;

impl<D: Driver> Engine<D> {
    /// Sets the maximum size.
    pub(crate) fn set_max_size(self: &Arc<Self>, count: u32) {
        self.shared.set_max_size(count);
        self.resized();
        self.call_housekeeper();
    }

    /// Retires all connections: idle ones immediately, those in use at check-in.
    pub(crate) fn retire_all(self: &Arc<Self>) {
        let now = Instant::now();
        self.shared.retire_all(now);
        self.retire(now);
        self.call_housekeeper();
    }

    /// Applies a changed maximum size: opens connections for the waiters, or closes
    /// surplus idle ones; surplus connections in use are closed at check-in.
    pub(super) fn resized(self: &Arc<Self>) {
        let orders = self.core.plan(Instant::now());
        self.start_dials(orders);
        while self.shared.permits().is_over() && self.close_one_surplus() {}
    }

    /// Closes the connection that has been idle longest, if the pool is over its
    /// maximum size; returns `true` if it did.
    pub(super) fn close_one_surplus(self: &Arc<Self>) -> bool {
        let Some(mut managed) = self.core.borrow_idle(0, 1).pop() else { return false };
        let surplus = managed.leave_if_surplus(managed.idle_for(Instant::now()));
        let gone = usize::from(surplus.is_some());
        let (kept, closed) = match surplus {
            Some(reason) => (None, Some((managed, reason))),
            None => (Some(managed), None),
        };
        let (late, orders) =
            self.core.return_idle(0, kept.into_iter().collect(), gone, Instant::now());
        let late = late.into_iter().map(|managed| (managed, CloseReason::PoolClosed));
        for (managed, reason) in closed.into_iter().chain(late) {
            discard(managed, CloseCause::planned(reason));
        }
        self.start_dials(orders);
        surplus.is_some()
    }

    /// Lowers the maximum size for a while to what the server has granted, because the
    /// server reported that it is full, or the fleet is at its cap. A server's limits are
    /// then read.
    pub(super) fn saturated(self: &Arc<Self>, fault: FaultClass, now: Instant) {
        let counts = self.core.counts();
        self.shared.reduce(counts.idle + counts.in_use, now);
        if fault != FaultClass::FleetFull {
            self.shared.reread_limits();
        }
        self.call_housekeeper();
    }

    /// Reads the server's limits over an idle connection, on a thread of its own, if
    /// they are due.
    pub(super) fn refresh_limits(self: &Arc<Self>, now: Instant) {
        if self.core.counts().idle == 0 || !self.shared.claim_reading(now) {
            return;
        }
        let engine = Arc::clone(self);
        let thread = std::thread::Builder::new().name("poolwarden-limits".into());
        let _ = thread.spawn(move || engine.read_limits());
    }

    pub(super) fn read_limits(self: &Arc<Self>) {
        let now = Instant::now();
        let Take::Idle(managed) = self.core.take(|| now) else {
            self.shared.reread_limits();
            return;
        };
        let mut lease = Lease::new(self, managed);
        let deadline = clock::after(now, self.shared.config().connect_timeout);
        match lease.managed_mut().read_limits(deadline) {
            Ok(()) => lease.put_back(),
            Err(cause) => lease.discard(cause),
        }
        self.resized();
    }
}
