//! What a check-out was waiting for.

use crate::observe::CloseReason;

/// What a check-out was doing when its deadline passed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitPhase {
    Waiting,
    Pinging,
    /// Each new connection was found closed, or was closed for this reason.
    Pausing(CloseReason),
    Preparing,
    /// The pool was suspended.
    Suspended,
}

impl WaitPhase {
    /// Returns what a check-out waits for after a connection failed its check.
    pub(super) fn after_close(reason: CloseReason, is_new: bool) -> WaitPhase {
        if is_new { WaitPhase::Pausing(reason) } else { WaitPhase::Waiting }
    }
}
