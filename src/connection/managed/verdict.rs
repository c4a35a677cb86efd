//! The verdicts of the checks of a connection.

use super::cause::CloseCause;

/// The verdict of a check without a round trip.
pub(crate) enum CheckoutVerdict {
    /// It may be handed out.
    Ready,
    /// It may be handed out if it answers a ping.
    NeedsPing,
    /// As `NeedsPing`, but only because another connection was lost since this one was
    /// last verified.
    Unverified,
    /// It must be closed.
    Close(CloseCause),
}

/// What a connection that may be kept still needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckinVerdict {
    /// Nothing.
    Keep,
    /// A reset.
    NeedsReset,
}
