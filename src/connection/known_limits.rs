//! What one pool knows of the server's limits, and when they are due to be read.

use crate::config::ServerLimits;
use std::time::{Duration, Instant};

/// How often the server's limits are read again.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// What is known of the server's limits.
#[derive(Default)]
pub(super) struct KnownLimits {
    pub(super) limits: Option<ServerLimits>,
    read_at: Option<Instant>,
    /// The last reading failed; the one before it had not.
    failed_once: bool,
    /// The options that exceed the server's limits, as last logged.
    pub(super) conflicts: Vec<String>,
}

impl KnownLimits {
    pub(super) fn is_reading_due(&self, now: Instant) -> bool {
        self.read_at.is_none_or(|read_at| now.saturating_duration_since(read_at) >= REFRESH)
    }

    /// Returns `true` if a reading is due, and takes it as done.
    pub(super) fn claim_reading(&mut self, now: Instant) -> bool {
        let due = self.is_reading_due(now);
        if due {
            self.read_at = Some(now);
        }
        due
    }

    pub(super) fn read(&mut self, limits: ServerLimits) {
        (self.limits, self.failed_once) = (Some(limits), false);
    }

    /// Makes a reading due over the next connection if this one failed: it may have been lost
    /// for a reason of its own. After a second failure a reading is due at the usual time: a
    /// server that can never be asked must not cost every connection.
    pub(super) fn reading_failed(&mut self) {
        self.failed_once = !self.failed_once;
        if self.failed_once {
            self.read_at = None;
        }
    }

    pub(super) fn reread(&mut self) {
        self.read_at = None;
    }
}
