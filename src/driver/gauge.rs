//! Who wants to know when a statement runs.

/// Told by a driver whose stream sees every statement (see
/// [`Driver::gauge`](super::Driver::gauge)).
pub trait Gauge: Send + Sync {
    /// The first request was sent; nothing was owed before.
    fn sent(&self);

    /// Every request that was sent has been answered to its end.
    fn answered(&self);
}
