//! Why a connection that was returned unusable ended: the server's final message, if
//! the driver has received it or it is still in the socket's buffer, else what the
//! kernel knows.

use super::cause::CloseCause;
use super::managed::Managed;
use super::parts::Parts;
use super::verdict::CheckoutVerdict;
use crate::connection::shared::Shared;
use crate::driver::{Driver, SocketAccess, Unsolicited};
use crate::observe::{CloseReason, ServerMessage};
use crate::sys::socket_state;
use crate::sys::sockets;
use crate::sys::sockets::{PeekBuffer, Verdict};

impl<D: Driver> Managed<D> {
    /// Returns the cause of the close of a connection that failed while it was borrowed.
    #[cold]
    pub(crate) fn lost(&self) -> CloseCause {
        self.with_cause(CloseCause::planned(CloseReason::Broken))
    }

    /// Replaces a finding of the check-in by its cause, if that is known.
    ///
    /// Never after a shutdown of ours: the kernel would report that as the end.
    #[cold]
    pub(super) fn with_cause(&self, finding: CloseCause) -> CloseCause {
        let Some(parts) = &self.parts else { return finding };
        let received = |driver: &D| driver.messages()?.final_message(&parts.session);
        if let Ok(Some(message)) = self.shared.ask(received) {
            return message.into_cause();
        }
        let Ok(SocketAccess::Socket(socket)) = self.socket_access() else { return finding };
        let mut buffer = PeekBuffer::new();
        match sockets::peek(socket, &mut buffer) {
            Verdict::Quiet | Verdict::Unsolicited(_) => finding,
            Verdict::Closed(0) if socket_state::was_reset(socket) => {
                CloseCause::planned(CloseReason::ConnectionReset)
            }
            ended => match judge(&self.shared, parts, ended, buffer.bytes()) {
                CheckoutVerdict::Close(cause) => cause,
                CheckoutVerdict::Ready
                | CheckoutVerdict::NeedsPing
                | CheckoutVerdict::Unverified => finding,
            },
        }
    }
}

#[cold]
pub(super) fn judge<D: Driver>(
    shared: &Shared<D>,
    parts: &Parts<D>,
    verdict: Verdict,
    bytes: &[u8],
) -> CheckoutVerdict {
    let message = || shared.ask(|driver| driver.messages()?.read_message(bytes)).ok().flatten();
    match verdict {
        Verdict::Quiet => CheckoutVerdict::Ready,
        Verdict::Closed(_) => {
            let unexplained = || CloseCause::planned(CloseReason::ServerClosed);
            CheckoutVerdict::Close(message().map_or_else(unexplained, ServerMessage::into_cause))
        }
        Verdict::Failed(libc::ETIMEDOUT) => {
            CheckoutVerdict::Close(CloseCause::planned(CloseReason::NetworkTimeout))
        }
        Verdict::Failed(_) => {
            CheckoutVerdict::Close(CloseCause::planned(CloseReason::ConnectionReset))
        }
        Verdict::Unsolicited(_) => {
            let decision = shared.ask(|driver| match driver.messages() {
                Some(messages) => messages.unsolicited(&parts.session, bytes),
                None => Unsolicited::Ping,
            });
            match decision.unwrap_or(Unsolicited::Close) {
                Unsolicited::Keep => CheckoutVerdict::Ready,
                Unsolicited::Ping => CheckoutVerdict::NeedsPing,
                // The server's final message may arrive a moment before its FIN.
                Unsolicited::Close => {
                    let unexplained = || CloseCause::planned(CloseReason::Unsolicited);
                    CheckoutVerdict::Close(
                        message().map_or_else(unexplained, ServerMessage::into_cause),
                    )
                }
            }
        }
    }
}

impl<D: Driver> Managed<D> {
    /// Adds the server's final message, if only the driver can read it.
    #[cold]
    pub(super) fn with_final_message(&mut self, cause: CloseCause) -> CloseCause {
        if cause.message.is_some() || !cause.reason.peer_has_closed() {
            return cause;
        }
        let Some(parts) = &mut self.parts else { return cause };
        let session = &mut parts.session;
        let read = |driver: &D| driver.messages()?.read_final_message(session);
        let message = self.shared.ask(read).ok().flatten();
        message.map_or(cause, ServerMessage::into_cause)
    }
}
