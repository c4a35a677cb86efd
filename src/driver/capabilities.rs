//! What a driver may offer beyond the methods that every driver has: each trait is handed out
//! by a method of [`Driver`](super::Driver), and called through it away from the hot path.

use super::cancel::Canceller;
use super::progress::Progress;
use super::session::{ResetOutcome, Usage};
use super::socket_access::Unsolicited;
use super::statement_observer::StatementObserver;
use crate::config::{Reset, ServerLimits, SessionDefaults};
use crate::error::BoxError;
use crate::observe::{Protection, ServerMessage};
use std::sync::Arc;
use std::time::Instant;

/// Resets the session state that a caller left.
pub trait ResetSession<S> {
    /// Resets the session; one round trip if possible.
    ///
    /// Called at check-in after [`SessionState::Dirty`](super::SessionState::Dirty), without a
    /// lock. At the deadline the socket that
    /// [`socket_access`](super::Driver::socket_access) names is shut down.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded; [`SlotLost`](super::SlotLost) if it has no slot
    /// of its fleet any more.
    fn reset_session(
        &self,
        session: &mut S,
        usage: Usage,
        reset: Reset,
    ) -> Result<ResetOutcome, BoxError>;

    /// Records that the session is as a borrower is to find it: it is new or was reset, and
    /// the pool's `init` hook has run. No I/O.
    ///
    /// What changes from then on is what [`session_state`](super::Driver::session_state)
    /// reports. Default: nothing is recorded.
    fn mark_clean(&self, session: &mut S) {
        let _ = session;
    }
}

/// Ends what a session is doing.
pub trait CancelStatement<S> {
    /// Returns a handle that cancels the running statement. Must not block.
    fn canceller(&self, session: &S) -> Option<Canceller>;

    /// Returns `true` if a cancel request needs a session of the server, as a connection
    /// does.
    ///
    /// Then each request takes a permit, and with a `statement_timeout` one permit is
    /// reserved for requests. Default: `false`.
    fn takes_a_session(&self) -> bool {
        false
    }

    /// Prepares for an immediate drop; returns `true` if a reply is still outstanding.
    /// No I/O.
    ///
    /// Called once, before the session is dropped. If a reply is outstanding, the pool
    /// first shuts down the socket from [`socket_access`](super::Driver::socket_access).
    /// Default: none is outstanding.
    fn give_up(&self, session: &mut S) -> bool {
        let _ = session;
        false
    }
}

/// Reports the statements of a session, so that the pool can bound each with a
/// `statement_timeout`; without it the timeout bounds only what the pool itself does.
pub trait ObserveStatements<S> {
    /// Registers an observer of every statement of this session; returns `true` if the driver
    /// will call it. Must not block. Called at most once for a session.
    fn observe(&self, session: &S, observer: Arc<dyn StatementObserver>) -> bool;
}

/// Reads the messages by which the server says why it ends a session.
pub trait ReadMessages<S> {
    /// Reads the server's final message from the bytes in front of the stream's end.
    ///
    /// The bytes may be truncated and may be anything.
    fn read_message(&self, bytes: &[u8]) -> Option<ServerMessage>;

    /// Returns the server's final message, if the driver has received it, without I/O.
    /// Default: none.
    fn final_message(&self, session: &S) -> Option<ServerMessage> {
        let _ = session;
        None
    }

    /// Reads the server's final message from a session that the peer has closed, where
    /// the pending bytes are not readable as they are (TLS).
    ///
    /// Must not block and must not send. Default: none.
    fn read_final_message(&self, session: &mut S) -> Option<ServerMessage> {
        let _ = session;
        None
    }

    /// Extracts the server's message from an error that a ping returned. Default: none.
    fn message_of(&self, error: &BoxError) -> Option<ServerMessage> {
        let _ = error;
        None
    }

    /// Decides about bytes that arrived on an idle connection which is still open.
    ///
    /// Default: ping the server.
    fn unsolicited(&self, session: &S, bytes: &[u8]) -> Unsolicited {
        let _ = (session, bytes);
        Unsolicited::Ping
    }
}

/// Asks a server for its role, where a pool requires one; without it a server that answers a
/// ping has each role.
pub trait AskRole<S> {
    /// Returns `true` if the server is writable: one round trip, which counts as a ping
    /// and has a ping's deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn is_writable(&self, session: &mut S, deadline: Instant) -> Result<bool, BoxError>;

    /// Returns `true` if the server is a standby: one round trip, which counts as a ping
    /// and has a ping's deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn is_standby(&self, session: &mut S, deadline: Instant) -> Result<bool, BoxError>;
}

/// Sets the defaults of new sessions; without it none can be set.
pub trait SetDefaults<S> {
    /// Returns the name of a session default that is set and that this database does not
    /// have. Default: it has all.
    fn missing_default(&self, defaults: &SessionDefaults) -> Option<&'static str> {
        let _ = defaults;
        None
    }

    /// Sets the defaults of a new session, and of one that a reset has cleared; one round
    /// trip if possible.
    ///
    /// Called only if one is set and none is missing, on a thread that may block, before
    /// the `init` hook and within its deadline.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn set_defaults(&self, session: &mut S, defaults: &SessionDefaults) -> Result<(), BoxError>;
}

/// Reads the limits of a server; without it none are known.
pub trait ReadLimits<S> {
    /// Reads the server's limits over this session, by the deadline.
    ///
    /// A limit that is not available is `None`, and not an error.
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded, the limits stay as they were.
    fn read_limits(&self, session: &mut S, deadline: Instant) -> Result<ServerLimits, BoxError>;
}

/// Asks about the slot of a fleet that each session of this driver has.
pub trait HoldSlot<S> {
    /// Returns `true` if another session waits for a slot of the fleet in which this one has
    /// one; one round trip.
    ///
    /// Called at check-in, from time to time, in a pool with a `fleet_cap`, without a lock and
    /// bounded like [`reset_session`](ResetSession::reset_session).
    ///
    /// # Errors
    ///
    /// Any error: the connection is discarded.
    fn slot_is_wanted(&self, session: &mut S) -> Result<bool, BoxError>;
}

/// Says what is known of a session, without I/O.
pub trait DescribeSession<S> {
    /// Returns the server's number for the session, to find it in the server's log.
    /// Default: none.
    fn server_process(&self, session: &S) -> Option<u64> {
        let _ = session;
        None
    }

    /// Returns how much was sent and committed. Default: unknown.
    fn progress(&self, session: &S) -> Option<Progress> {
        let _ = session;
        None
    }

    /// Returns whether a transaction is open. Default: unknown.
    fn is_in_transaction(&self, session: &S) -> Option<bool> {
        let _ = session;
        None
    }

    /// Returns how the traffic of a new session is protected. Default: unknown.
    fn protection(&self, session: &S) -> Option<Protection> {
        let _ = session;
        None
    }
}
