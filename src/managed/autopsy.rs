//! Why a connection that came back unusable died: the server's own words, if the
//! driver has heard them or they still lie on the socket, else what the kernel
//! knows.

use super::Managed;
use super::check::{Discard, Look, judge};
use crate::driver::{Driver, Link};
use crate::liveness::{self, PeekBuffer, Verdict};
use crate::observe::CloseReason;

impl<D: Driver> Managed<D> {
    /// Why a connection is closed that its borrower has lost.
    #[cold]
    pub(crate) fn lost(&self) -> Discard {
        self.autopsy(Discard::planned(CloseReason::Broken))
    }

    /// Replaces a finding of the check-in by the cause, if one can be told.
    ///
    /// Never after a shutdown of ours: the kernel would report it as the end.
    #[cold]
    pub(super) fn autopsy(&self, finding: Discard) -> Discard {
        let Some(parts) = &self.parts else { return finding };
        let heard = self.warden.ask(|driver| driver.parting_words(&parts.side));
        if let Ok(Some(words)) = heard {
            return words.into_discard();
        }
        let Ok(Link::Socket(socket)) = self.link() else { return finding };
        let mut buffer = PeekBuffer::new();
        match liveness::peek(socket, &mut buffer) {
            Verdict::Quiet | Verdict::Unsolicited(_) => finding,
            Verdict::Closed(0) if liveness::was_reset(socket) => {
                Discard::planned(CloseReason::ConnectionReset)
            }
            ended => match judge(&self.warden, parts, ended, buffer.bytes()) {
                Look::Close(cause) => cause,
                Look::Fine | Look::AskServer | Look::Doubted => finding,
            },
        }
    }
}
