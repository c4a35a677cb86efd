//! When a connection is too old or has idled too long: pure arithmetic.

use std::time::{Duration, Instant};

/// Computes a connection's deadline once, at its birth: birth + lifetime − jitter.
///
/// The jitter only ever shortens, so the lifetime is a promise. `spread` is this
/// connection's share of the jitter, from 0.0 to 1.0, drawn by the caller.
pub(crate) fn deadline(
    birth: Instant,
    lifetime: Option<Duration>,
    jitter: f64,
    spread: f64,
) -> Option<Instant> {
    let lifetime = lifetime?;
    let shortened = lifetime.mul_f64(1.0 - jitter.clamp(0.0, 1.0) * spread.clamp(0.0, 1.0));
    birth.checked_add(shortened.min(lifetime))
}

/// Tells whether a deadline has been reached; the instant itself is too late.
pub(crate) fn is_past(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now >= deadline)
}

/// Tells whether something idle since then has idled for at least this long.
pub(crate) fn idled(idle_since: Instant, timeout: Option<Duration>, now: Instant) -> bool {
    timeout.is_some_and(|timeout| now.saturating_duration_since(idle_since) >= timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_shortens_and_spreads_over_its_whole_share() {
        let birth = Instant::now();
        let lifetime = Some(Duration::from_secs(100));
        let at = |spread| deadline(birth, lifetime, 0.1, spread).expect("a deadline") - birth;
        assert_eq!(at(0.0), Duration::from_secs(100));
        assert_eq!(at(1.0), Duration::from_secs(90));
        for step in 0..=100 {
            let life = at(f64::from(step) / 100.0);
            assert!(life <= Duration::from_secs(100) && life >= Duration::from_secs(90));
        }
    }

    #[test]
    fn no_lifetime_means_no_deadline() {
        assert_eq!(deadline(Instant::now(), None, 0.5, 0.5), None);
        assert!(!is_past(None, Instant::now()));
    }

    #[test]
    fn a_deadline_is_past_at_its_instant_and_not_before() {
        let now = Instant::now();
        let later = now + Duration::from_nanos(1);
        assert!(is_past(Some(now), now));
        assert!(!is_past(Some(later), now));
    }

    #[test]
    fn idling_counts_from_its_start_and_a_clock_behind_it_is_no_time() {
        let start = Instant::now();
        let limit = Some(Duration::from_secs(1));
        assert!(idled(start, limit, start + Duration::from_secs(1)));
        assert!(!idled(start, limit, start + Duration::from_millis(999)));
        assert!(!idled(start + Duration::from_secs(5), limit, start));
        assert!(!idled(start, None, start + Duration::from_secs(9)));
    }
}
