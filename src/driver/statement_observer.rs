//! An observer of the statements on a connection.

/// Called by a driver whose transport sees every statement (see
/// [`ObserveStatements`](super::ObserveStatements)).
pub trait StatementObserver: Send + Sync {
    /// Called before a request is sent. Returns `false` if it must not be sent, because a
    /// cancel request for an earlier statement could still cancel it.
    ///
    /// # Blocking
    ///
    /// While such a cancel request is under way, for as long as that is bounded to.
    /// Default: returns `true` immediately.
    fn before_request(&self) -> bool {
        true
    }

    /// Called when the first request was sent; no reply was outstanding before.
    fn started(&self);

    /// Called when every request that was sent has been answered completely.
    fn finished(&self);
}
