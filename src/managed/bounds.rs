//! How long a connection may idle and live, as far as servers and proxies allow:
//! known from the knobs at first, and lowered when the server is asked.

use crate::config::Config;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Keeps a connection this much below a limit that ends it: a tenth of the limit,
/// at least half a second, at most half a minute, and never more than half of it.
pub(crate) fn below(limit: Duration) -> Duration {
    let margin = (limit / 10).clamp(Duration::from_millis(500), Duration::from_secs(30));
    limit - margin.min(limit / 2)
}

/// The bounds in force, read on the hot path without a lock.
pub(crate) struct Bounds {
    /// Idling that some server or proxy does not bear; nanoseconds.
    hard_idle: AtomicU64,
    /// Idling after which connections beyond `min_idle` go; nanoseconds.
    idle: AtomicU64,
    /// The longest life; nanoseconds.
    lifetime: AtomicU64,
    /// The lifetime was lowered after the start: deadlines fixed at birth may be
    /// later than it.
    lowered: AtomicBool,
}

/// No bound.
const NONE: u64 = u64::MAX;

fn nanos(time: Option<Duration>) -> u64 {
    time.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(NONE)
}

/// Without the division that a `Duration` of many nanoseconds costs; a time beyond
/// five hundred years counts as that.
#[inline]
fn as_nanos(time: Duration) -> u64 {
    let seconds = time.as_secs().min(u64::MAX / 2_000_000_000);
    seconds * 1_000_000_000 + u64::from(time.subsec_nanos())
}

fn time(nanos: u64) -> Option<Duration> {
    (nanos != NONE).then(|| Duration::from_nanos(nanos))
}

impl Bounds {
    pub(super) fn new(config: &Config) -> Bounds {
        let bounds = Bounds {
            hard_idle: AtomicU64::new(NONE),
            idle: AtomicU64::new(NONE),
            lifetime: AtomicU64::new(NONE),
            lowered: AtomicBool::new(false),
        };
        bounds.apply(config, None);
        bounds.lowered.store(false, Relaxed);
        bounds
    }

    /// Works the bounds out anew, with the server's idle time-out if it is known.
    pub(super) fn apply(&self, config: &Config, server_idle: Option<Duration>) {
        let hard = [server_idle, config.proxy_idle_timeout].into_iter().flatten().map(below).min();
        let proxy_life = config.proxy_max_lifetime.map(below);
        let lifetime = [config.max_lifetime, proxy_life, hard].into_iter().flatten().min();
        let idle = [config.idle_timeout, hard].into_iter().flatten().min();
        self.hard_idle.store(nanos(hard), Relaxed);
        self.idle.store(nanos(idle), Relaxed);
        if nanos(lifetime) < self.lifetime.swap(nanos(lifetime), Relaxed) {
            self.lowered.store(true, Relaxed);
        }
    }

    /// Tells, for the hot path, whether idling this long is within all bounds and no
    /// deadline fixed at birth is later than it may be.
    #[inline]
    pub(super) fn bears(&self, idle: Duration) -> bool {
        !self.lowered.load(Relaxed) && as_nanos(idle) < self.idle.load(Relaxed)
    }

    /// Tells, for the hot path, whether deadlines fixed at birth still hold.
    #[inline]
    pub(super) fn is_as_at_birth(&self) -> bool {
        !self.lowered.load(Relaxed)
    }

    #[inline]
    pub(crate) fn hard_idle(&self) -> Option<Duration> {
        time(self.hard_idle.load(Relaxed))
    }

    #[inline]
    pub(crate) fn idle(&self) -> Option<Duration> {
        time(self.idle.load(Relaxed))
    }

    #[inline]
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        time(self.lifetime.load(Relaxed))
    }
}

/// An instant before which something no longer holds; one relaxed load to read.
///
/// Nanoseconds since the epoch, plus one; zero if it was never raised.
#[derive(Default)]
pub(super) struct Since(AtomicU64);

/// The instant from which stored times count: earlier than any of them.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Since {
    /// Never raised; an instant before this call may not be raised.
    pub(super) fn never() -> Since {
        LazyLock::force(&EPOCH);
        Since::default()
    }

    pub(super) fn raise(&self, at: Instant) {
        let nanos = as_nanos(at.saturating_duration_since(*EPOCH));
        self.0.fetch_max(nanos.saturating_add(1), Relaxed);
    }

    /// Raises it unless it was raised within this time before.
    pub(super) fn raise_if_older(&self, age: Duration, at: Instant) -> bool {
        let nanos = as_nanos(at.saturating_duration_since(*EPOCH)).saturating_add(1);
        let due = |last: u64| last == 0 || last.saturating_add(as_nanos(age)) <= nanos;
        self.0.try_update(Relaxed, Relaxed, |last| due(last).then_some(nanos)).is_ok()
    }

    #[inline]
    pub(super) fn get(&self) -> Option<Instant> {
        match self.0.load(Relaxed) {
            0 => None,
            nanos => Some(*EPOCH + Duration::from_nanos(nanos - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_once_raised_only_moves_on_and_not_too_often() {
        let (since, now) = (Since::never(), Instant::now());
        assert_eq!(since.get(), None);
        since.raise(now);
        since.raise(now - Duration::from_nanos(1));
        assert_eq!(since.get(), Some(now));
        let second = Duration::from_secs(1);
        assert!(!since.raise_if_older(second, now + second / 2));
        assert_eq!(since.get(), Some(now));
        assert!(since.raise_if_older(second, now + second));
        assert_eq!(since.get(), Some(now + second));
    }

    #[test]
    fn a_margin_is_a_tenth_within_its_bounds() {
        let seconds = Duration::from_secs;
        assert_eq!(below(seconds(28_800)), seconds(28_770));
        assert_eq!(below(seconds(60)), seconds(54));
        assert_eq!(below(seconds(3)), Duration::from_millis(2_500));
        assert_eq!(below(Duration::from_millis(600)), Duration::from_millis(300));
    }

    #[test]
    fn the_smallest_of_all_limits_holds() {
        let config =
            Config { proxy_max_lifetime: Some(Duration::from_secs(600)), ..Config::default() };
        let bounds = Bounds::new(&config);
        assert_eq!(bounds.lifetime(), Some(Duration::from_secs(570)));
        assert_eq!(bounds.idle(), Some(Duration::from_secs(600)));
        assert_eq!(bounds.hard_idle(), None);
        bounds.apply(&config, Some(Duration::from_secs(3)));
        let held = Some(Duration::from_millis(2_500));
        assert_eq!((bounds.hard_idle(), bounds.idle(), bounds.lifetime()), (held, held, held));
    }
}
