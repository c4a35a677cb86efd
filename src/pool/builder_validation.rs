//! The builder's options for the validation of idle connections.

use super::builder::Builder;
use crate::config::{Role, Validation};
use crate::driver::Driver;
use std::time::Duration;

/// # Validation
impl<D: Driver> Builder<D> {
    /// Sets after how much idle time a check-out pings as well as peeks; `None` is
    /// never.
    ///
    /// Default [`DEFAULT_PING_AFTER`](crate::config::DEFAULT_PING_AFTER), 30 s. A
    /// peek sees every close that the kernel of this machine knows of; only a ping
    /// detects a frozen server, or a firewall that silently dropped the connection.
    pub fn ping_after(mut self, idle: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.ping_after = Some(idle.into());
        self
    }

    /// Sets how long one ping may take.
    ///
    /// 1 ms to `checkout_timeout`; default
    /// [`DEFAULT_PING_TIMEOUT`](crate::config::DEFAULT_PING_TIMEOUT), 1 s. If a ping is
    /// not answered, the pool closes its connection and all others that were idle then.
    pub fn ping_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.options.ping_timeout = Some(timeout);
        self
    }

    /// Sets after how much time without traffic an idle connection is pinged in the
    /// background; `None` is never.
    ///
    /// 1 ms to one year, less than `max_lifetime`; default `None`. Set it if a proxy, a
    /// firewall or the server ends connections without traffic and a quiet pool should
    /// keep its own. The pings keep such a connection open, so `idle_timeout` and
    /// `max_lifetime` need not be below that limit; if `proxy_idle_timeout` or the
    /// server's own limit shows that this interval is too long, the pool lowers it, with a
    /// warning. A ping does not count as use: `idle_timeout` still closes connections
    /// beyond `min_idle`.
    ///
    /// Each connection's interval is shorter by up to a fifth, so that those opened
    /// together are not pinged together. The pool takes out at most 4 at a time for their
    /// pings, and never more than half of the idle ones, unless only one is idle. A ping
    /// has `ping_timeout`, on a thread that callers do not wait for; if there is no
    /// answer, the connection is closed as after a ping at check-out. The option
    /// `keepalive` is another one: the kernel's probes, which a proxy answers itself.
    pub fn keepalive_ping(mut self, every: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.keepalive_ping = Some(every.into());
        self
    }

    /// Sets how an idle connection is validated before it is handed out.
    ///
    /// Default [`Validation::Peek`].
    pub fn validation(mut self, validation: Validation) -> Builder<D> {
        self.options.validation = Some(validation);
        self
    }

    /// Sets which role a server must have for the pool to use it; default
    /// [`Role::Any`].
    ///
    /// With [`Role::Writable`] each connect tries the hosts of the list until one accepts
    /// writes, at the cost of one more round trip for each connection opened. If a server
    /// reports that it became read-only (seen by the pool's own methods and by its
    /// pings), its connection is closed, and every other one is checked before its next
    /// use. With a list of hosts the pool thereby follows a failover; without one it only
    /// refuses a server that was put into read-only mode.
    ///
    /// With [`Role::Standby`] each connect tries the hosts until one is a standby, and a
    /// connection whose server was promoted is closed at its next ping.
    pub fn role(mut self, role: Role) -> Builder<D> {
        self.options.role = Some(role);
        self
    }
}
