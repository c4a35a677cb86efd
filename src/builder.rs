//! The knobs, and the two ways to build: with a first connection, or lazily.

use crate::cap::Cap;
use crate::config::{Config, Knobs, Validation};
use crate::driver::Driver;
use crate::engine::{Blocking, Engine};
use crate::error::{BoxError, Error};
use crate::fence::fence;
use crate::managed::{InitHook, Warden};
use crate::observe::Observer;
use crate::pool::Pool;
use crate::r2d2::Manager;
use crate::reset::Reset;
use crate::role::Role;
use crate::tcp::Keepalive;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// Builds a [`Pool`], or a [`Manager`] for a bare `r2d2::Pool`.
///
/// Every knob has a default that is safe for a server nobody knows. A value out
/// of range, or two knobs that contradict one another, are errors from `build`
/// that name the knobs and their values. What the driver's URL says of a knob
/// (`?pool_max_size=8`) stands where no method here was called.
#[must_use]
pub struct Builder<D: Driver> {
    knobs: Knobs,
    init: Option<Arc<InitHook<D::Connection>>>,
    observers: Vec<Arc<dyn Observer>>,
}

impl<D: Driver> Builder<D> {
    pub(crate) fn new() -> Builder<D> {
        Builder { knobs: Knobs::default(), init: None, observers: Vec::new() }
    }

    /// Sets the most connections that may exist at a time, as the server sees it:
    /// open, being opened and being closed together.
    ///
    /// A count, 1 or more; default [`DEFAULT_MAX_SIZE`](crate::config::DEFAULT_MAX_SIZE),
    /// 10. Raise it only if callers wait while the server idles.
    pub fn max_size(mut self, connections: u32) -> Builder<D> {
        self.knobs.max_size = Some(connections);
        self
    }

    /// Sets how many connections are kept idle although nobody asks for them.
    ///
    /// A count, up to `max_size`; default 0: connections are opened on demand.
    /// Raise it if the first callers after a quiet time must not wait.
    pub fn min_idle(mut self, connections: u32) -> Builder<D> {
        self.knobs.min_idle = Some(connections);
        self
    }

    /// Sets how long [`Pool::get`] waits at most.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CHECKOUT_TIMEOUT`](crate::config::DEFAULT_CHECKOUT_TIMEOUT), 30 s.
    /// Lower it below your own callers' time-outs: a web request that nobody waits
    /// for any more should not wait for a connection.
    pub fn checkout_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.knobs.checkout_timeout = Some(timeout);
        self
    }

    /// Sets how long opening one connection may take: names, TCP, handshake,
    /// authentication and the init hook together.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CONNECT_TIMEOUT`](crate::config::DEFAULT_CONNECT_TIMEOUT), 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.knobs.connect_timeout = Some(timeout);
        self
    }

    /// Sets how long a connection lives at most; `None` is no limit.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_MAX_LIFETIME`](crate::config::DEFAULT_MAX_LIFETIME), 30 minutes.
    /// Past it a connection is neither handed out nor kept when it comes back; one
    /// in use is never cut. Set it some seconds below every limit of the server or
    /// of a proxy in between.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.max_lifetime = Some(lifetime.into());
        self
    }

    /// Sets by what share of `max_lifetime` a life is shortened at most, each by
    /// chance, so that a fleet does not reconnect as one.
    ///
    /// A share, 0.0 to 0.9; default
    /// [`DEFAULT_LIFETIME_JITTER`](crate::config::DEFAULT_LIFETIME_JITTER), 0.1. It
    /// only ever shortens.
    pub fn lifetime_jitter(mut self, share: f64) -> Builder<D> {
        self.knobs.lifetime_jitter = Some(share);
        self
    }

    /// Sets how long a connection beyond `min_idle` may idle; `None` is no limit.
    ///
    /// 1 ms to one year, at most `max_lifetime`; default
    /// [`DEFAULT_IDLE_TIMEOUT`](crate::config::DEFAULT_IDLE_TIMEOUT), 10 minutes.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.idle_timeout = Some(timeout.into());
        self
    }

    /// Sets after how much idling a check-out pings as well as peeks; `None` is
    /// never.
    ///
    /// Default [`DEFAULT_PING_AFTER`](crate::config::DEFAULT_PING_AFTER), 30 s. A
    /// peek sees every end that reached this computer; only a ping sees a server
    /// that is frozen or a firewall that dropped the connection in silence.
    pub fn ping_after(mut self, idle: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.ping_after = Some(idle.into());
        self
    }

    /// Sets how long one ping may take.
    ///
    /// 1 ms to `checkout_timeout`; default
    /// [`DEFAULT_PING_TIMEOUT`](crate::config::DEFAULT_PING_TIMEOUT), 1 s. One that
    /// is not answered closes its connection and all others that idled then.
    pub fn ping_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.knobs.ping_timeout = Some(timeout);
        self
    }

    /// Sets how an idle connection is checked before it is handed out.
    ///
    /// Default [`Validation::Peek`].
    pub fn validation(mut self, validation: Validation) -> Builder<D> {
        self.knobs.validation = Some(validation);
        self
    }

    /// Sets how a connection is cleaned when it comes back.
    ///
    /// Default [`Reset::Auto`]. Cleaning that needs a round trip is done on the
    /// thread that drops the guard, for at most `ping_timeout`; inside an async
    /// runtime, on another.
    pub fn reset(mut self, reset: Reset) -> Builder<D> {
        self.knobs.reset = Some(reset);
        self
    }

    /// Sets what a server must be for the pool to use it; default [`Role::Any`].
    ///
    /// With [`Role::Writable`] opening goes through the list of hosts until one takes
    /// writes, one round trip more for each connection opened. Where a server says
    /// that it takes none any more (seen by the pool's own methods and by its pings),
    /// its connection is closed, and every other one is asked before its next use.
    /// With a list of hosts this follows a failover; without one it only refuses a
    /// server that was put into read-only mode.
    pub fn role(mut self, role: Role) -> Builder<D> {
        self.knobs.role = Some(role);
        self
    }

    /// Sets how many rows one of the pool's own queries returns at most; `None`
    /// is no limit.
    ///
    /// A count, 1 or more; default
    /// [`DEFAULT_ROW_LIMIT`](crate::config::DEFAULT_ROW_LIMIT), 100 000. A query
    /// that goes over it is stopped with an error.
    pub fn row_limit(mut self, rows: impl Into<Option<usize>>) -> Builder<D> {
        self.knobs.row_limit = Some(rows.into());
        self
    }

    /// Sets how many prepared statements each PostgreSQL connection keeps for the
    /// pool's own queries, those used last.
    ///
    /// A count, 0 to 10 000; default
    /// [`DEFAULT_STATEMENT_CACHE`](crate::config::DEFAULT_STATEMENT_CACHE), 100. 0
    /// is off: each query is prepared anew, at the price of one more round trip.
    /// Texts above 16 KiB are never kept. Raise it if a program has more different
    /// statements than that; lower it if the server is short of memory. Drivers of
    /// other databases have caches of their own.
    pub fn statement_cache(mut self, statements: usize) -> Builder<D> {
        self.knobs.statement_cache = Some(statements);
        self
    }

    /// Sets how many callers may wait at a time; `None` is no limit.
    ///
    /// A count, 1 or more; default `None`. The next one fails at once with
    /// [`QueueFull`](crate::ErrorKind::QueueFull): set it where a pile of waiting
    /// threads does more harm than an error.
    pub fn max_waiting(mut self, callers: impl Into<Option<u32>>) -> Builder<D> {
        self.knobs.max_waiting = Some(callers.into());
        self
    }

    /// Sets how long a closed connection keeps its place until the server has
    /// confirmed the end.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CLOSE_GRACE`](crate::config::DEFAULT_CLOSE_GRACE), 2 s. After it
    /// the place is free and the connection is counted as abandoned.
    pub fn close_grace(mut self, grace: Duration) -> Builder<D> {
        self.knobs.close_grace = Some(grace);
        self
    }

    /// Sets how the cap is found: a number, or a share of what the server can give.
    ///
    /// Default: [`Cap::Fixed`] with `max_size`. With another rule, `max_size` is a
    /// bound on what the rule finds, if it was set; until the server was asked, one
    /// connection is opened.
    pub fn cap(mut self, cap: Cap) -> Builder<D> {
        self.knobs.cap = Some(cap);
        self
    }

    /// Sets whether a knob above the server's limits is an error from `build`.
    ///
    /// Default `false`: it is lowered, with a warning that shows the arithmetic.
    pub fn strict_limits(mut self, strict: bool) -> Builder<D> {
        self.knobs.strict_limits = Some(strict);
        self
    }

    /// States after how much idling a proxy between here and the server closes a
    /// connection; `None` is no such proxy.
    ///
    /// 1 ms to one year; default `None`. Idle time and lifetime are kept below it,
    /// with a margin of a tenth (at least 0.5 s, at most 30 s).
    pub fn proxy_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.proxy_idle_timeout = Some(timeout.into());
        self
    }

    /// States after how long a proxy between here and the server closes every
    /// connection; `None` is no such proxy.
    ///
    /// 1 ms to one year; default `None`. The lifetime is kept below it, with a
    /// margin of a tenth (at least 0.5 s, at most 30 s).
    pub fn proxy_max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.proxy_max_lifetime = Some(lifetime.into());
        self
    }

    /// Sets how long a statement may run; `None` is no limit.
    ///
    /// 1 ms to one year; default `None`. Past it the statement is cancelled by the
    /// protocol's own means (see [`CancelHandle::cancel`](crate::CancelHandle::cancel))
    /// and fails with [`StatementTimeout`](crate::ErrorKind::StatementTimeout); the
    /// connection lives on. If it has not ended `cancel_timeout` later, because the
    /// server is frozen or the network drops everything, the connection is shut down
    /// and closed, and the error is
    /// [`StatementAbandoned`](crate::ErrorKind::StatementAbandoned). SQLite has no
    /// connection that could be shut down; it stops within a few steps of its program,
    /// but not while it waits for a lock (see its busy time-out) or inside a function of
    /// yours.
    ///
    /// What it bounds:
    ///
    /// - Each of the pool's own queries as a whole, from the check-out on.
    /// - PostgreSQL over TCP: also every statement run on a guard or in a
    ///   [`transaction`](Pool::transaction), `COMMIT` included, from the moment at
    ///   which it is sent until it is answered to its end. The time that you take
    ///   between two rows of a lazy result counts.
    /// - Elsewhere the driver does not show where a statement begins and ends: a
    ///   `transaction` is bounded as a whole, from `BEGIN` to the end of `COMMIT`, with
    ///   what your closure does in between; a guard's statements are not bounded
    ///   unless [`PooledConnection::set_statement_timeout`](crate::PooledConnection::set_statement_timeout)
    ///   is called.
    ///
    /// MySQL and MariaDB: one connection of `max_size` is kept for `KILL QUERY`, so that
    /// `max_size - 1` do the work. With a `max_size` of 1 there is none: a statement is
    /// ended by shutting its connection down, and goes on in the server.
    pub fn statement_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.statement_timeout = Some(timeout.into());
        self
    }

    /// Sets how long a request to cancel a statement may take: of a
    /// [`CancelHandle`](crate::CancelHandle), and of `statement_timeout`, which shuts the
    /// connection down after it.
    ///
    /// 1 ms to one year; default
    /// [`DEFAULT_CANCEL_TIMEOUT`](crate::config::DEFAULT_CANCEL_TIMEOUT), 1 s. Raise it
    /// on slow networks.
    pub fn cancel_timeout(mut self, timeout: Duration) -> Builder<D> {
        self.knobs.cancel_timeout = Some(timeout);
        self
    }

    /// Sets when the kernel probes a connection on which nothing moves; `None`
    /// leaves it to the system, which probes after two hours or never.
    ///
    /// Default [`Keepalive::default`]: after 30 s, every 10 s, 3 times. With the
    /// default `tcp_user_timeout` too, a connection whose packets are dropped ends
    /// within 40 s while it idles or waits for an answer. A driver's own settings
    /// win (see [`Postgres`](crate::Postgres#socket-options)); unix sockets have none.
    pub fn keepalive(mut self, keepalive: impl Into<Option<Keepalive>>) -> Builder<D> {
        self.knobs.keepalive = Some(keepalive.into());
        self
    }

    /// Sets how long sent data may stay unacknowledged before the kernel gives the
    /// connection up (`TCP_USER_TIMEOUT`, Linux only); `None` leaves it to the
    /// system, about a quarter of an hour.
    ///
    /// 1 ms to 24 days; default
    /// [`DEFAULT_TCP_USER_TIMEOUT`](crate::config::DEFAULT_TCP_USER_TIMEOUT), 30 s.
    /// A statement sent into a network that drops everything ends by it. A server
    /// that is frozen still acknowledges: against that, set `statement_timeout`.
    pub fn tcp_user_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder<D> {
        self.knobs.tcp_user_timeout = Some(timeout.into());
        self
    }

    /// Sets the pool's name in errors, log lines and snapshots.
    ///
    /// Default: the driver's label, such as `postgres 127.0.0.1:5432/app`.
    pub fn name(mut self, name: impl Into<String>) -> Builder<D> {
        self.knobs.name = Some(name.into());
        self
    }

    /// Sets all knobs that are set there, as if by their methods here: of two calls
    /// the later wins.
    ///
    /// For knobs that come out of a file or an environment:
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Knobs, Pool, Sqlite};
    ///
    /// let mut knobs = Knobs::default();
    /// knobs.set("max_lifetime", "5m")?;
    /// let pool = Pool::builder().knobs(&knobs).max_size(4).build(Sqlite::memory())?;
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    pub fn knobs(mut self, knobs: &Knobs) -> Builder<D> {
        self.knobs.overlay(knobs);
        self
    }

    /// Prepares every new connection before anybody gets it.
    ///
    /// Runs on the thread that opens, within `connect_timeout`, without a lock. An
    /// error or a panic closes the connection and counts as a failed attempt.
    pub fn init<F>(mut self, hook: F) -> Builder<D>
    where
        F: Fn(&mut D::Connection) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.init = Some(Arc::new(hook));
        self
    }

    /// Adds somebody who is told of connections opened, failed and closed.
    pub fn observer(mut self, observer: impl Observer) -> Builder<D> {
        self.observers.push(Arc::new(observer));
        self
    }

    /// Builds the pool and opens its first connection.
    ///
    /// # Blocking
    ///
    /// Waits for the first connection for at most `checkout_timeout`; a server
    /// that is not there, or does not accept the credentials, is an error at once.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), or as [`Pool::get`].
    #[track_caller]
    pub fn build(self, driver: D) -> Result<Pool<D>, Error> {
        let pool = self.build_lazy(driver)?;
        let config = pool.engine().warden().config();
        let (timeout, strict) = (config.checkout_timeout, config.strict_limits);
        drop(pool.engine().check_out(timeout, Blocking::Always, Location::caller())?);
        let conflicts = pool.engine().warden().conflicts();
        if strict && !conflicts.is_empty() {
            return Err(Error::config(format!("strict_limits: {}", conflicts.join("; "))));
        }
        Ok(pool)
    }

    /// Builds the pool without opening a connection.
    ///
    /// # Blocking
    ///
    /// Does not block. `min_idle` connections are opened in the background.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config).
    pub fn build_lazy(self, driver: D) -> Result<Pool<D>, Error> {
        let engine = Engine::new(self.warden(driver)?);
        engine.start();
        Ok(Pool::new(engine))
    }

    /// Builds a manager with these knobs for a bare `r2d2::Pool`.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), also for a `statement_timeout`: an r2d2
    /// pool does not tell when a borrower has a connection.
    pub fn manager(self, driver: D) -> Result<Manager<D>, Error> {
        let warden = self.warden(driver)?;
        if let Some(timeout) = warden.config().statement_timeout {
            return Err(Error::config(format!(
                "statement_timeout {timeout:?}: a bare r2d2::Pool cannot have one; set one in \
                 the server, or use poolwarden's own Pool"
            )));
        }
        Ok(Manager::guarded_by(warden))
    }

    fn warden(self, driver: D) -> Result<Arc<Warden<D>>, Error> {
        let of_driver = fence(|| driver.knobs().cloned()).unwrap_or_default();
        let config = Config::of(&[&of_driver.unwrap_or_default(), &self.knobs]);
        config.check()?;
        let keeps_one = config.statement_timeout.is_some()
            && fence(|| driver.cancelling_takes_a_session()).unwrap_or(false);
        if keeps_one && config.min_idle > 1 && config.min_idle >= config.max_size {
            return Err(Error::config(format!(
                "min_idle {} exceeds max_size {} less the one connection that \
                 statement_timeout keeps for KILL QUERY",
                config.min_idle, config.max_size
            )));
        }
        let warden = Warden::new(driver, config, self.init, self.observers);
        if keeps_one {
            warden.budget().reserve();
        }
        warden.compare_knobs();
        Ok(warden)
    }
}

impl<D: Driver> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("knobs", &self.knobs).finish_non_exhaustive()
    }
}
