//! How long to wait before a retry.

use std::time::Duration;

/// A growing pause with jitter, so that a fleet of clients does not retry in step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, max: Duration) -> Backoff {
        Backoff { first, max }
    }

    /// Returns the pause after this many failures in a row: none after zero, then a
    /// bound that doubles up to the maximum, shortened by the jitter. `jitter`, from
    /// 0.0 to 1.0, is the share taken off: with the whole range in use, clients that
    /// failed together retry at different times.
    pub(crate) fn pause(self, failures: u32, jitter: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.max);
        full.mul_f64(1.0 - jitter.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let pauses: Vec<_> = (0..5).map(|n| BACKOFF.pause(n, 0.0).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800]);
        assert_eq!(BACKOFF.pause(50, 0.0), Duration::from_secs(30));
        assert_eq!(BACKOFF.pause(u32::MAX, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn jitter_shortens_the_pause_by_up_to_its_whole_length() {
        assert_eq!(BACKOFF.pause(1, 1.0), Duration::ZERO);
        assert_eq!(BACKOFF.pause(2, 0.5), Duration::from_millis(100));
    }
}
