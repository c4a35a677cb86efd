//! The time of one statement under way.

use std::time::{Duration, Instant};

/// What runs, since when, and how many cancel requests were made for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) since: Instant,
    pub(super) timeout: Duration,
    pub(super) counted: Counted,
    /// Cancel requests made so far.
    pub(super) requests: u32,
}

/// What reports its beginning and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// One of the pool's own methods.
    ByCaller,
    /// The driver's stream.
    ByStream,
}
