//! How much was sent and committed on a connection.

/// How much was sent and committed on one connection, as totals since it was opened;
/// the difference of two is what was done in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Requests that were sent, whatever their outcome.
    pub sent: u64,
    /// Commits that may have happened.
    pub committed: u64,
}

impl Progress {
    /// Creates the two totals: of the requests that were sent, and of the commits that may
    /// have happened.
    pub const fn new(sent: u64, committed: u64) -> Progress {
        Progress { sent, committed }
    }
}
