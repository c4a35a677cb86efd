//! How long to wait before trying again.

use std::time::Duration;

/// A growing pause with a spread, so that a fleet does not come back as one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, most: Duration) -> Backoff {
        Backoff { first, most }
    }

    /// The pause after so many failures in a row: none after zero, then any part of
    /// a bound that doubles up to the most. `spread`, from 0.0 to 1.0, is what is
    /// taken off: with the whole range in use, those who failed together come back
    /// apart.
    pub(crate) fn pause(self, failures: u32, spread: f64) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
        let factor = 2u32.checked_pow(doublings).unwrap_or(u32::MAX);
        let full = self.first.saturating_mul(factor).min(self.most);
        full.mul_f64(1.0 - spread.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

    #[test]
    fn the_pause_doubles_up_to_the_most() {
        let pauses: Vec<_> = (0..5).map(|n| BACKOFF.pause(n, 0.0).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800]);
        assert_eq!(BACKOFF.pause(50, 0.0), Duration::from_secs(30));
        assert_eq!(BACKOFF.pause(u32::MAX, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn the_spread_takes_off_up_to_all() {
        assert_eq!(BACKOFF.pause(1, 1.0), Duration::ZERO);
        assert_eq!(BACKOFF.pause(2, 0.5), Duration::from_millis(100));
    }
}
