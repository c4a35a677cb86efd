//! How the kernel detects a peer that no longer responds.

use std::time::Duration;

/// When the kernel probes an idle connection, and when it closes it.
///
/// An unresponsive peer is detected after `idle + interval * probes`; with a
/// `tcp_user_timeout` earlier, at the first probe that is due after it (Linux
/// manual, "tcp(7)", `TCP_USER_TIMEOUT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// Idle time before the first probe; 1 s to 32 767 s, whole seconds. Default 30 s.
    pub idle: Duration,
    /// Time between probes; 1 s to 32 767 s, whole seconds. Default 10 s.
    pub interval: Duration,
    /// Unanswered probes before the connection is closed; 1 to 127. Default 3.
    pub probes: u32,
}

impl Keepalive {
    /// Creates the three values: the idle time, the time between probes, and the number of
    /// unanswered probes; the ranges are those of the fields.
    pub const fn new(idle: Duration, interval: Duration, probes: u32) -> Keepalive {
        Keepalive { idle, interval, probes }
    }
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive::new(Duration::from_secs(30), Duration::from_secs(10), 3)
    }
}

/// The options that a driver sets on its TCP sockets, unless its own configuration sets
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// `SO_KEEPALIVE` with its three values; `None` is the system's default.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged; `None`
    /// is the system's default.
    pub user_timeout: Option<Duration>,
}
