//! Which of two clocks a check-out and its check-in read.
//!
//! Two readings of the exact clock take longer than the rest of a check-out, its system call
//! left out. The coarse clock takes a fifth of that, and is as late as the last tick of the
//! system's timer: up to 10 ms. It is read as long as nobody can notice that.

use crate::config::Config;
use crate::sys::clock::Tick;
use std::time::{Duration, Instant};

/// Times shorter than this are compared with exact ones: to longer ones the coarse clock adds
/// no more than a hundredth.
const SHORT: Duration = Duration::from_secs(1);

/// More than the coarse clock is late, unless the kernel itself is held up.
const NEAR: Duration = Duration::from_millis(100);

/// Returns `true` if these options ask for exact times: one of them is a short time, or tells
/// check-outs apart by their beginning.
pub(super) fn are_needed(config: &Config) -> bool {
    let times = [
        config.max_lifetime,
        config.idle_timeout,
        config.ping_after,
        config.keepalive_ping,
        config.proxy_idle_timeout,
        config.proxy_max_lifetime,
        config.held_warning,
    ];
    config.held_backtrace > 0 || times.into_iter().flatten().any(|time| time < SHORT)
}

/// Returns from when on only exact times tell whether the deadline has passed.
pub(super) fn from(deadline: Option<Instant>) -> Tick {
    deadline.map_or(Tick::NEVER, |deadline| Tick::of(deadline).earlier_by(NEAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_time_and_a_record_of_calls_need_exact_times() {
        assert!(!are_needed(&Config::default()));
        let short = Some(SHORT - Duration::from_nanos(1));
        let of = |set: fn(&mut Config, Option<Duration>)| {
            let mut config = Config::default();
            set(&mut config, short);
            config
        };
        for config in [
            of(|config, time| config.max_lifetime = time),
            of(|config, time| config.idle_timeout = time),
            of(|config, time| config.ping_after = time),
            of(|config, time| config.keepalive_ping = time),
            of(|config, time| config.proxy_idle_timeout = time),
            of(|config, time| config.proxy_max_lifetime = time),
            of(|config, time| config.held_warning = time),
            of(|config, _| config.held_backtrace = 100),
        ] {
            assert!(are_needed(&config), "{config:?}");
        }
    }
}
