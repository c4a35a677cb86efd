//! The web policy on a loaded computer, where a second connection may take seconds.

use poolwarden::RetryPolicy;
use std::time::Duration;

/// Returns the policy for web requests, with more time for its attempts.
pub const fn patient_web() -> RetryPolicy {
    RetryPolicy::web().within(Duration::from_secs(60))
}
