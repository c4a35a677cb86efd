//! How much was sent and committed on a connection.

/// How much was sent and committed on one connection, as totals since it was opened;
/// the difference of two is what was done in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Requests that were sent, whatever their outcome.
    pub sent: u64,
    /// Commits that may have happened.
    pub committed: u64,
}
