//! The guard of a checked-out connection.

use super::cancel_handle::CancelHandle;
use crate::connection::{CloseCause, Stopped};
use crate::driver::{Driver, Usage};
use crate::engine::Lease;
use crate::observe::CloseReason;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A connection checked out of a [`Pool`](crate::Pool).
///
/// It derefs in one step to the driver's own connection. Dropping it checks the
/// connection in. That does no I/O unless the borrower left session state that must be
/// reset (see [`Reset`](crate::Reset)): then it takes one round trip, for at most
/// `ping_timeout`; inside an async runtime the reset runs on another thread. If the
/// thread began to panic while it held the guard, the connection is closed instead of
/// checked in.
///
/// On MySQL and MariaDB the driver's own methods that drop rows, such as `Conn::query_drop`,
/// ignore the errors of later statements in one text; the pool's methods of the same names
/// report them.
///
/// Helpers are associated functions (`PooledConnection::discard(conn)`) so that
/// they never hide a method of the driver.
///
/// In a forked child the guard must not be used: see [`Pool`](crate::Pool#fork).
///
/// Do not swap the connections of two guards with `std::mem::swap`: the pool would then
/// check and close the wrong one.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, Sqlite};
///
/// let pool = Pool::builder().build(Sqlite::memory())?;
/// let conn = pool.get()?;
/// conn.execute_batch("create table t (n integer)")?;
/// drop(conn);
/// assert_eq!(pool.snapshot().levels.idle, 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PooledConnection<D: Driver> {
    lease: Lease<D>,
}

impl<D: Driver> PooledConnection<D> {
    pub(crate) fn new(lease: Lease<D>) -> PooledConnection<D> {
        PooledConnection { lease }
    }

    /// Closes the connection instead of checking it in.
    ///
    /// # Blocking
    ///
    /// Does not block: another thread closes the connection, and the permit is free for
    /// a new connection once the server has closed its end.
    pub fn discard(connection: PooledConnection<D>) {
        connection.lease.discard(CloseCause::planned(CloseReason::Discarded));
    }

    /// Removes the connection from the pool and returns it.
    ///
    /// It no longer counts against `max_size`, the pool no longer checks it, and it
    /// closes when it is dropped.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn detach(mut connection: PooledConnection<D>) -> D::Connection {
        let managed = connection.lease.take().expect("bug: a guard without a connection");
        managed.detach().expect("bug: a guard with a closed connection")
    }

    /// Returns the connection's number, as log lines and events name it.
    pub fn id(connection: &PooledConnection<D>) -> u64 {
        connection.lease.managed().id()
    }

    /// Returns `true` if the peer, the server or a proxy, has closed this connection.
    ///
    /// For a borrower that computes between two statements: it learns of the loss before it
    /// sends the next one. `false` says what the kernel knows at this moment, no more; it is
    /// also the answer where the pool has no access to a socket: for SQLite, and for a
    /// [`Foreign`](crate::Foreign) manager.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")] {
    /// use poolwarden::{Pool, PooledConnection, Postgres};
    ///
    /// let pool: Pool<Postgres> = Pool::connect("postgres://app@localhost/app")?;
    /// let mut conn = pool.get()?;
    /// let rows = conn.query("select id from jobs", &[])?;
    /// // … a minute of computing …
    /// if PooledConnection::is_closed_by_peer(&conn) {
    ///     PooledConnection::discard(conn);
    ///     conn = pool.get()?;
    /// }
    /// conn.execute("update jobs set done = true where id = $1", &[&rows[0].get::<_, i32>(0)])?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block: one system call, which reads nothing.
    pub fn is_closed_by_peer(connection: &PooledConnection<D>) -> bool {
        connection.lease.managed().is_closed_by_peer()
    }

    /// Closes the connection for this reason.
    pub(crate) fn end(connection: PooledConnection<D>, cause: CloseCause) {
        connection.lease.discard(cause);
    }

    /// Sets how long statements of this guard may run from now on; `None` is no limit.
    ///
    /// It replaces the pool's [`statement_timeout`](crate::Builder::statement_timeout)
    /// and is enforced in the same way. PostgreSQL over TCP: it applies to each statement
    /// separately. Elsewhere the driver does not show where a statement begins and ends:
    /// the time counts from this call until the next call or the drop of the guard,
    /// whether or not a statement runs, so call it right before the statement, and with
    /// `None` after it.
    ///
    /// The statement's error is the driver's own: `57014`, `1317`, an interrupt, or a
    /// lost connection. [`stopped`](PooledConnection::stopped) tells whether the timeout
    /// was the cause.
    ///
    /// For MySQL and MariaDB, `max_size` leaves a connection for `KILL QUERY` only if the
    /// pool has a `statement_timeout` as well, or is not fully used.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, PooledConnection, Sqlite};
    /// use poolwarden::query::Stopped;
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// let mut conn = pool.get()?;
    /// PooledConnection::set_statement_timeout(&mut conn, Duration::from_millis(50));
    /// let endless = "with recursive t(n) as (select 1 union all select n + 1 from t) \
    ///                select count(*) from t";
    /// assert!(conn.query_row(endless, [], |row| row.get::<_, i64>(0)).is_err());
    /// assert!(matches!(PooledConnection::stopped(&conn), Some(Stopped::Cancelled(_))));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block, unless a request to cancel an earlier statement of this guard is under
    /// way, which could meet the next one: then until the server has carried it out, for
    /// `cancel_timeout` at most.
    pub fn set_statement_timeout(
        connection: &mut PooledConnection<D>,
        timeout: impl Into<Option<Duration>>,
    ) {
        let managed = connection.lease.managed();
        if managed.is_forked() {
            return;
        }
        let (timer, _) = managed.timer_of_borrow();
        timer.set_timeout(timeout.into());
    }

    /// Returns what a `statement_timeout` last did to a statement of this guard.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn stopped(connection: &PooledConnection<D>) -> Option<Stopped> {
        let managed = connection.lease.managed();
        if managed.is_forked() { None } else { managed.timer()?.stopped() }
    }

    /// Returns a handle with which another thread can cancel the statement that runs on
    /// this connection.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, PooledConnection, Sqlite};
    /// use std::time::Duration;
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// let conn = pool.get()?;
    /// let handle = PooledConnection::cancel_handle(&conn);
    /// let canceller = std::thread::spawn(move || {
    ///     std::thread::sleep(Duration::from_millis(100));
    ///     handle.cancel()
    /// });
    /// let endless = "with recursive t(n) as (select 1 union all select n + 1 from t) \
    ///                select count(*) from t";
    /// assert!(conn.query_row(endless, [], |row| row.get::<_, i64>(0)).is_err());
    /// assert!(canceller.join().unwrap()?);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn cancel_handle(connection: &PooledConnection<D>) -> CancelHandle {
        let (timer, borrow) = connection.lease.managed().timer_of_borrow();
        CancelHandle::new(timer, borrow, connection.lease.shared())
    }

    /// Closes the connection although a statement may still be running on it.
    pub(crate) fn abandon(connection: PooledConnection<D>, reason: CloseReason) {
        connection.lease.discard(CloseCause::busy(reason));
    }

    /// Returns the connection for one of the pool's own queries.
    pub(crate) fn own(&mut self) -> &mut D::Connection {
        self.lease.managed_mut().borrow_as(Usage::PoolQueries)
    }

    /// Returns the session for one of the pool's own queries.
    pub(crate) fn own_session(&mut self) -> &mut D::Session {
        self.lease.managed_mut().own_session()
    }

    pub(crate) fn lease(&self) -> &Lease<D> {
        &self.lease
    }

    pub(crate) fn lease_mut(&mut self) -> &mut Lease<D> {
        &mut self.lease
    }
}

impl<D: Driver> Deref for PooledConnection<D> {
    type Target = D::Connection;

    #[inline]
    fn deref(&self) -> &D::Connection {
        self.lease.managed().connection()
    }
}

impl<D: Driver> DerefMut for PooledConnection<D> {
    #[inline]
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.lease.managed_mut().connection_mut()
    }
}

impl<D: Driver> AsMut<D::Connection> for PooledConnection<D> {
    fn as_mut(&mut self) -> &mut D::Connection {
        self
    }
}

impl<D: Driver> fmt::Debug for PooledConnection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the driver's Debug: mysql's prints the password.
        f.debug_struct("PooledConnection").field("id", &self.lease.managed().id()).finish()
    }
}
