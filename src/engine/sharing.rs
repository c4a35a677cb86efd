//! What a pool does for the others with which it shares permits.

use super::engine::Engine;
use crate::connection::permit_group::PermitHolder;
use crate::connection::{CloseCause, Managed};
use crate::driver::Driver;
use crate::observe::CloseReason;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<D: Driver> PermitHolder for Engine<D> {
    fn plan_again(self: Arc<Self>) {
        let orders = self.core.permit_freed(Instant::now());
        self.start_threads(orders);
    }

    fn longest_idle(&self) -> Option<Duration> {
        let (now, mut longest) = (Instant::now(), None);
        self.core.for_each_idle(|managed| longest = longest.max(Some(managed.idle_for(now))));
        longest
    }

    /// The close is reported by the housekeeper: an observer of this pool must not hold up a
    /// caller of another one.
    fn give_up_idle(self: Arc<Self>) -> bool {
        let now = Instant::now();
        let Some(mut managed) = self.core.borrow_idle(0, 1).pop() else { return false };
        let given_up = managed.leave_if_given_up(managed.idle_for(now));
        let (kept, closed) = if given_up { (None, Some(managed)) } else { (Some(managed), None) };
        let kept = kept.into_iter().collect();
        let (late, orders) = self.core.return_idle(0, kept, usize::from(given_up), now);
        let closed = closed.map(|managed| (managed, CloseReason::GivenUp));
        let late = late.into_iter().map(|managed| (managed, CloseReason::PoolClosed));
        for (managed, reason) in closed.into_iter().chain(late) {
            self.close_and_report_later(managed, reason);
        }
        self.start_threads(orders);
        given_up
    }
}

impl<D: Driver> Engine<D> {
    fn close_and_report_later(self: &Arc<Self>, mut managed: Box<Managed<D>>, reason: CloseReason) {
        managed.close_with(CloseCause::planned(reason));
        managed.close_now();
        self.unreported.lock().push(managed);
        self.call_housekeeper();
    }

    /// Reports what was closed for other pools.
    pub(super) fn report_given_up(&self) {
        let unreported = std::mem::take(&mut *self.unreported.lock());
        drop(unreported);
    }
}
