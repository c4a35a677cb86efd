//! The pace of dials that no caller waits for.

use crate::sys::backoff::Backoff;
use std::time::{Duration, Instant};

/// Pauses between attempts to fill up to `min_idle` while the server is down.
const REFILL_PAUSE: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// No caller waits: there is no reason for attempts that follow each other more closely.
const LEAST: Duration = Duration::from_millis(100);

/// The pace of attempts that no caller waits for.
#[derive(Default)]
pub(super) struct RefillPace {
    failures: u32,
    not_before: Option<Instant>,
}

impl RefillPace {
    pub(super) fn succeeded(&mut self) {
        *self = RefillPace::default();
    }

    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + REFILL_PAUSE.pause(self.failures, fastrand::f64()).max(LEAST));
    }

    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.not_before.filter(|not_before| *not_before > now)
    }
}
