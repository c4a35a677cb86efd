//! What the kernel is asked to do about a peer that has fallen silent.

use std::time::Duration;

/// When the kernel probes a connection on which nothing moves, and gives it up.
///
/// The longest silence is `idle + interval * probes`; with a `tcp_user_timeout`
/// the kernel gives up earlier, at the first probe that is due after it (Linux
/// manual, "tcp(7)", `TCP_USER_TIMEOUT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// How long nothing moves before the first probe; 1 s to 32 767 s, whole
    /// seconds. Default 30 s.
    pub idle: Duration,
    /// How long until the next probe; 1 s to 32 767 s, whole seconds. Default 10 s.
    pub interval: Duration,
    /// How many probes stay unanswered; 1 to 127. Default 3.
    pub probes: u32,
}

impl Default for Keepalive {
    fn default() -> Keepalive {
        Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(10), probes: 3 }
    }
}

/// What a driver sets on the TCP sockets that it connects, unless its own
/// configuration says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// `SO_KEEPALIVE` with its three times; `None` leaves it to the system.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged; `None`
    /// leaves it to the system.
    pub user_timeout: Option<Duration>,
}
