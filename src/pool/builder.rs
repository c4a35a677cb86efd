//! The builder: one method per option.

use super::sharing::Sharing;
use crate::config::{FleetCap, Keepalive, PoolOptions, Reset, SizePolicy};
use crate::connection::Hooks;
use crate::driver::Driver;
use crate::observe::Observer;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Pool`](crate::Pool), or a [`Manager`](crate::Manager) for a bare `r2d2::Pool`.
///
/// Every option has a default that is safe for an unknown server. A value out of range,
/// or two options that contradict each other, are errors from `build` that name the
/// options and their values. An option in the driver's URL (`?pool_max_size=8`) applies
/// if its method here was not called.
#[must_use]
pub struct Builder<D: Driver> {
    pub(super) options: PoolOptions,
    pub(super) hooks: Hooks<D::Connection>,
    pub(super) observers: Vec<Arc<dyn Observer>>,
    pub(super) sharing: Sharing,
}

impl<D: Driver> Builder<D> {
    pub(crate) fn new() -> Builder<D> {
        Builder {
            options: PoolOptions::default(),
            hooks: Hooks::none(),
            observers: Vec::new(),
            sharing: Sharing::default(),
        }
    }

    /// Sets the maximum number of connections at any time, as the server counts them:
    /// open, being opened and being closed together.
    ///
    /// A count, 1 or more; default [`DEFAULT_MAX_SIZE`](crate::config::DEFAULT_MAX_SIZE),
    /// 10. Raise it only if callers wait while the server is not busy.
    pub fn max_size(mut self, connections: u32) -> Builder<D> {
        self.options.max_size = Some(connections);
        self
    }

    /// Sets how many idle connections the pool keeps open without any demand.
    ///
    /// A count, up to `max_size`; default 0: connections are opened on demand.
    /// Raise it if the first callers after a quiet period must not wait for a connect.
    pub fn min_idle(mut self, connections: u32) -> Builder<D> {
        self.options.min_idle = Some(connections);
        self
    }

    /// Sets the maximum time that [`Pool::get`](crate::Pool::get) waits.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CHECKOUT_TIMEOUT`](crate::config::DEFAULT_CHECKOUT_TIMEOUT), 30 s.
    /// Set it below your own callers' timeouts: a web request whose client has given up
    /// should not wait for a connection.
    pub fn checkout_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.options.checkout_timeout = Some(timeout);
        self
    }

    /// Sets how long opening one connection may take: name resolution, TCP, TLS
    /// handshake, authentication and the init hook together.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CONNECT_TIMEOUT`](crate::config::DEFAULT_CONNECT_TIMEOUT), 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.options.connect_timeout = Some(timeout);
        self
    }

    /// Sets the maximum lifetime of a connection; `None` is no limit.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_MAX_LIFETIME`](crate::config::DEFAULT_MAX_LIFETIME), 30 minutes.
    /// After it, a connection is neither handed out nor kept at check-in; one in use is
    /// never interrupted. Set it some seconds below every limit of the server or of a
    /// proxy in between.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.max_lifetime = Some(lifetime.into());
        self
    }

    /// Sets the largest share of `max_lifetime` by which a lifetime is shortened at
    /// random, so that the connections of many processes do not all expire together.
    ///
    /// A share, 0.0 to 0.9; default
    /// [`DEFAULT_LIFETIME_JITTER`](crate::config::DEFAULT_LIFETIME_JITTER), 0.1. It
    /// only ever shortens.
    pub fn lifetime_jitter(mut self, share: f64) -> Builder<D> {
        self.options.lifetime_jitter = Some(share);
        self
    }

    /// Sets how long a connection beyond `min_idle` may stay idle; `None` is no limit.
    ///
    /// 1 ms to one year, at most `max_lifetime`; default
    /// [`DEFAULT_IDLE_TIMEOUT`](crate::config::DEFAULT_IDLE_TIMEOUT), 10 minutes.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.idle_timeout = Some(timeout.into());
        self
    }

    /// Sets how a connection's session is reset at check-in.
    ///
    /// Default [`Reset::Auto`]. A reset that needs a round trip runs on the thread that
    /// drops the guard, for at most `ping_timeout`; inside an async runtime, on another
    /// thread.
    pub fn reset(mut self, reset: Reset) -> Builder<D> {
        self.options.reset = Some(reset);
        self
    }

    /// Sets the maximum number of rows that one of the pool's own queries returns;
    /// `None` is no limit.
    ///
    /// A count, 1 or more; default
    /// [`DEFAULT_ROW_LIMIT`](crate::config::DEFAULT_ROW_LIMIT), 100 000. The pool stops
    /// reading a query that exceeds it, and returns an error.
    pub fn row_limit(mut self, rows: impl Into<Option<usize>>) -> Builder<D> {
        self.options.row_limit = Some(rows.into());
        self
    }

    /// Sets the maximum number of bytes that one of the pool's own queries returns, as they
    /// are received; `None` is no limit.
    ///
    /// Bytes, 1 or more; default
    /// [`DEFAULT_BYTE_LIMIT`](crate::config::DEFAULT_BYTE_LIMIT), 64 MiB. The pool stops
    /// reading a query that exceeds it, returns an error of the kind
    /// [`ByteLimit`](crate::ErrorKind::ByteLimit), and closes the connection, except on
    /// SQLite.
    ///
    /// - PostgreSQL over TCP: all bytes of the answer count, and a row that is too long is
    ///   refused by the length in front of it, before it is read. Over a unix socket a row
    ///   counts when it has been read.
    /// - MySQL and MariaDB: the values of a row count when it has been read. One row is no
    ///   longer than the driver's `max_allowed_packet`, by default the server's.
    /// - SQLite: text and blobs count by their lengths, before they are mapped.
    pub fn byte_limit(mut self, bytes: impl Into<Option<usize>>) -> Builder<D> {
        self.options.byte_limit = Some(bytes.into());
        self
    }

    /// Sets how many prepared statements each PostgreSQL connection keeps for the
    /// pool's own queries, the most recently used ones.
    ///
    /// A count, 0 to 10 000; default
    /// [`DEFAULT_STATEMENT_CACHE`](crate::config::DEFAULT_STATEMENT_CACHE), 100. 0
    /// is off: each query is prepared every time, at the cost of one more round trip.
    /// Texts longer than 16 KiB are never cached. Raise it if a program has more
    /// different statements than that; lower it if the server is short of memory. The
    /// drivers of other databases have their own caches.
    pub fn statement_cache(mut self, statements: usize) -> Builder<D> {
        self.options.statement_cache = Some(statements);
        self
    }

    /// Sets how many callers may wait at the same time; `None` is no limit.
    ///
    /// A count, 1 or more; default `None`. The next caller fails immediately with
    /// [`QueueFull`](crate::ErrorKind::QueueFull): set it where many waiting threads do
    /// more harm than an error.
    pub fn max_waiting(mut self, callers: impl Into<Option<u32>>) -> Builder<D> {
        self.options.max_waiting = Some(callers.into());
        self
    }

    /// Sets how long a closed connection keeps its permit while the server has not
    /// confirmed the close.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CLOSE_GRACE`](crate::config::DEFAULT_CLOSE_GRACE), 2 s. After it the
    /// permit is released and the connection is counted as abandoned.
    pub fn close_grace(mut self, grace: Duration) -> Builder<D> {
        self.options.close_grace = Some(grace);
        self
    }

    /// Sets how the maximum size is determined: a number, or a share of the connections
    /// that the server allows.
    ///
    /// Default: [`SizePolicy::Fixed`] with `max_size`. With another policy, `max_size` is
    /// an upper bound if it was set; the pool opens one connection until it has read the
    /// server's limits.
    pub fn size_policy(mut self, policy: SizePolicy) -> Builder<D> {
        self.options.size_policy = Some(policy);
        self
    }

    /// Sets a cap on the connections of several processes together, arbitrated by the
    /// database server; PostgreSQL, MySQL and MariaDB.
    ///
    /// Default: none. Each connection takes one of the cap's slots by a session-level lock,
    /// at the cost of one round trip at its connect, and on MySQL and MariaDB one at each
    /// reset. While no slot is free, callers wait, and the attempts fail with
    /// [`FaultClass::FleetFull`](crate::FaultClass::FleetFull). A connection that has had
    /// its slot for a while (50 ms for each slot of the cap, at least 1 s) asks at its
    /// check-in, or while it is idle, whether another session waits, and is then closed, so
    /// that every process has its turn. A process logs in one session at a time, and has at most one without a slot. Through a
    /// pooler in transaction mode the connect is refused. See the guide's page
    /// [`fleet`](crate::guide::fleet).
    ///
    /// ```no_run
    /// use poolwarden::config::FleetCap;
    /// use poolwarden::{Pool, Postgres};
    ///
    /// let driver = Postgres::new("postgres://app:secret@db.example.com/app")?;
    /// let cap = FleetCap::new("orders", 30);
    /// let pool = Pool::builder().max_size(20).fleet_cap(cap).build(driver)?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    pub fn fleet_cap(mut self, cap: FleetCap) -> Builder<D> {
        self.options.fleet_cap = Some(cap);
        self
    }

    /// Sets whether an option above the server's limits is an error from `build`.
    ///
    /// Default `false`: the pool lowers it, and logs a warning that shows the
    /// arithmetic.
    pub fn strict_limits(mut self, strict: bool) -> Builder<D> {
        self.options.strict_limits = Some(strict);
        self
    }

    /// Sets whether the pool reads the server's limits: its connection limits, reserved
    /// places, timeouts and how many sessions there are.
    ///
    /// Default `true`: at the first connection, every five minutes, and after the server
    /// reported too many connections. Without them nothing is kept below the server's
    /// limits, and [`Pool::server_limits`](crate::Pool::server_limits) is `None`.
    pub fn read_server_limits(mut self, read: bool) -> Builder<D> {
        self.options.read_server_limits = Some(read);
        self
    }

    /// Sets whether the pool may block a thread that drives an async runtime.
    ///
    /// Default `false`: there it is [`AsyncContext`](crate::ErrorKind::AsyncContext). `true`
    /// is for programs that block such threads knowingly. What would panic in the `postgres`
    /// driver there is still refused: a query, a ping, a hook. `get` is not, whether it finds
    /// an idle connection or waits for one: it may be meant for another thread. See [`frameworks`](crate::guide::frameworks).
    pub fn allow_async_threads(mut self, allow: bool) -> Builder<D> {
        self.options.allow_async_threads = Some(allow);
        self
    }

    /// Sets after how much idle time a proxy in front of the server closes a connection;
    /// `None` is no such proxy.
    ///
    /// 1 ms to one year; default `None`. Idle time and lifetime are kept below it,
    /// with a margin of a tenth (at least 0.5 s, at most 30 s).
    pub fn proxy_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.proxy_idle_timeout = Some(timeout.into());
        self
    }

    /// Sets the age at which a proxy in front of the server closes every connection;
    /// `None` is no such proxy.
    ///
    /// 1 ms to one year; default `None`. The lifetime is kept below it, with a
    /// margin of a tenth (at least 0.5 s, at most 30 s).
    pub fn proxy_max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.proxy_max_lifetime = Some(lifetime.into());
        self
    }

    /// Sets how long a statement may run; `None` is no limit.
    ///
    /// 1 ms to one year; default `None`. After it the pool cancels the statement as
    /// [`CancelHandle::cancel`](crate::CancelHandle::cancel) does, and the statement fails
    /// with [`StatementTimeout`](crate::ErrorKind::StatementTimeout); the connection
    /// remains usable. If the statement has not ended `cancel_timeout` later, because the
    /// server is frozen or the network drops everything, the pool shuts the connection
    /// down, and the error is
    /// [`StatementAbandoned`](crate::ErrorKind::StatementAbandoned). SQLite has no
    /// connection that could be shut down; it stops within a few steps of its virtual
    /// machine, but not while it waits for a lock (see its busy timeout) or inside an
    /// application-defined function.
    ///
    /// What it bounds:
    ///
    /// - Each of the pool's own queries as a whole, from the check-out on.
    /// - PostgreSQL over TCP: also every statement run on a guard or in a
    ///   [`transaction`](crate::Pool::transaction), `COMMIT` included, from the moment it is
    ///   sent until its answer is complete. The time that the caller takes between two
    ///   rows of a lazy result counts.
    /// - Elsewhere the driver does not show where a statement begins and ends: a
    ///   `transaction` is bounded as a whole, from `BEGIN` to the end of `COMMIT`,
    ///   including what the closure does in between, where a cancel has no effect: it is
    ///   repeated until a statement was cancelled; a guard's statements are not
    ///   bounded unless
    ///   [`PooledConnection::set_statement_timeout`](crate::PooledConnection::set_statement_timeout)
    ///   is called.
    ///
    /// MySQL and MariaDB: one connection of `max_size` is reserved for `KILL QUERY`, so
    /// that `max_size - 1` run statements. With a `max_size` of 1 there is none: the pool
    /// ends a statement by shutting its connection down, and the server may continue to
    /// run it.
    pub fn statement_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.statement_timeout = Some(timeout.into());
        self
    }

    /// Sets how long a request to cancel a statement may take: that of a
    /// [`CancelHandle`](crate::CancelHandle), and that of `statement_timeout`, which then
    /// shuts the connection down.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CANCEL_TIMEOUT`](crate::config::DEFAULT_CANCEL_TIMEOUT), 1 s. Raise it
    /// on slow networks.
    pub fn cancel_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.options.cancel_timeout = Some(timeout);
        self
    }

    /// Sets when the kernel probes a connection without traffic; `None` leaves the
    /// system's default, which is two hours or never.
    ///
    /// Default [`Keepalive::default`]: after 30 s, every 10 s, 3 times. With the
    /// default `tcp_user_timeout` too, a connection whose packets are dropped ends
    /// within 40 s while it is idle or waits for an answer. The driver's own settings
    /// take precedence (see [`Postgres`](crate::Postgres#socket-options)); unix sockets
    /// have none.
    pub fn keepalive(mut self, keepalive: impl Into<Option<Keepalive>>) -> Builder<D> {
        self.options.keepalive = Some(keepalive.into());
        self
    }

    /// Sets how long sent data may stay unacknowledged before the kernel closes the
    /// connection (`TCP_USER_TIMEOUT`, Linux only); `None` leaves the system's default,
    /// about a quarter of an hour.
    ///
    /// 1 ms to 24 days; default
    /// [`DEFAULT_TCP_USER_TIMEOUT`](crate::config::DEFAULT_TCP_USER_TIMEOUT), 30 s.
    /// It ends a statement that was sent into a network that drops everything. The kernel
    /// of a frozen server still acknowledges: for that case set `statement_timeout`.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.options.tcp_user_timeout = Some(timeout.into());
        self
    }

    /// Sets the pool's name in errors, log lines and snapshots.
    ///
    /// At most 255 bytes, without control characters. Default: the driver's label, such as
    /// `postgres 127.0.0.1:5432/app`.
    pub fn name(mut self, name: impl Into<String>) -> Builder<D> {
        self.options.name = Some(name.into());
        self
    }

    /// Sets every option that is set in `options`, as if by its method here: the later of
    /// two calls takes precedence.
    ///
    /// For options that come from a file or from the environment:
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{PoolOptions, Pool, Sqlite};
    ///
    /// let mut options = PoolOptions::default();
    /// options.set("max_lifetime", "5m")?;
    /// let pool = Pool::builder().options(&options).max_size(4).build(Sqlite::memory())?;
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    pub fn options(mut self, options: &PoolOptions) -> Builder<D> {
        self.options.overlay(options);
        self
    }
}

impl<D: Driver> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}
