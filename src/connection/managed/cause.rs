//! Why a connection is closed, and what that means for the way it is closed.

use crate::observe::{CloseReason, ServerMessage};

/// The decision to close a connection.
#[derive(Clone, Debug)]
pub(crate) struct CloseCause {
    pub(crate) reason: CloseReason,
    /// The server's message about it.
    pub(crate) message: Option<ServerMessage>,
    /// A statement may still be running on it.
    pub(crate) busy: bool,
}

impl CloseCause {
    pub(crate) fn planned(reason: CloseReason) -> CloseCause {
        CloseCause { reason, message: None, busy: false }
    }

    /// Returns `true` if the other cause has the same reason and the same code of the server.
    pub(crate) fn is_same_loss(&self, other: &CloseCause) -> bool {
        let code = |cause: &CloseCause| cause.message.as_ref().map(|message| message.code.clone());
        self.reason == other.reason && code(self) == code(other)
    }

    pub(crate) fn busy(reason: CloseReason) -> CloseCause {
        CloseCause { reason, message: None, busy: true }
    }
}

impl CloseReason {
    /// Returns `true` if the peer ended the connection, before we did anything to its socket.
    pub(super) fn peer_has_closed(self) -> bool {
        matches!(
            self,
            CloseReason::ServerShutdown
                | CloseReason::ServerCrash
                | CloseReason::ServerIdleTimeout
                | CloseReason::ServerError
                | CloseReason::ServerClosed
                | CloseReason::ConnectionReset
        )
    }

    /// Returns `true` if the server itself may be down, not only this connection.
    pub(crate) fn hints_at_an_outage(self) -> bool {
        self.peer_has_closed() || self.peer_is_unresponsive() || self == CloseReason::Broken
    }

    /// Returns `true` if the event that ended this connection may have ended others too.
    /// Not for the server's own idle timeout: each connection reaches that at its own
    /// time.
    pub(super) fn requires_verification(self) -> bool {
        self.hints_at_an_outage()
            && !matches!(self, CloseReason::ServerIdleTimeout | CloseReason::SiblingPingTimeout)
    }

    /// Returns `true` if the peer does not answer: an orderly close would only wait.
    pub(super) fn peer_is_unresponsive(self) -> bool {
        matches!(
            self,
            CloseReason::NetworkTimeout
                | CloseReason::PingTimeout
                | CloseReason::SiblingPingTimeout
        )
    }
}

impl ServerMessage {
    /// Returns the cause of a close that this message explains.
    pub(crate) fn into_cause(self) -> CloseCause {
        CloseCause { reason: self.reason, message: Some(self), busy: false }
    }
}
