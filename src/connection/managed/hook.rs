//! A hook at work on a connection: bounded by a deadline, its panic caught.

use super::cause::CloseCause;
use super::managed::Managed;
use super::parts::Parts;
use crate::config::Reset;
use crate::connection::hooks::CheckinAction;
use crate::driver::{Canceller, Driver, SessionState, SocketAccess, Usage};
use crate::error::BoxError;
use crate::observe::{CloseReason, ServerMessage};
use crate::sys::catch_panic::{catch_panic, drop_catching};
use crate::sys::deadlines::Watch;
use crate::sys::{clock, deadlines};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the statement of a hook past its deadline is interrupted where there is no
/// socket: an interrupt ends the running statement only, and the hook may have others.
const INTERRUPT_EVERY: Duration = Duration::from_millis(10);

/// Why a hook did not accept a connection.
pub(crate) struct Refusal {
    /// What the hook returned, or its panic; a text if it took too long.
    pub(crate) error: BoxError,
    /// Why the connection is to be closed, if it is.
    pub(crate) cause: CloseCause,
    /// Its deadline passed: what waited for the connection's socket was ended.
    pub(crate) is_late: bool,
}

impl<D: Driver> Managed<D> {
    /// Runs `on_checkout`, by the deadline and within `ping_timeout`.
    pub(crate) fn run_on_checkout(&mut self, deadline: Instant) -> Result<(), Refusal> {
        let shared = Arc::clone(&self.shared);
        let Some(hook) = shared.hooks().on_checkout() else { return Ok(()) };
        let own = clock::after(Instant::now(), shared.config().ping_timeout);
        self.run_hook("on_checkout", &mut |connection| hook(connection), deadline.min(own))
    }

    /// Runs `on_checkin` by the deadline, if there is one; returns `true` if the connection
    /// is to be kept and needs a reset.
    pub(super) fn run_on_checkin(&mut self, deadline: Instant) -> Result<bool, CloseCause> {
        let shared = Arc::clone(&self.shared);
        let Some(hook) = shared.hooks().on_checkin() else { return Ok(true) };
        let mut action = CheckinAction::Keep;
        let mut decide = |connection: &mut D::Connection| {
            action = hook(connection);
            Ok(())
        };
        if let Err(refusal) = self.run_hook("on_checkin", &mut decide, deadline) {
            let _ = drop_catching(refusal.error);
            return Err(refusal.cause);
        }
        if action == CheckinAction::Close {
            return Err(CloseCause::planned(CloseReason::Discarded));
        }
        Ok(self.left_behind()? == SessionState::Dirty || self.cancel_requested)
    }

    /// Runs a hook, which may use the connection as a borrower may. At the deadline what
    /// waits for the connection's socket is ended, and an SQLite statement is interrupted.
    pub(crate) fn run_hook(
        &mut self,
        name: &str,
        hook: &mut dyn FnMut(&mut D::Connection) -> Result<(), BoxError>,
        deadline: Instant,
    ) -> Result<(), Refusal> {
        let bound = self.bound(deadline);
        let connection = self.connection_mut();
        let outcome = catch_panic(|| hook(connection));
        drop(bound);
        let is_late = Instant::now() >= deadline;
        let because = |text: String| ServerMessage::new("", text, CloseReason::Hook).into_cause();
        match outcome {
            Err(panicked) => {
                self.shared.totals().count_panic();
                let cause = CloseCause::planned(CloseReason::Panicked);
                Err(Refusal { error: panicked.into(), cause, is_late })
            }
            Ok(outcome) if is_late => {
                let _ = drop_catching(outcome);
                let text = format!("the {name} hook took too long");
                let cause = CloseCause { busy: true, ..because(text.clone()) };
                Err(Refusal { error: text.into(), cause, is_late })
            }
            Ok(Err(error)) => {
                let text = catch_panic(|| error.to_string()).unwrap_or_default();
                let cause = because(format!("the {name} hook failed: {text}"));
                Err(Refusal { error, cause, is_late })
            }
            Ok(Ok(())) => Ok(()),
        }
    }

    /// Returns `true` if the driver or the kernel knows that the connection was lost. No
    /// I/O: a reply may still be on its way.
    pub(crate) fn is_lost(&mut self) -> bool {
        let is_ended = self.socket_copy().is_some_and(|socket| socket.is_ended_by_peer());
        let shared = Arc::clone(&self.shared);
        let Some(Parts { session, .. }) = &mut self.parts else { return true };
        let state = |driver: &D| driver.session_state(session, Usage::Raw, Reset::None);
        is_ended || shared.ask(state).unwrap_or(SessionState::Broken) == SessionState::Broken
    }

    /// Returns what ends the use of the connection at the deadline, until it is dropped.
    pub(super) fn bound(&self, deadline: Instant) -> Option<Watch> {
        if let Some(socket) = self.socket_copy() {
            return Some(deadlines::abort_at(deadline, socket));
        }
        let parts = self.parts.as_ref()?;
        if !matches!(self.socket_access(), Ok(SocketAccess::InProcess)) {
            return None;
        }
        let Some((Canceller::Local(interrupt), _)) = parts.canceller(&self.shared) else {
            return None;
        };
        let keep_on = move || {
            interrupt();
            Some(clock::after(Instant::now(), INTERRUPT_EVERY))
        };
        Some(deadlines::arm(deadline, Arc::new(keep_on)))
    }
}
