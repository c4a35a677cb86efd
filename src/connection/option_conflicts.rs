//! Options that exceed what the server or a proxy allows, with the numbers.

use super::age_limits::{below, often_enough};
use crate::config::{Config, ServerLimits, SizePolicy};
use std::time::Duration;

/// Lists the options that had to be lowered, and why.
pub(super) fn find(config: &Config, rule: SizePolicy, limits: &ServerLimits) -> Vec<String> {
    let mut found = Vec::new();
    if let (SizePolicy::Fixed(wanted), Some(allowance)) = (rule, rule.apply(limits))
        && allowance.max_size < wanted
    {
        found.push(format!(
            "{rule} is more than {} allows: {}; lowered to {}",
            limits.product, allowance.calculation, allowance.max_size
        ));
    }
    let idle_bounds = [
        ("the server's idle timeout", limits.idle_timeout),
        ("proxy_idle_timeout", config.proxy_idle_timeout),
    ];
    let keepalive = config.keepalive_ping;
    if keepalive.is_some() {
        found.extend(tightest("keepalive_ping", keepalive, &idle_bounds, often_enough));
        found.extend(without_effect(config));
    } else {
        for (option, value) in
            [("idle_timeout", config.idle_timeout), ("max_lifetime", config.max_lifetime)]
        {
            found.extend(tightest(option, value, &idle_bounds, below));
        }
    }
    let life_bounds = [("proxy_max_lifetime", config.proxy_max_lifetime)];
    found.extend(tightest("max_lifetime", config.max_lifetime, &life_bounds, below));
    found
}

/// Compares the interval of the pings with the time for which a connection is idle.
fn without_effect(config: &Config) -> Option<String> {
    let (every, idle) = (config.keepalive_ping?, config.idle_timeout?);
    (config.min_idle == 0 && every >= idle).then(|| {
        format!(
            "keepalive_ping {every:?} is not less than idle_timeout {idle:?}: without min_idle no \
             connection is idle for long enough to be pinged"
        )
    })
}

/// Compares an option with the smallest of its bounds.
fn tightest(
    option: &str,
    value: Option<Duration>,
    bounds: &[(&str, Option<Duration>)],
    safe: impl Fn(Duration) -> Duration,
) -> Option<String> {
    let bounds = bounds.iter().filter_map(|(name, bound)| bound.map(|bound| (name, bound)));
    let (name, bound) = bounds.min_by_key(|(_, bound)| *bound)?;
    let lowered = safe(bound);
    let value = match value {
        Some(value) if value <= lowered => return None,
        Some(value) => format!("{value:?}"),
        None => "None".into(),
    };
    Some(format!("{option} {value} is not safely below {name}, {bound:?}; lowered to {lowered:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_conflict_shows_both_numbers() {
        let config = Config::default();
        let limits = ServerLimits {
            product: "PostgreSQL 15".into(),
            max_connections: Some(8),
            reserved_connections: Some(3),
            idle_timeout: Some(Duration::from_secs(3)),
            ..ServerLimits::default()
        };
        let found = find(&config, SizePolicy::Fixed(10), &limits);
        assert_eq!(
            found,
            [
                "max_size 10 is more than PostgreSQL 15 allows: max_connections 8 - reserved 3 - \
                 head room 3 = 2; requested 10, possible 2; lowered to 2",
                "idle_timeout 600s is not safely below the server's idle timeout, 3s; lowered to \
                 2.5s",
                "max_lifetime 1800s is not safely below the server's idle timeout, 3s; lowered to \
                 2.5s",
            ]
        );
    }

    #[test]
    fn a_proxys_configured_limits_count_and_a_server_without_limits_causes_no_conflict() {
        let mut config = Config::default();
        assert!(find(&config, SizePolicy::Fixed(10), &ServerLimits::default()).is_empty());
        config.proxy_max_lifetime = Some(Duration::from_secs(600));
        let found = find(&config, SizePolicy::Fixed(10), &ServerLimits::default());
        let expected =
            "max_lifetime 1800s is not safely below proxy_max_lifetime, 600s; lowered to 570s";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn with_keepalive_pings_only_their_interval_must_be_below_the_limits_of_idle_time() {
        let seconds = Duration::from_secs;
        let mut config = Config {
            keepalive_ping: Some(seconds(60)),
            proxy_idle_timeout: Some(seconds(60)),
            ..Config::default()
        };
        let conflicts =
            |config: &Config| find(config, SizePolicy::Fixed(10), &ServerLimits::default());
        let expected =
            "keepalive_ping 60s is not safely below proxy_idle_timeout, 60s; lowered to 40.5s";
        assert_eq!(conflicts(&config), [expected]);
        config.keepalive_ping = Some(seconds(30));
        assert!(conflicts(&config).is_empty());
        (config.keepalive_ping, config.proxy_idle_timeout) = (Some(seconds(600)), None);
        let expected = "keepalive_ping 600s is not less than idle_timeout 600s: without min_idle \
                        no connection is idle for long enough to be pinged";
        assert_eq!(conflicts(&config), [expected]);
        config.min_idle = 1;
        assert!(conflicts(&config).is_empty());
    }
}
