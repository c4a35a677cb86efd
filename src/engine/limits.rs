//! Caps that change: by the user, by the server's limits, by a server that is full.

use super::{Engine, Lease, discard};
use crate::clock;
use crate::core::Take;
use crate::driver::Driver;
use crate::managed::Discard;
use crate::observe::CloseReason;
use std::sync::Arc;
use std::time::Instant;

impl<D: Driver> Engine<D> {
    /// Sets how many connections there may be from now on.
    pub(crate) fn set_max_size(self: &Arc<Self>, count: u32) {
        self.warden.set_max_size(count);
        self.resized();
        self.call_keeper();
    }

    /// Closes every connection of now: idle ones at once, busy ones at check-in.
    pub(crate) fn retire_all(self: &Arc<Self>) {
        let now = Instant::now();
        self.warden.retire_all(now);
        self.retire(now);
        self.call_keeper();
    }

    /// Carries a changed cap out: waiters are served, or surplus idle ones closed;
    /// busy ones beyond the cap go when they come back.
    pub(super) fn resized(self: &Arc<Self>) {
        let orders = self.core.plan(Instant::now());
        self.carry_out(orders);
        while self.warden.budget().is_over() && self.shed_one() {}
    }

    /// Closes the connection that idled longest, if one idles and is too many.
    fn shed_one(self: &Arc<Self>) -> bool {
        let Some(mut managed) = self.core.borrow_idle(0, 1).pop() else { return false };
        let surplus = managed.leave_if_surplus();
        let (stays, goes) = if surplus { (None, Some(managed)) } else { (Some(managed), None) };
        let gone = usize::from(surplus);
        let (late, orders) =
            self.core.return_idle(0, stays.into_iter().collect(), gone, Instant::now());
        for managed in goes.into_iter().chain(late) {
            discard(managed, Discard::planned(CloseReason::Surplus));
        }
        self.carry_out(orders);
        surplus
    }

    /// The server said that it is full: asks it for no more than it gave, until it
    /// is time to try again, and reads its limits anew.
    pub(super) fn saturated(self: &Arc<Self>, now: Instant) {
        let counts = self.core.counts();
        self.warden.squeeze(counts.idle + counts.in_use, now);
        self.warden.read_again();
        self.call_keeper();
    }

    /// Reads the server's limits over an idle connection, on a thread of its own,
    /// if it is time.
    pub(super) fn refresh_limits(self: &Arc<Self>, now: Instant) {
        if self.core.counts().idle == 0 || !self.warden.claim_reading(now) {
            return;
        }
        let engine = Arc::clone(self);
        let thread = std::thread::Builder::new().name("poolwarden-limits".into());
        let _ = thread.spawn(move || engine.read_limits());
    }

    fn read_limits(self: &Arc<Self>) {
        let now = Instant::now();
        let Take::Idle(managed) = self.core.take(now) else {
            self.warden.read_again();
            return;
        };
        let mut lease = Lease::new(self, managed);
        let deadline = clock::after(now, self.warden.config().connect_timeout);
        match lease.managed_mut().read_limits(deadline) {
            Ok(()) => lease.put_back(Instant::now()),
            Err(fate) => lease.discard(fate),
        }
        self.resized();
    }
}
