//! The turn of a connection of a fleet: for how long it keeps its slot while others wait.

use super::cause::CloseCause;
use super::managed::Managed;
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::catch_panic::drop_catching;
use crate::sys::clock::Tick;
use crate::sys::deadlines;
use std::time::Instant;

impl<D: Driver> Managed<D> {
    /// Returns `true` if it must ask whether a session waits for its slot.
    #[inline]
    pub(crate) fn is_turn_over(&self, now: Tick) -> bool {
        now >= self.turn_ends && self.shared.may_ask_for_slots(now)
    }

    /// Asks the server, if the turn is over, whether a session waits for a slot of the fleet:
    /// then this one is closed. All processes lose slots in proportion to their number, and
    /// win them alike, so that those with equal demand have equal numbers in the end.
    ///
    /// One round trip, bounded by the reset that it follows.
    pub(super) fn end_turn(&mut self) -> Result<(), CloseCause> {
        if !self.is_turn_over(Tick::read()) {
            return Ok(());
        }
        let parts = self.parts.as_mut().expect("bug: a closed connection had a turn");
        let session = &mut parts.session;
        let ask = |driver: &D| driver.slots().map_or(Ok(false), |by| by.slot_is_wanted(session));
        match self.shared.ask(ask) {
            Ok(Ok(false)) => {
                self.shared.slots_are_not_wanted(Instant::now());
                Ok(())
            }
            Ok(Ok(true)) => Err(CloseCause::planned(CloseReason::FleetTurn)),
            Ok(Err(error)) => {
                let _ = drop_catching(error);
                Err(CloseCause::busy(CloseReason::Dirty))
            }
            Err(_panicked) => Err(CloseCause::busy(CloseReason::Panicked)),
        }
    }

    /// The same of an idle connection, by the deadline.
    pub(crate) fn end_turn_by(&mut self, deadline: Instant) -> Result<(), CloseCause> {
        if !self.is_turn_over(Tick::read()) {
            return Ok(());
        }
        let watch = self.socket_copy().map(|socket| deadlines::abort_at(deadline, socket));
        let outcome = self.end_turn();
        drop(watch);
        outcome.map_err(|finding| self.with_cause(finding))
    }
}
