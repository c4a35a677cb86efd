//! What a check-out was waiting for.

/// What a check-out was doing when its deadline passed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitPhase {
    Waiting,
    Pinging,
    Pausing,
    Preparing,
    /// The pool was suspended.
    Suspended,
}
