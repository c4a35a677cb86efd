//! When a connection is too old or has been idle for too long: pure arithmetic.

use std::time::{Duration, Instant};

/// Computes a connection's deadline once, at its birth: birth + lifetime − jitter.
///
/// The jitter only shortens, so that the lifetime is an upper bound. `share` is this
/// connection's share of the jitter, from 0.0 to 1.0, drawn by the caller.
pub(crate) fn deadline(
    birth: Instant,
    lifetime: Option<Duration>,
    jitter: f64,
    share: f64,
) -> Option<Instant> {
    let lifetime = lifetime?;
    let shortened = lifetime.mul_f64(1.0 - jitter.clamp(0.0, 1.0) * share.clamp(0.0, 1.0));
    birth.checked_add(shortened.min(lifetime))
}

/// Returns `true` if the deadline has been reached; the instant itself is too late.
pub(crate) fn is_past(deadline: Option<Instant>, now: Instant) -> bool {
    deadline.is_some_and(|deadline| now >= deadline)
}

/// Returns `true` if a connection idle since then has been idle for at least `timeout`.
pub(crate) fn idled(idle_since: Instant, timeout: Option<Duration>, now: Instant) -> bool {
    timeout.is_some_and(|timeout| now.saturating_duration_since(idle_since) >= timeout)
}

/// Returns when a connection without traffic since then is to be pinged: after `every`,
/// less up to a fifth of it, by the connection's number, so that connections opened
/// together are not pinged together.
pub(crate) fn ping_due(quiet_since: Instant, every: Duration, number: u64) -> Instant {
    // Fibonacci hashing (Knuth, TAOCP 3, 6.4): 2^64 divided by the golden ratio.
    let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let share = f64::from(u32::try_from(hash).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    quiet_since + every.mul_f64(1.0 - 0.2 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_only_shortens_and_uses_its_whole_range() {
        let birth = Instant::now();
        let lifetime = Some(Duration::from_secs(100));
        let at = |share| deadline(birth, lifetime, 0.1, share).expect("a deadline") - birth;
        assert_eq!(at(0.0), Duration::from_secs(100));
        assert_eq!(at(1.0), Duration::from_secs(90));
        for step in 0..=100 {
            let life = at(f64::from(step) / 100.0);
            assert!(life <= Duration::from_secs(100) && life >= Duration::from_secs(90));
        }
    }

    #[test]
    fn keepalive_pings_of_connections_opened_together_are_spread_over_a_fifth_of_the_interval() {
        let start = Instant::now();
        let every = Duration::from_secs(100);
        let due: Vec<_> = (1..=10).map(|number| ping_due(start, every, number) - start).collect();
        let early = Duration::from_secs(80);
        assert!(due.iter().all(|due| (early..=every).contains(due)), "{due:?}");
        let mut sorted = due.clone();
        sorted.sort_unstable();
        let gaps = sorted.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.min() >= Some(Duration::from_millis(500)), "{sorted:?}");
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
    fn idle_time_counts_from_its_start_and_is_zero_for_an_earlier_clock() {
        let start = Instant::now();
        let limit = Some(Duration::from_secs(1));
        assert!(idled(start, limit, start + Duration::from_secs(1)));
        assert!(!idled(start, limit, start + Duration::from_millis(999)));
        assert!(!idled(start + Duration::from_secs(5), limit, start));
        assert!(!idled(start, None, start + Duration::from_secs(9)));
    }
}
