//! The check-in: may this connection be kept, and does it need a reset?

use super::cause::CloseCause;
use super::managed::Managed;
use super::verdict::CheckinVerdict;
use crate::connection::checkouts::EndedCheckout;
use crate::connection::statement_timeout::CancelState;
use crate::driver::{Driver, ResetOutcome, SessionState, SlotLost, Usage};
use crate::error::BoxError;
use crate::observe::CloseReason;
use crate::sys::catch_panic::{CaughtPanic, drop_catching};
use crate::sys::clock::{self, Tick};
use crate::sys::deadlines;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<D: Driver> Managed<D> {
    /// Decides at check-in whether the connection may be kept. No I/O.
    #[inline]
    pub(crate) fn keep(&mut self, now: Tick) -> Result<CheckinVerdict, CloseCause> {
        self.count_suspension();
        if self.release_timer() == CancelState::Aborted {
            return Err(CloseCause::busy(CloseReason::StatementTimeout));
        }
        if self.may_be_too_old(now) && self.is_too_old(now.instant()) {
            return Err(CloseCause::planned(CloseReason::MaxLifetime));
        }
        if self.is_retired() {
            return Err(CloseCause::planned(CloseReason::Retired));
        }
        if self.shared.permits().is_over()
            && let Some(reason) = self.leave_if_surplus(Duration::ZERO)
        {
            return Err(CloseCause::planned(reason));
        }
        let is_clean = self.left_behind()? == SessionState::Clean;
        if self.end_was_noticed() {
            return Err(self.with_cause(CloseCause::planned(CloseReason::ServerClosed)));
        }
        let has_more = self.cancel_requested || self.is_turn_over(now);
        if is_clean && !has_more && self.shared.hooks().on_checkin().is_none() {
            self.now_idle(now);
            return Ok(CheckinVerdict::Keep);
        }
        Ok(CheckinVerdict::NeedsReset)
    }

    /// Returns what the borrower left, clean or dirty; an error if the connection cannot be
    /// kept. No I/O.
    #[inline]
    pub(super) fn left_behind(&mut self) -> Result<SessionState, CloseCause> {
        let (shared, usage) = (&*self.shared, self.usage);
        let parts = self.parts.as_mut().expect("bug: a closed connection was checked in");
        let (session, reset) = (&mut parts.session, shared.config().reset);
        let finding = match shared.ask(|driver| driver.session_state(session, usage, reset)) {
            Ok(SessionState::OutOfSync) => CloseCause::busy(CloseReason::Dirty),
            Ok(SessionState::Broken) => CloseCause::planned(CloseReason::Broken),
            Ok(state) => return Ok(state),
            Err(_panicked) => CloseCause::planned(CloseReason::Panicked),
        };
        Err(self.with_cause(finding))
    }

    #[inline]
    pub(super) fn now_idle(&mut self, now: Tick) {
        if let Some(ended) = self.checkout.check_in(now) {
            self.report_checkin(ended);
        }
        self.idle_since = now;
        self.never_out = false;
        self.usage = Usage::Unused;
    }

    /// Reports the end of a check-out, if it is to be reported.
    #[inline]
    pub(super) fn report_checkin(&self, ended: EndedCheckout) {
        if ended.is_late || self.shared.event_log().is_observed() {
            self.report_ended(ended);
        }
    }

    #[cold]
    fn report_ended(&self, ended: EndedCheckout) {
        let (used, is_late) = (ended.used(), ended.is_late);
        let (log, totals) = (self.shared.event_log(), self.shared.totals());
        if is_late {
            log.returned_late(totals, self.id, used, &self.checkout.site());
        }
        log.checked_in(totals, self.id, used);
    }

    /// Calls `on_checkin`, then resets a connection that may be kept but needs a reset; an
    /// error if that fails or takes longer than `ping_timeout`.
    ///
    /// Blocks on the server until then at most, if the connection has a socket.
    pub(crate) fn clean(&mut self) -> Result<(), CloseCause> {
        let shared = Arc::clone(&self.shared);
        let deadline = clock::after(Instant::now(), shared.config().ping_timeout);
        if self.cancel_requested && !self.has_settled(deadline) {
            return Err(CloseCause::busy(CloseReason::Dirty));
        }
        if !self.run_on_checkin(deadline)? && !self.is_turn_over(Tick::read()) {
            self.now_idle(Tick::read());
            return Ok(());
        }
        let watch = self.socket_copy().map(|socket| deadlines::abort_at(deadline, socket));
        let outcome = self.run_reset(deadline);
        let is_cleared = matches!(&outcome, Ok(Ok(cleaned)) if cleaned.cleared);
        let initialised = if is_cleared { self.rerun_init() } else { Ok(()) };
        let turn = if initialised.is_ok() { self.end_turn() } else { Ok(()) };
        drop(watch);
        let now = Instant::now();
        let is_clean = match outcome {
            Ok(Ok(cleaned)) => {
                shared.totals().count_reset();
                self.checkout.count_reset();
                if cleaned.rolled_back {
                    let site = self.checkout.site();
                    shared.event_log().rolled_back(shared.totals(), self.id, &site, now);
                }
                true
            }
            Ok(Err(error)) if error.is::<SlotLost>() => {
                return Err(CloseCause::planned(CloseReason::FleetTurn));
            }
            Ok(Err(error)) => {
                let _ = drop_catching(error);
                false
            }
            Err(_panicked) => false,
        };
        let finding = CloseCause::busy(CloseReason::Dirty);
        if now >= deadline {
            // Its socket was shut down: the poll flags that this sets are not the peer's.
            return Err(finding);
        }
        if !is_clean {
            return Err(self.with_cause(finding));
        }
        initialised.map_err(|finding| self.with_cause(finding))?;
        turn.map_err(|finding| self.with_cause(finding))?;
        if is_cleared {
            self.mark_clean();
        }
        // The answer to a reset verifies the connection as a ping does.
        self.verified = Tick::of(now);
        self.clear_cancel_requested();
        self.now_idle(Tick::of(now));
        Ok(())
    }

    /// Tells the driver that the session is as a borrower is to find it. No I/O.
    pub(crate) fn mark_clean(&mut self) {
        if let Some(parts) = &mut self.parts {
            parts.mark_clean(&self.shared);
        }
    }

    /// Resets the session. After a cancel request, or at the end of a turn, there may be
    /// nothing to reset. After a request, whether there was or not, a ping follows: a cancel that the server carries out late hits
    /// the ping instead of the next borrower's statement.
    pub(super) fn run_reset(
        &mut self,
        deadline: Instant,
    ) -> Result<Result<ResetOutcome, BoxError>, CaughtPanic> {
        let (usage, cancel_requested) = (self.usage, self.cancel_requested);
        let has_more = cancel_requested || self.is_turn_over(Tick::read());
        let shared = Arc::clone(&self.shared);
        let parts = self.parts.as_mut().expect("bug: a closed connection was reset");
        let (session, reset) = (&mut parts.session, shared.config().reset);
        shared.ask(|driver| {
            let is_clean =
                has_more && driver.session_state(session, usage, reset) == SessionState::Clean;
            let cleaned = match driver.reset() {
                _ if is_clean => ResetOutcome::default(),
                Some(by) => by.reset_session(session, usage, reset)?,
                None => return Err("the driver resets no session".into()),
            };
            if cancel_requested {
                driver.ping(session, deadline)?;
            }
            Ok(cleaned)
        })
    }

    /// Returns `true` if this thread may wait for a reset and the reset is bounded.
    pub(crate) fn may_clean_here(&self) -> bool {
        !self.socket_is_unavailable() && self.shared.may_block_here()
    }
}
