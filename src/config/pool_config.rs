//! All options of one pool: defaults, ranges and contradictions.

use super::defaults::{DEFAULT_IDLE_TIMEOUT, DEFAULT_PING_TIMEOUT};
use super::fleet_cap::FleetCap;
use super::options::Config;
use super::role::Role;
use super::session_defaults::SessionDefaults;
use super::size_policy::SizePolicy;
use super::tcp::{Keepalive, TcpOptions};
use crate::error::Error;
use crate::sys::one_line::one_line;
use std::time::Duration;

/// In bytes. A pool's name begins each of its log lines and errors.
const LONGEST_NAME: usize = 255;

impl Config {
    /// Rejects values out of range and options that contradict each other.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming each option with its value.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_size == 0 {
            return Err(Error::config("max_size must be at least 1, not 0"));
        }
        if self.min_idle > self.max_size {
            return Err(Error::config(format!(
                "min_idle {} exceeds max_size {}",
                self.min_idle, self.max_size
            )));
        }
        self.check_ranges()?;
        if !(0.0..=0.9).contains(&self.lifetime_jitter) {
            return Err(Error::config(format!(
                "lifetime_jitter {} must be from 0.0 to 0.9 (a share of max_lifetime)",
                self.lifetime_jitter
            )));
        }
        if self.row_limit == Some(0) {
            return Err(Error::config(
                "row_limit must be at least 1, not 0; use None for no limit",
            ));
        }
        if self.byte_limit == Some(0) {
            return Err(Error::config(
                "byte_limit must be at least 1, not 0; use None for no limit",
            ));
        }
        if self.statement_cache > 10_000 {
            return Err(Error::config(format!(
                "statement_cache {} must be from 0 to 10000",
                self.statement_cache
            )));
        }
        if self.max_waiting == Some(0) {
            return Err(Error::config(
                "max_waiting must be at least 1, not 0; use try_get to not wait, or None for no limit",
            ));
        }
        self.check_tcp()?;
        self.check_size_policy()?;
        self.check_fleet_cap()?;
        self.check_name()?;
        self.check_pairs()
    }

    pub(crate) fn tcp(&self) -> TcpOptions {
        TcpOptions { keepalive: self.keepalive, user_timeout: self.tcp_user_timeout }
    }

    fn check_tcp(&self) -> Result<(), Error> {
        // Linux, net/ipv4/tcp.c: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL and
        // MAX_TCP_KEEPCNT; TCP_USER_TIMEOUT is an int of milliseconds.
        let seconds = Duration::from_secs(1)..=Duration::from_secs(32_767);
        if let Some(Keepalive { idle, interval, probes }) = self.keepalive {
            for (option, value) in [("idle", idle), ("interval", interval)] {
                if !seconds.contains(&value) {
                    return Err(Error::config(format!(
                        "keepalive: {option} {value:?} must be from 1s to 32767s"
                    )));
                }
            }
            if !(1..=127).contains(&probes) {
                return Err(Error::config(format!(
                    "keepalive: probes {probes} must be from 1 to 127"
                )));
            }
        }
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(24 * 24 * 3600);
        match self.tcp_user_timeout.filter(|timeout| !timeouts.contains(timeout)) {
            Some(timeout) => Err(Error::config(format!(
                "tcp_user_timeout {timeout:?} must be from 1ms to 24 days; None is the system's default"
            ))),
            None => Ok(()),
        }
    }

    fn check_name(&self) -> Result<(), Error> {
        match &self.name {
            Some(name) if one_line(name) != *name => Err(Error::config(format!(
                "name {name:?} must not contain control characters: it begins log lines"
            ))),
            Some(name) if name.len() > LONGEST_NAME => Err(Error::config(format!(
                "name of {} bytes must have at most {LONGEST_NAME}: it begins log lines",
                name.len()
            ))),
            _ => Ok(()),
        }
    }

    fn check_size_policy(&self) -> Result<(), Error> {
        match self.size_policy {
            Some(SizePolicy::Fixed(0)) => {
                Err(Error::config("size_policy: Fixed(0) must be at least 1"))
            }
            Some(SizePolicy::PerInstance { instances: 0 }) => {
                Err(Error::config("size_policy: PerInstance(0) must be at least 1"))
            }
            Some(SizePolicy::Share { of_server }) if !(of_server > 0.0 && of_server <= 1.0) => {
                Err(Error::config(format!(
                    "size_policy: Share({of_server}) must be greater than 0.0 and at most 1.0"
                )))
            }
            Some(SizePolicy::Fixed(count)) if count < self.min_idle => Err(Error::config(format!(
                "min_idle {} exceeds size_policy Fixed({count})",
                self.min_idle
            ))),
            _ => Ok(()),
        }
    }

    fn check_fleet_cap(&self) -> Result<(), Error> {
        let problem = self.fleet_cap.as_ref().and_then(FleetCap::problem);
        problem.map_or(Ok(()), |problem| Err(Error::config(problem)))
    }

    /// Returns the settings with which every session begins.
    pub(crate) fn session_defaults(&self) -> SessionDefaults {
        SessionDefaults {
            isolation: self.isolation,
            read_only: self.read_only,
            schema: self.schema.clone(),
            time_zone: self.time_zone.clone(),
        }
    }

    fn check_limits_are_read(&self) -> Result<(), Error> {
        let needed_by = match self.size_policy {
            _ if self.read_server_limits => return Ok(()),
            Some(SizePolicy::PerInstance { .. } | SizePolicy::Share { .. }) => "size_policy",
            _ if self.strict_limits => "strict_limits",
            _ => return Ok(()),
        };
        Err(Error::config(format!(
            "read_server_limits false and {needed_by} contradict each other: {needed_by} needs the \
             server's limits"
        )))
    }

    /// A default never contradicts an option that the user set: only a value other than
    /// the default can.
    fn check_pairs(&self) -> Result<(), Error> {
        self.session_defaults().check()?;
        self.check_limits_are_read()?;
        if self.read_only == Some(true) && self.role == Role::Writable {
            return Err(Error::config(
                "read_only true and role writable contradict each other: set only one",
            ));
        }
        if self.held_backtrace > 0 && self.held_warning.is_none() {
            return Err(Error::config(format!(
                "held_backtrace {} has no effect without held_warning; set that too",
                self.held_backtrace
            )));
        }
        let chosen = self.ping_timeout != DEFAULT_PING_TIMEOUT;
        if chosen && self.ping_timeout > self.checkout_timeout {
            return Err(Error::config(format!(
                "ping_timeout {:?} exceeds checkout_timeout {:?}: a single ping could take the \
                 caller's whole timeout",
                self.ping_timeout, self.checkout_timeout
            )));
        }
        if let (Some(every), Some(life)) = (self.keepalive_ping, self.max_lifetime)
            && every >= life
        {
            return Err(Error::config(format!(
                "keepalive_ping {every:?} must be less than max_lifetime {life:?}: it would have \
                 no effect"
            )));
        }
        match (self.idle_timeout, self.max_lifetime) {
            (Some(idle), Some(life)) if idle > life && idle != DEFAULT_IDLE_TIMEOUT => {
                Err(Error::config(format!(
                    "idle_timeout {idle:?} exceeds max_lifetime {life:?}: it would have no effect"
                )))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("rejected").to_string()
    }

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        Config::default().check().expect("defaults are fine");
    }

    #[test]
    fn each_error_names_the_options_and_their_values() {
        assert!(refusal(|c| c.max_size = 0).contains("max_size must be at least 1, not 0"));
        let text = refusal(|c| (c.min_idle, c.max_size) = (8, 5));
        assert_eq!(text, "min_idle 8 exceeds max_size 5");
        assert!(refusal(|c| c.lifetime_jitter = 1.5).contains("lifetime_jitter 1.5"));
        assert!(refusal(|c| c.lifetime_jitter = f64::NAN).contains("lifetime_jitter NaN"));
        assert!(refusal(|c| c.connect_timeout = Duration::ZERO).contains("connect_timeout 0ns"));
        assert!(refusal(|c| c.max_lifetime = Some(Duration::MAX)).contains("max_lifetime"));
        assert!(refusal(|c| c.row_limit = Some(0)).contains("row_limit must be at least 1"));
        let text = refusal(|c| c.statement_cache = 10_001);
        assert_eq!(text, "statement_cache 10001 must be from 0 to 10000");
        let text = refusal(|c| c.name = Some("x".repeat(256)));
        assert!(text.contains("name of 256 bytes"), "{text}");
        assert!(refusal(|c| c.max_waiting = Some(0)).contains("max_waiting must be at least 1"));
        let text = refusal(|c| c.size_policy = Some(SizePolicy::Share { of_server: 1.5 }));
        assert_eq!(text, "size_policy: Share(1.5) must be greater than 0.0 and at most 1.0");
        let none = SizePolicy::PerInstance { instances: 0 };
        let text = refusal(|c| c.size_policy = Some(none));
        assert_eq!(text, "size_policy: PerInstance(0) must be at least 1");
        let text = refusal(|c| (c.min_idle, c.size_policy) = (4, Some(SizePolicy::Fixed(3))));
        assert_eq!(text, "min_idle 4 exceeds size_policy Fixed(3)");
        let text = refusal(|c| c.tcp_user_timeout = Some(Duration::ZERO));
        assert!(text.contains("tcp_user_timeout 0ns"), "{text}");
        let short = Keepalive { idle: Duration::from_millis(10), ..Keepalive::default() };
        let text = refusal(|c| c.keepalive = Some(short));
        assert!(text.contains("keepalive: idle 10ms"), "{text}");
        let none = Keepalive { probes: 0, ..Keepalive::default() };
        assert!(refusal(|c| c.keepalive = Some(none)).contains("probes 0"));
        let text = refusal(|c| c.ping_timeout = Duration::from_secs(31));
        assert!(text.contains("ping_timeout 31s exceeds checkout_timeout 30s"), "{text}");
        let text = refusal(|c| (c.read_server_limits, c.strict_limits) = (false, true));
        assert!(text.contains("strict_limits needs the server's limits"), "{text}");
        let share = Some(SizePolicy::Share { of_server: 0.5 });
        let text = refusal(|c| (c.read_server_limits, c.size_policy) = (false, share));
        assert!(text.contains("size_policy needs the server's limits"), "{text}");
        let text = refusal(|c| c.idle_timeout = Some(Duration::from_secs(3600)));
        assert!(text.contains("idle_timeout 3600s exceeds max_lifetime 1800s"), "{text}");
        let text = refusal(|c| c.keepalive_ping = Some(Duration::from_secs(1800)));
        let expected = "keepalive_ping 1800s must be less than max_lifetime 1800s";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_short_lifetime_does_not_contradict_the_default_idle_timeout() {
        let config = Config { max_lifetime: Some(Duration::from_secs(2)), ..Config::default() };
        config.check().expect("only a chosen idle_timeout can contradict");
    }
}
