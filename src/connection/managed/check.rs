//! The check at check-out: may this connection be handed out?

use super::cause::CloseCause;
use super::final_message::judge;
use super::managed::Managed;
use super::verdict::CheckoutVerdict;
use crate::config::{Role, Validation};
use crate::driver::{Driver, Session, SocketAccess};
use crate::error::BoxError;
use crate::observe::{CloseReason, ServerMessage};
use crate::sys::catch_panic::{CaughtPanic, catch_panic, drop_catching};
use crate::sys::clock::{self, Tick};
use crate::sys::sockets::{PeekBuffer, Verdict};
use crate::sys::watcher::Watched;
use crate::sys::{deadlines, sockets};
use std::sync::Arc;
use std::time::Instant;

impl<D: Driver> Managed<D> {
    /// Checks a connection without a round trip: one system call at most.
    #[inline]
    pub(crate) fn look(&mut self, now: Tick) -> CheckoutVerdict {
        self.count_suspension();
        if !self.is_within_limits(now)
            && let Some(reason) = self.age_reason(now.instant())
        {
            return CheckoutVerdict::Close(CloseCause::planned(reason));
        }
        let validation = self.shared.config().validation;
        if validation == Validation::Off {
            return CheckoutVerdict::Ready;
        }
        let unverified = self.shared.verify_after().is_some_and(|since| self.verified <= since);
        if unverified && let Some(reason) = self.ruled_out_reason() {
            return CheckoutVerdict::Close(CloseCause::planned(reason));
        }
        if validation == Validation::Watch && self.watched.as_ref().is_some_and(Watched::is_open) {
            return match unverified {
                _ if self.idled_for_long(now) => CheckoutVerdict::NeedsPing,
                true => CheckoutVerdict::Unverified,
                false => CheckoutVerdict::Ready,
            };
        }
        let Ok(socket_access) = self.socket_access() else {
            return CheckoutVerdict::Close(CloseCause::planned(CloseReason::Panicked));
        };
        match self.peek(&socket_access) {
            CheckoutVerdict::Ready if self.wants_ping(&socket_access, now) => {
                CheckoutVerdict::NeedsPing
            }
            CheckoutVerdict::Ready
                if unverified && !matches!(socket_access, SocketAccess::InProcess) =>
            {
                CheckoutVerdict::Unverified
            }
            CheckoutVerdict::Close(cause) => CheckoutVerdict::Close(self.with_final_message(cause)),
            look => look,
        }
    }

    /// Returns the reason to close it unasked: another connection's ping timed out while
    /// this one was idle and it has not been verified since, or it leads to a server
    /// that is read-only.
    #[cold]
    pub(super) fn ruled_out_reason(&self) -> Option<CloseReason> {
        let ruled_out = self.shared.ruled_out_before();
        if ruled_out.is_some_and(|since| self.verified <= since && self.idle_since <= since) {
            return Some(CloseReason::SiblingPingTimeout);
        }
        let read_only =
            self.shared.read_only_since().is_some_and(|since| Tick::of(self.birth) <= since);
        read_only.then_some(CloseReason::ReadOnly)
    }

    #[inline]
    pub(super) fn wants_ping(&self, socket_access: &SocketAccess<'_>, now: Tick) -> bool {
        let fresh = self.never_out && now.nanos_since(self.idle_since) < FRESH;
        let config = self.shared.config();
        let always = config.validation == Validation::AlwaysPing;
        if matches!(socket_access, SocketAccess::InProcess) {
            return always && !fresh;
        }
        let hidden = matches!(socket_access, SocketAccess::Unavailable);
        self.idled_for_long(now) || !fresh && (hidden || always)
    }

    #[inline]
    fn idled_for_long(&self, now: Tick) -> bool {
        // A ping may have been answered after its caller had left.
        let since = self.idle_since.max(self.verified);
        let idle = now.nanos_since(since);
        self.shared.config().ping_after.is_some_and(|after| idle >= clock::nanos_of(after))
    }

    #[inline]
    pub(super) fn socket_access(&self) -> Result<SocketAccess<'_>, CaughtPanic> {
        match &self.parts {
            Some(parts) => parts.socket_access(&self.shared),
            None => Ok(SocketAccess::Unavailable),
        }
    }

    /// Returns `true` if the peer has closed the connection, as far as the kernel knows.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        match self.socket_access() {
            Ok(SocketAccess::Socket(socket)) => sockets::is_ended_by_peer(socket),
            _ => false,
        }
    }

    /// Peeks at the socket.
    pub(super) fn peek(&self, socket_access: &SocketAccess<'_>) -> CheckoutVerdict {
        let Some(parts) = &self.parts else {
            return CheckoutVerdict::Close(CloseCause::planned(CloseReason::Broken));
        };
        let SocketAccess::Socket(socket) = socket_access else { return CheckoutVerdict::Ready };
        self.checkout.count_peek();
        let mut buffer = PeekBuffer::new();
        match sockets::peek(*socket, &mut buffer) {
            Verdict::Quiet => CheckoutVerdict::Ready,
            verdict => judge(&self.shared, parts, verdict, buffer.bytes()),
        }
    }

    /// Pings; an error if the server has not answered by the deadline.
    ///
    /// Blocks on the server until the deadline at most. `is_full_timeout`: the deadline
    /// is that of `ping_timeout`, so that a missing answer rules out other connections.
    pub(crate) fn ping(
        &mut self,
        deadline: Instant,
        is_full_timeout: bool,
    ) -> Result<(), CloseCause> {
        self.shared.totals().count_ping();
        self.checkout.count_ping();
        let began = Instant::now();
        let watch = self.socket_copy().map(|socket| deadlines::abort_at(deadline, socket));
        let answer = self.caught_ping(deadline);
        drop(watch);
        let now = Instant::now();
        match answer {
            // At the deadline its socket was shut down, even if it has answered.
            Ok(Ok(true)) if now < deadline => {
                self.verified = Tick::of(now);
                Ok(())
            }
            Ok(Ok(false)) if now < deadline => {
                self.shared.require_verification(began);
                Err(CloseCause::planned(match self.shared.config().role {
                    Role::Standby => CloseReason::Promoted,
                    Role::Any | Role::Writable => CloseReason::ReadOnly,
                }))
            }
            Err(_panicked) => {
                self.shared.totals().count_panic();
                Err(CloseCause::planned(CloseReason::Panicked))
            }
            Ok(Err(error)) if now < deadline => {
                let shared = &*self.shared;
                let read = || shared.driver().messages()?.message_of(&error);
                let message = catch_panic(read).ok().flatten();
                let text = || catch_panic(|| error.to_string()).unwrap_or_default();
                let own = || ServerMessage::new("", text(), CloseReason::PingFailed);
                let own = own();
                let _ = drop_catching(error);
                let found =
                    self.with_final_message(CloseCause::planned(CloseReason::ServerClosed)).message;
                Err(message.or(found).unwrap_or(own).into_cause())
            }
            Ok(late) => {
                let _ = drop_catching(late);
                if is_full_timeout {
                    self.shared.rule_out_unverified(began);
                }
                Err(CloseCause::planned(CloseReason::PingTimeout))
            }
        }
    }

    /// Pings an idle connection so that it stays open; as [`ping`](Managed::ping).
    pub(crate) fn keep_alive(&mut self, deadline: Instant) -> Result<(), CloseCause> {
        self.shared.totals().count_keepalive_ping();
        self.ping(deadline, true)?;
        self.kept_alive = Some(self.verified.instant());
        Ok(())
    }

    /// Pings; returns `true` if the server has the role that the pool requires.
    pub(super) fn caught_ping(
        &mut self,
        deadline: Instant,
    ) -> Result<Result<bool, BoxError>, CaughtPanic> {
        let shared = Arc::clone(&self.shared);
        let parts = self.parts.as_mut().expect("bug: a closed connection was pinged");
        let (driver, session) = (shared.driver(), &mut parts.session);
        catch_panic(|| match (shared.config().role, driver.roles()) {
            (Role::Any, _) | (_, None) => driver.ping(session, deadline).map(|()| true),
            (Role::Writable, Some(roles)) => roles.is_writable(session, deadline),
            (Role::Standby, Some(roles)) => roles.is_standby(session, deadline),
        })
    }

    /// Asks the server, whatever role the pool requires, whether it accepts writes;
    /// returns `false` only if the server answers that it does not. Blocks on it for at
    /// most `ping_timeout`.
    pub(crate) fn accepts_writes(&mut self) -> bool {
        let deadline = clock::after(Instant::now(), self.shared.config().ping_timeout);
        let watch = self.socket_copy().map(|socket| deadlines::abort_at(deadline, socket));
        let shared = Arc::clone(&self.shared);
        let parts = self.parts.as_mut().expect("bug: a closed connection was queried");
        let session = &mut parts.session;
        let answer = shared.ask(|driver| match driver.roles() {
            Some(roles) => roles.is_writable(session, deadline),
            None => driver.ping(session, deadline).map(|()| true),
        });
        drop(watch);
        let accepts = !matches!(answer, Ok(Ok(false)));
        let _ = drop_catching(answer);
        accepts
    }

    /// Returns `true` if a ping on the caller's own thread ends at its deadline.
    pub(crate) fn ping_is_bounded(&self) -> bool {
        self.shared.config().role == Role::Any && D::PING_IS_BOUNDED
            || !self.socket_is_unavailable()
    }

    /// Returns the deadline of a ping, `ping_timeout` but no later than the caller's own,
    /// and `true` if it is that of `ping_timeout`.
    pub(crate) fn ping_deadline(&self, now: Instant, caller: Instant) -> (Instant, bool) {
        let full = clock::after(now, self.shared.config().ping_timeout);
        if full <= caller { (full, true) } else { (caller, false) }
    }

    /// Sets the defaults and runs the `init` hook on a session that a reset has cleared.
    ///
    /// Panics of the error's `Display` and `Drop` are caught as well.
    pub(super) fn rerun_init(&mut self) -> Result<(), CloseCause> {
        let shared = Arc::clone(&self.shared);
        let parts = self.parts.as_mut().expect("bug: a closed connection was initialised");
        let outcome = shared.set_session_defaults(&mut parts.session);
        let outcome = outcome.map_err(|_| CloseCause::planned(CloseReason::Panicked))?;
        if let Err(error) = outcome {
            let text = catch_panic(|| error.to_string()).unwrap_or_default();
            let _ = drop_catching(error);
            let text = format!("the session defaults could not be set after a reset: {text}");
            return Err(ServerMessage::new("", text, CloseReason::Dirty).into_cause());
        }
        let Some(init) = shared.hooks().init() else { return Ok(()) };
        match catch_panic(|| {
            init(parts.session.connection_mut()).map_err(|error| error.to_string())
        }) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                let text = format!("the init hook failed after a reset: {error}");
                Err(ServerMessage::new("", text, CloseReason::Dirty).into_cause())
            }
            Err(_panicked) => {
                shared.totals().count_panic();
                Err(CloseCause::planned(CloseReason::Panicked))
            }
        }
    }
}

/// A connection opened less than this ago, in nanoseconds, needs no ping, whatever the policy.
const FRESH: u64 = 1_000_000_000;
