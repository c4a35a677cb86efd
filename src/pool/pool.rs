//! The pool that users hold.

use super::guard::PooledConnection;
use crate::config::ServerLimits;
use crate::driver::Driver;
use crate::engine::{Blocking, Engine, UseCounts};
use crate::error::Error;
use crate::observe::{ConnectionInfo, Health, Snapshot};
use crate::sys::clock;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A pool whose connections are checked before they are handed out.
///
/// Cheap to clone; all clones are the same pool. When the last clone is dropped the
/// pool closes: idle connections immediately, checked-out ones when they are checked
/// in.
///
/// # Fork
///
/// A pool belongs to the process that built it. In a child made by `fork` its calls return
/// [`ErrorKind::Forked`](crate::ErrorKind::Forked), and dropping its handles and guards
/// sends nothing and closes nothing of the parent's; no pool can be built there, unless the
/// child calls `exec` first. What a guard derefs to is the driver's own connection, which
/// knows nothing of this: over PostgreSQL's TCP and TLS connections every read and write
/// fails in the child, but over unix sockets, and with MySQL and SQLite, a child that uses
/// an inherited guard writes to the parent's session. It must not.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, Sqlite};
///
/// let pool = Pool::builder().max_size(4).build(Sqlite::memory())?;
/// let three: i64 = pool.get()?.query_row("select 1 + 2", [], |row| row.get(0))?;
/// assert_eq!(three, 3);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Pool<D: Driver> {
    handle: Arc<Handle<D>>,
}

/// Shared by the clones of one pool, and by nothing else: its drop closes the pool.
struct Handle<D: Driver> {
    engine: Arc<Engine<D>>,
    _use_counts: UseCounts<Engine<D>>,
}

impl<D: Driver> Drop for Handle<D> {
    fn drop(&mut self) {
        self.engine.last_handle_dropped();
    }
}

impl<D: Driver> Clone for Pool<D> {
    fn clone(&self) -> Pool<D> {
        Pool { handle: Arc::clone(&self.handle) }
    }
}

impl<D: Driver> Pool<D> {
    pub(crate) fn new(engine: Arc<Engine<D>>) -> Pool<D> {
        let handle = Handle { _use_counts: engine.make_use_counts(), engine };
        Pool { handle: Arc::new(handle) }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine<D>> {
        &self.handle.engine
    }

    /// Checks out a connection, waiting for at most `checkout_timeout`.
    ///
    /// # Blocking
    ///
    /// A healthy idle connection is handed out after one system call. Otherwise
    /// this waits for a connection to be checked in, to be opened, or to answer a
    /// ping: for at most `checkout_timeout`, whatever the server does.
    ///
    /// # Errors
    ///
    /// - [`CheckoutTimeout`](crate::ErrorKind::CheckoutTimeout): the deadline
    ///   passed; the text says what the call waited for and which code holds
    ///   connections.
    /// - [`Connect`](crate::ErrorKind::Connect): no connection can be opened and
    ///   waiting would not help; returned immediately, with the driver's error as the
    ///   source.
    /// - [`QueueFull`](crate::ErrorKind::QueueFull): `max_waiting` callers are already
    ///   waiting.
    /// - [`Closed`](crate::ErrorKind::Closed): the pool is closed.
    /// - [`AsyncContext`](crate::ErrorKind::AsyncContext): this would block a
    ///   thread of an async runtime, or, with PostgreSQL, the driver would panic there at
    ///   the first use of the connection. See
    ///   [`allow_async_threads`](crate::Builder::allow_async_threads).
    #[track_caller]
    #[inline]
    pub fn get(&self) -> Result<PooledConnection<D>, Error> {
        self.get_timeout(self.engine().shared().config().checkout_timeout)
    }

    /// Checks out a connection, waiting for at most this time.
    ///
    /// # Blocking
    ///
    /// As [`get`](Pool::get), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`get`](Pool::get).
    #[track_caller]
    #[inline]
    pub fn get_timeout(&self, timeout: Duration) -> Result<PooledConnection<D>, Error> {
        let site = Location::caller();
        self.engine().check_out(timeout, Blocking::IfAllowed, site).map(PooledConnection::new)
    }

    /// Checks out an idle connection if there is a healthy one.
    ///
    /// # Blocking
    ///
    /// Does not block: never waits, never opens a connection and never pings. An idle
    /// connection that is due for a ping stays in the pool; one that needs a ping only
    /// because another connection was lost is handed out without it. On a thread of an
    /// async runtime, where the `postgres` driver panics, this returns `None` for PostgreSQL.
    #[track_caller]
    pub fn try_get(&self) -> Option<PooledConnection<D>> {
        self.engine().try_check_out(Location::caller()).map(PooledConnection::new)
    }

    /// Finds out how the pool is doing: one cheap answer for a readiness probe.
    ///
    /// If a connection is idle, the server is pinged over it. If callers use connections and
    /// none waits, that is the answer; otherwise this waits for a connection as a caller does.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// let health = pool.health(Duration::from_millis(500));
    /// assert!(health.is_ready(), "{health}");
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Waits for the server for at most `timeout`. On a thread of an async runtime it does not
    /// wait, and does not ping.
    #[track_caller]
    pub fn health(&self, timeout: Duration) -> Health {
        self.engine().health(timeout, Location::caller())
    }

    /// Returns the pool's levels and running totals at this moment.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn snapshot(&self) -> Snapshot {
        self.engine().snapshot()
    }

    /// Returns the server's limits as last read.
    ///
    /// The pool reads them at its first connection, every five minutes, and after the
    /// server reported too many connections.
    ///
    /// `None` until then, or if the driver cannot read any.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn server_limits(&self) -> Option<ServerLimits> {
        let shared = self.engine().shared();
        if shared.is_forked() { None } else { shared.limits() }
    }

    /// Changes the maximum number of connections.
    ///
    /// A higher number wakes waiters immediately. A lower one closes surplus idle
    /// connections immediately, and busy ones when they are checked in. With a derived
    /// [`SizePolicy`](crate::SizePolicy) it is an upper bound on the derived size.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for 0, or less than `min_idle`.
    pub fn set_max_size(&self, connections: u32) -> Result<(), Error> {
        let min_idle = self.engine().shared().config().min_idle;
        if connections == 0 || connections < min_idle {
            return Err(Error::config(format!(
                "set_max_size({connections}): must be at least 1 and at least min_idle {min_idle}"
            ))
            .in_pool(self.name()));
        }
        let shared = self.engine().shared();
        if shared.is_forked() {
            return Err(shared.forked());
        }
        self.engine().set_max_size(connections);
        Ok(())
    }

    /// Closes every connection that is open now: to use new credentials, or to follow a
    /// failover.
    ///
    /// Idle connections are closed immediately, busy ones when they are checked in; no
    /// statement is interrupted.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn retire_all(&self) {
        if !self.engine().shared().is_forked() {
            self.engine().retire_all();
        }
    }

    /// Suspends the pool: from now on callers wait until it is resumed, within their own
    /// timeouts, and [`try_get`](Pool::try_get) returns `None`.
    ///
    /// For a planned failover or maintenance of the server. Connections in use stay with their
    /// callers, and callers that wait already are served; call
    /// [`retire_all`](Pool::retire_all) as well to replace the open connections. Closing the
    /// pool ends the suspension.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// pool.suspend();
    /// assert!(pool.is_suspended() && pool.try_get().is_none());
    /// pool.resume();
    /// assert!(pool.try_get().is_some());
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn suspend(&self) {
        if !self.engine().shared().is_forked() {
            self.engine().suspend(true);
        }
    }

    /// Resumes a suspended pool: the callers that wait continue.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn resume(&self) {
        if !self.engine().shared().is_forked() {
            self.engine().suspend(false);
        }
    }

    /// Returns `true` if the pool is suspended.
    pub fn is_suspended(&self) -> bool {
        self.engine().is_suspended()
    }

    /// Returns every open connection, the oldest first: what it is doing, for how long, and
    /// who holds it.
    ///
    /// For diagnosis: a status page, a log line at a timeout. Each entry is right by itself;
    /// together they may mix two moments.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    /// use poolwarden::observe::ConnectionStatus;
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// let held = pool.get()?;
    /// for connection in pool.connections() {
    ///     println!("{connection}"); // connection 1: in use for 12 µs from src/main.rs:5 by …
    ///     assert!(matches!(connection.status, ConnectionStatus::InUse { .. }));
    /// }
    /// # drop(held);
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        if self.engine().shared().is_forked() {
            return Vec::new();
        }
        self.engine().connections(Instant::now())
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        self.engine().shared().name()
    }

    /// Returns the pool's driver.
    pub fn driver(&self) -> &D {
        self.engine().shared().driver()
    }

    /// Closes the pool and waits until it is empty.
    ///
    /// From this call on every check-out fails with
    /// [`Closed`](crate::ErrorKind::Closed), waiters included. Idle connections are
    /// closed immediately, the others when they are checked in. The returned snapshot
    /// shows what is still in use if the timeout expired first.
    ///
    /// # Blocking
    ///
    /// Waits until all connections are checked in and the server has closed its end of
    /// each: for at most `timeout`. Does not wait on a thread of an async runtime, unless
    /// [`allow_async_threads`](crate::Builder::allow_async_threads) is set: call it in
    /// `spawn_blocking` there.
    pub fn close(&self, timeout: Duration) -> Snapshot {
        let shared = self.engine().shared();
        let now = Instant::now();
        if shared.is_forked() {
            return self.snapshot();
        }
        match shared.may_wait_here() {
            true => self.engine().close_until(clock::after(now, timeout)),
            false => self.engine().close_until(now),
        }
        self.snapshot()
    }
}

impl<D: Driver> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("snapshot", &self.snapshot()).finish()
    }
}
