//! The knobs of a pool: defaults, ranges, and the contradictions between them.

mod knobs;
mod plain;

pub use knobs::Knobs;
pub(crate) use plain::Plain;

use crate::cap::Cap;
use crate::error::Error;
use crate::reset::Reset;
use crate::role::Role;
use crate::tcp::{Keepalive, TcpOptions};
use std::time::Duration;

/// Most connections by default; r2d2's number.
pub const DEFAULT_MAX_SIZE: u32 = 10;
/// How long a check-out waits by default.
pub const DEFAULT_CHECKOUT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long opening a connection may take by default, authentication included.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection lives at most by default.
pub const DEFAULT_MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// By how much of the lifetime a connection's life is shortened at most.
pub const DEFAULT_LIFETIME_JITTER: f64 = 0.1;
/// How long a connection beyond `min_idle` idles by default before it is closed.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// How long a connection may idle by default before a check-out pings it.
pub const DEFAULT_PING_AFTER: Duration = Duration::from_secs(30);
/// How long a ping may take by default.
pub const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long sent data may stay unacknowledged by default.
pub const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request to cancel a statement may take by default.
pub const DEFAULT_CANCEL_TIMEOUT: Duration = Duration::from_secs(1);
/// How many rows a materialized query returns at most by default.
pub const DEFAULT_ROW_LIMIT: usize = 100_000;
/// How many prepared statements a PostgreSQL connection keeps by default for the
/// pool's own queries.
pub const DEFAULT_STATEMENT_CACHE: usize = 100;
/// How long a permit waits by default for the server to confirm a close.
pub const DEFAULT_CLOSE_GRACE: Duration = Duration::from_secs(2);

/// How an idle connection is checked before it is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validation {
    /// Asks the kernel about the socket, one system call and no round trip, and
    /// pings only after `ping_after` of idling or after a suspicion.
    #[default]
    Peek,
    /// Peeks, then pings at every check-out: one round trip each.
    AlwaysPing,
    /// Checks nothing but the lifetime. A connection that the server closed is
    /// handed out: for measurements, and for servers that never close first.
    Off,
}

/// All knobs of one pool or manager, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) max_size: u32,
    pub(crate) max_size_is_chosen: bool,
    pub(crate) min_idle: u32,
    pub(crate) checkout_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) lifetime_jitter: f64,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) ping_after: Option<Duration>,
    pub(crate) ping_timeout: Duration,
    pub(crate) validation: Validation,
    pub(crate) row_limit: Option<usize>,
    pub(crate) statement_cache: usize,
    pub(crate) max_waiting: Option<u32>,
    pub(crate) close_grace: Duration,
    pub(crate) reset: Reset,
    pub(crate) role: Role,
    pub(crate) cap: Option<Cap>,
    pub(crate) strict_limits: bool,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) cancel_timeout: Duration,
    pub(crate) keepalive: Option<Keepalive>,
    pub(crate) tcp_user_timeout: Option<Duration>,
    pub(crate) proxy_idle_timeout: Option<Duration>,
    pub(crate) proxy_max_lifetime: Option<Duration>,
    pub(crate) name: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            max_size: DEFAULT_MAX_SIZE,
            max_size_is_chosen: false,
            min_idle: 0,
            checkout_timeout: DEFAULT_CHECKOUT_TIMEOUT,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            max_lifetime: Some(DEFAULT_MAX_LIFETIME),
            lifetime_jitter: DEFAULT_LIFETIME_JITTER,
            idle_timeout: Some(DEFAULT_IDLE_TIMEOUT),
            ping_after: Some(DEFAULT_PING_AFTER),
            ping_timeout: DEFAULT_PING_TIMEOUT,
            validation: Validation::Peek,
            row_limit: Some(DEFAULT_ROW_LIMIT),
            statement_cache: DEFAULT_STATEMENT_CACHE,
            max_waiting: None,
            close_grace: DEFAULT_CLOSE_GRACE,
            reset: Reset::Auto,
            role: Role::Any,
            cap: None,
            strict_limits: false,
            statement_timeout: None,
            cancel_timeout: DEFAULT_CANCEL_TIMEOUT,
            keepalive: Some(Keepalive::default()),
            tcp_user_timeout: Some(DEFAULT_TCP_USER_TIMEOUT),
            proxy_idle_timeout: None,
            proxy_max_lifetime: None,
            name: None,
        }
    }
}

impl Config {
    /// The defaults with these knobs over them, the later over the earlier.
    pub(crate) fn of(layers: &[&Knobs]) -> Config {
        let mut config = Config::default();
        layers.iter().for_each(|knobs| knobs.apply(&mut config));
        config
    }

    /// Refuses values out of range and knobs that contradict one another.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming each knob with its value.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.max_size == 0 {
            return Err(Error::config("max_size is 0: a pool needs at least one connection"));
        }
        if self.min_idle > self.max_size {
            return Err(Error::config(format!(
                "min_idle {} exceeds max_size {}",
                self.min_idle, self.max_size
            )));
        }
        self.check_durations()?;
        if !(0.0..=0.9).contains(&self.lifetime_jitter) {
            return Err(Error::config(format!(
                "lifetime_jitter {} is outside 0.0 to 0.9 (a share of max_lifetime)",
                self.lifetime_jitter
            )));
        }
        if self.row_limit == Some(0) {
            return Err(Error::config("row_limit is 0: no query could succeed; None is no limit"));
        }
        if self.statement_cache > 10_000 {
            return Err(Error::config(format!(
                "statement_cache {} is outside 0 to 10000",
                self.statement_cache
            )));
        }
        if self.max_waiting == Some(0) {
            return Err(Error::config(
                "max_waiting is 0: no check-out could wait; use try_get, or None for no limit",
            ));
        }
        self.check_tcp()?;
        self.check_cap()?;
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
            for (knob, value) in [("idle", idle), ("interval", interval)] {
                if !seconds.contains(&value) {
                    return Err(Error::config(format!(
                        "keepalive: {knob} {value:?} is outside 1s to 32767s"
                    )));
                }
            }
            if !(1..=127).contains(&probes) {
                return Err(Error::config(format!(
                    "keepalive: probes {probes} is outside 1 to 127"
                )));
            }
        }
        let timeouts = Duration::from_millis(1)..=Duration::from_secs(24 * 24 * 3600);
        match self.tcp_user_timeout.filter(|timeout| !timeouts.contains(timeout)) {
            Some(timeout) => Err(Error::config(format!(
                "tcp_user_timeout {timeout:?} is outside 1ms to 24 days; None leaves it to the system"
            ))),
            None => Ok(()),
        }
    }

    fn check_cap(&self) -> Result<(), Error> {
        match self.cap {
            Some(Cap::Fixed(0)) => Err(Error::config("cap Fixed(0): a pool needs a connection")),
            Some(Cap::PerInstance { instances: 0 }) => {
                Err(Error::config("cap PerInstance: instances is 0: at least this one runs"))
            }
            Some(Cap::Share { of_server }) if !(of_server > 0.0 && of_server <= 1.0) => {
                Err(Error::config(format!(
                    "cap Share: of_server {of_server} is outside above 0.0 to 1.0"
                )))
            }
            Some(Cap::Fixed(cap)) if cap < self.min_idle => {
                Err(Error::config(format!("min_idle {} exceeds cap Fixed({cap})", self.min_idle)))
            }
            _ => Ok(()),
        }
    }

    fn check_durations(&self) -> Result<(), Error> {
        let floor = Duration::from_millis(1);
        let ceiling = Duration::from_secs(365 * 24 * 3600);
        let knobs = [
            ("checkout_timeout", Some(self.checkout_timeout)),
            ("connect_timeout", Some(self.connect_timeout)),
            ("max_lifetime", self.max_lifetime),
            ("idle_timeout", self.idle_timeout),
            ("ping_timeout", Some(self.ping_timeout)),
            ("close_grace", Some(self.close_grace)),
            ("statement_timeout", self.statement_timeout),
            ("cancel_timeout", Some(self.cancel_timeout)),
            ("proxy_idle_timeout", self.proxy_idle_timeout),
            ("proxy_max_lifetime", self.proxy_max_lifetime),
        ];
        for (knob, value) in knobs {
            if let Some(value) = value.filter(|value| !(floor..=ceiling).contains(value)) {
                return Err(Error::config(format!("{knob} {value:?} is outside 1ms to one year")));
            }
        }
        Ok(())
    }

    /// A default does not contradict a knob that the user did set: only a value
    /// other than the default can.
    fn check_pairs(&self) -> Result<(), Error> {
        let chosen = self.ping_timeout != DEFAULT_PING_TIMEOUT;
        if chosen && self.ping_timeout > self.checkout_timeout {
            return Err(Error::config(format!(
                "ping_timeout {:?} exceeds checkout_timeout {:?}: one ping could use up a \
                 caller's whole wait",
                self.ping_timeout, self.checkout_timeout
            )));
        }
        match (self.idle_timeout, self.max_lifetime) {
            (Some(idle), Some(life)) if idle > life && idle != DEFAULT_IDLE_TIMEOUT => {
                Err(Error::config(format!(
                    "idle_timeout {idle:?} exceeds max_lifetime {life:?}: it could never act"
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
        config.check().expect_err("a contradiction").to_string()
    }

    #[test]
    fn the_defaults_agree_with_one_another() {
        Config::default().check().expect("defaults are fine");
    }

    #[test]
    fn each_refusal_names_the_knobs_and_their_values() {
        assert!(refusal(|c| c.max_size = 0).contains("max_size is 0"));
        let text = refusal(|c| (c.min_idle, c.max_size) = (8, 5));
        assert_eq!(text, "min_idle 8 exceeds max_size 5");
        assert!(refusal(|c| c.lifetime_jitter = 1.5).contains("lifetime_jitter 1.5"));
        assert!(refusal(|c| c.lifetime_jitter = f64::NAN).contains("lifetime_jitter NaN"));
        assert!(refusal(|c| c.connect_timeout = Duration::ZERO).contains("connect_timeout 0ns"));
        assert!(refusal(|c| c.max_lifetime = Some(Duration::MAX)).contains("max_lifetime"));
        assert!(refusal(|c| c.row_limit = Some(0)).contains("row_limit is 0"));
        let text = refusal(|c| c.statement_cache = 10_001);
        assert_eq!(text, "statement_cache 10001 is outside 0 to 10000");
        assert!(refusal(|c| c.max_waiting = Some(0)).contains("max_waiting is 0"));
        let text = refusal(|c| c.cap = Some(Cap::Share { of_server: 1.5 }));
        assert!(text.contains("of_server 1.5"), "{text}");
        assert!(refusal(|c| c.cap = Some(Cap::PerInstance { instances: 0 })).contains("is 0"));
        let text = refusal(|c| (c.min_idle, c.cap) = (4, Some(Cap::Fixed(3))));
        assert_eq!(text, "min_idle 4 exceeds cap Fixed(3)");
        let text = refusal(|c| c.tcp_user_timeout = Some(Duration::ZERO));
        assert!(text.contains("tcp_user_timeout 0ns"), "{text}");
        let short = Keepalive { idle: Duration::from_millis(10), ..Keepalive::default() };
        let text = refusal(|c| c.keepalive = Some(short));
        assert!(text.contains("keepalive: idle 10ms"), "{text}");
        let none = Keepalive { probes: 0, ..Keepalive::default() };
        assert!(refusal(|c| c.keepalive = Some(none)).contains("probes 0"));
        let text = refusal(|c| c.ping_timeout = Duration::from_secs(31));
        assert!(text.contains("ping_timeout 31s exceeds checkout_timeout 30s"), "{text}");
        let text = refusal(|c| c.idle_timeout = Some(Duration::from_secs(3600)));
        assert!(text.contains("idle_timeout 3600s exceeds max_lifetime 1800s"), "{text}");
    }

    #[test]
    fn a_short_lifetime_does_not_contradict_the_default_idle_timeout() {
        let config = Config { max_lifetime: Some(Duration::from_secs(2)), ..Config::default() };
        config.check().expect("only a chosen idle_timeout can contradict");
    }
}
