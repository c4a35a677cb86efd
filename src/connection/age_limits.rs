//! How long a connection may be idle and how long it may live: from the options at
//! first, lowered when the limits of the server are known.

use crate::config::Config;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Returns the time that is safely below a limit at which a server or a proxy closes a
/// connection: below it by a tenth of the limit, at least half a second, at most half a
/// minute, and never more than half of it.
pub(crate) fn below(limit: Duration) -> Duration {
    let margin = (limit / 10).clamp(Duration::from_millis(500), Duration::from_secs(30));
    limit - margin.min(limit / 2)
}

/// Returns the longest interval of pings that keeps a connection open under such a limit:
/// a ping that is late by a quarter still comes before the pool closes the connection.
pub(crate) fn often_enough(limit: Duration) -> Duration {
    below(limit) / 4 * 3
}

/// The limits in force, read on the hot path without a lock.
pub(crate) struct AgeLimits {
    /// The time without traffic that a server or a proxy allows; nanoseconds.
    hard_idle: AtomicU64,
    /// The idle time after which connections beyond `min_idle` are closed; nanoseconds.
    idle: AtomicU64,
    /// The idle time that is within both; nanoseconds.
    quick_idle: AtomicU64,
    /// The interval of the pings that keep an idle connection open; nanoseconds.
    keepalive: AtomicU64,
    /// The longest lifetime; nanoseconds.
    lifetime: AtomicU64,
    /// The lifetime was lowered after the start: deadlines computed at birth may be
    /// later than it allows.
    lowered: AtomicBool,
}

/// No limit.
const NONE: u64 = u64::MAX;

fn nanos(time: Option<Duration>) -> u64 {
    time.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(NONE)
}

fn time(nanos: u64) -> Option<Duration> {
    (nanos != NONE).then(|| Duration::from_nanos(nanos))
}

impl AgeLimits {
    pub(super) fn new(config: &Config) -> AgeLimits {
        let bounds = AgeLimits {
            hard_idle: AtomicU64::new(NONE),
            idle: AtomicU64::new(NONE),
            quick_idle: AtomicU64::new(NONE),
            keepalive: AtomicU64::new(NONE),
            lifetime: AtomicU64::new(NONE),
            lowered: AtomicBool::new(false),
        };
        bounds.apply(config, None);
        bounds.lowered.store(false, Relaxed);
        bounds
    }

    /// Recomputes the limits, with the server's idle timeout if it is known.
    pub(super) fn apply(&self, config: &Config, server_idle: Option<Duration>) {
        let limit = [server_idle, config.proxy_idle_timeout].into_iter().flatten().min();
        let hard = limit.map(below);
        let proxy_life = config.proxy_max_lifetime.map(below);
        let keepalive = config.keepalive_ping;
        let keepalive = keepalive.map(|every| every.min(limit.map_or(every, often_enough)));
        // What is pinged in time does not reach the limit.
        let reached = if keepalive.is_some() { None } else { hard };
        let lifetime = [config.max_lifetime, proxy_life, reached].into_iter().flatten().min();
        let idle = [config.idle_timeout, reached].into_iter().flatten().min();
        let quick_idle = [idle, hard].into_iter().flatten().min();
        self.hard_idle.store(nanos(hard), Relaxed);
        self.idle.store(nanos(idle), Relaxed);
        self.quick_idle.store(nanos(quick_idle), Relaxed);
        self.keepalive.store(nanos(keepalive), Relaxed);
        if nanos(lifetime) < self.lifetime.swap(nanos(lifetime), Relaxed) {
            self.lowered.store(true, Relaxed);
        }
    }

    /// Returns `true`, for the hot path, if this idle time is within all limits and no
    /// deadline computed at birth is later than the lifetime allows.
    #[inline]
    pub(super) fn allows_idle(&self, idle_nanos: u64) -> bool {
        !self.lowered.load(Relaxed) && idle_nanos < self.quick_idle.load(Relaxed)
    }

    /// Returns `true`, for the hot path, if deadlines computed at birth still hold.
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
    pub(crate) fn keepalive(&self) -> Option<Duration> {
        time(self.keepalive.load(Relaxed))
    }

    #[inline]
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        time(self.lifetime.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::nanos_of;

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
        let bounds = AgeLimits::new(&config);
        assert_eq!(bounds.lifetime(), Some(Duration::from_secs(570)));
        assert_eq!(bounds.idle(), Some(Duration::from_secs(600)));
        assert_eq!(bounds.hard_idle(), None);
        bounds.apply(&config, Some(Duration::from_secs(3)));
        let held = Some(Duration::from_millis(2_500));
        assert_eq!((bounds.hard_idle(), bounds.idle(), bounds.lifetime()), (held, held, held));
        assert_eq!(bounds.keepalive(), None);
    }

    #[test]
    fn with_keepalive_pings_only_the_interval_is_below_the_limits_of_idle_time() {
        let config = Config {
            keepalive_ping: Some(Duration::from_secs(30)),
            proxy_idle_timeout: Some(Duration::from_secs(60)),
            ..Config::default()
        };
        let bounds = AgeLimits::new(&config);
        assert_eq!(bounds.keepalive(), Some(Duration::from_secs(30)));
        assert_eq!(bounds.hard_idle(), Some(Duration::from_secs(54)));
        assert_eq!((bounds.idle(), bounds.lifetime()), (config.idle_timeout, config.max_lifetime));
        assert!(
            !bounds.allows_idle(nanos_of(Duration::from_secs(54))),
            "a ping may not have been in time"
        );
        bounds.apply(&config, Some(Duration::from_secs(3)));
        assert_eq!(bounds.keepalive(), Some(Duration::from_millis(1_875)));
        assert_eq!(bounds.hard_idle(), Some(Duration::from_millis(2_500)));
    }
}
