//! Deadlines as instants: the few sums that may overflow, done once.

use std::time::{Duration, Instant};

/// A deadline so far away that it never comes, for time-outs that overflow.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Returns the instant after this time, or one that never comes.
pub(crate) fn after(now: Instant, timeout: Duration) -> Instant {
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

/// Returns what is left until the deadline; zero once it has passed.
pub(crate) fn left(deadline: Instant, now: Instant) -> Duration {
    deadline.saturating_duration_since(now)
}
