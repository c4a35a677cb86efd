//! The knobs that ask for more than the server or a proxy bears, in words and
//! numbers.

use super::bounds::below;
use crate::cap::Cap;
use crate::config::Config;
use crate::limits::ServerLimits;
use std::time::Duration;

/// Lists what had to be lowered, and why.
pub(super) fn find(config: &Config, rule: Cap, limits: &ServerLimits) -> Vec<String> {
    let mut found = Vec::new();
    if let (Cap::Fixed(wanted), Some(allowance)) = (rule, rule.apply(limits))
        && allowance.cap < wanted
    {
        found.push(format!(
            "{rule} is more than {} can give: {}; lowered to {}",
            limits.product, allowance.working, allowance.cap
        ));
    }
    let idle_bounds = [
        ("the server's idle time-out", limits.idle_timeout),
        ("proxy_idle_timeout", config.proxy_idle_timeout),
    ];
    let idle_knobs = [("idle_timeout", config.idle_timeout), ("max_lifetime", config.max_lifetime)];
    for (knob, value) in idle_knobs {
        found.extend(tightest(knob, value, &idle_bounds));
    }
    let life_bounds = [("proxy_max_lifetime", config.proxy_max_lifetime)];
    found.extend(tightest("max_lifetime", config.max_lifetime, &life_bounds));
    found
}

/// Compares a knob with the smallest of its bounds.
fn tightest(
    knob: &str,
    value: Option<Duration>,
    bounds: &[(&str, Option<Duration>)],
) -> Option<String> {
    let bounds = bounds.iter().filter_map(|(name, bound)| bound.map(|bound| (name, bound)));
    let (name, bound) = bounds.min_by_key(|(_, bound)| *bound)?;
    let lowered = below(bound);
    let value = match value {
        Some(value) if value <= lowered => return None,
        Some(value) => format!("{value:?}"),
        None => "None".into(),
    };
    Some(format!("{knob} {value} is not safely below {name}, {bound:?}; lowered to {lowered:?}"))
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
        let found = find(&config, Cap::Fixed(10), &limits);
        assert_eq!(
            found,
            [
                "max_size 10 is more than PostgreSQL 15 can give: max_connections 8 - reserved 3 - \
                 head room 3 = 2; wanted 10, possible 2; lowered to 2",
                "idle_timeout 600s is not safely below the server's idle time-out, 3s; lowered to \
                 2.5s",
                "max_lifetime 1800s is not safely below the server's idle time-out, 3s; lowered to \
                 2.5s",
            ]
        );
    }

    #[test]
    fn a_proxys_stated_limits_count_and_a_server_without_limits_contradicts_nothing() {
        let mut config = Config::default();
        assert!(find(&config, Cap::Fixed(10), &ServerLimits::default()).is_empty());
        config.proxy_max_lifetime = Some(Duration::from_secs(600));
        let found = find(&config, Cap::Fixed(10), &ServerLimits::default());
        let told =
            "max_lifetime 1800s is not safely below proxy_max_lifetime, 600s; lowered to 570s";
        assert_eq!(found, [told]);
    }
}
