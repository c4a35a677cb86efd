//! The guard of a checked-out connection.

mod cancel_handle;

pub use cancel_handle::CancelHandle;

use crate::driver::Driver;
use crate::engine::Lease;
use crate::managed::{Discard, Stopped};
use crate::observe::CloseReason;
use crate::reset::Handling;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A connection on loan from a [`Pool`](crate::Pool).
///
/// It derefs in one step to the driver's own connection. Dropping it checks the
/// connection in. That does no I/O unless the borrower left something behind that
/// must be cleaned away (see [`Reset`](crate::Reset)): then one round trip, for at
/// most `ping_timeout`, and inside an async runtime on another thread. If its thread began to panic while it held the guard, the connection
/// is closed instead of given back.
///
/// Helpers are associated functions (`PooledConnection::discard(conn)`) so that
/// they never hide a method of the driver.
///
/// Swapping two guards' connections with `std::mem::swap` is possible and wrong:
/// the pool then checks and closes the one in place of the other.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, Sqlite};
///
/// let pool = Pool::builder().build(Sqlite::memory())?;
/// let conn = pool.get()?;
/// conn.execute_batch("create table t (n integer)")?;
/// drop(conn);
/// assert_eq!(pool.snapshot().idle, 1);
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

    /// Closes the connection instead of giving it back.
    ///
    /// # Blocking
    ///
    /// Does not block: the closing happens on another thread, and the place is
    /// free for a new connection once the server has let go of the old one.
    pub fn discard(connection: PooledConnection<D>) {
        connection.lease.discard(Discard::planned(CloseReason::Discarded));
    }

    /// Takes the connection out of the pool for good.
    ///
    /// It no longer counts against `max_size`, is no longer watched, and closes
    /// when it is dropped.
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

    /// Closes the connection for this reason.
    pub(crate) fn end(connection: PooledConnection<D>, fate: Discard) {
        connection.lease.discard(fate);
    }

    /// Sets how long statements may run from now on, until the guard is dropped; `None`
    /// is no limit.
    ///
    /// In place of the pool's [`statement_timeout`](crate::Builder::statement_timeout),
    /// and with the same means and bounds. PostgreSQL over TCP: for each statement by
    /// itself. Elsewhere the driver does not show where a statement begins and ends: the
    /// time counts from this call until the next call or the end of the guard, whether
    /// or not a statement runs, so call it right before the statement, and again with
    /// `None` after it.
    ///
    /// The statement's error is the driver's own: `57014`, `1317`, an interrupt, or a
    /// lost connection. Whether the time-out was the cause says
    /// [`stopped`](PooledConnection::stopped).
    ///
    /// For MySQL and MariaDB the cap has a connection for `KILL QUERY` only if the pool
    /// has a `statement_timeout` too, or is not fully used.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, PooledConnection, Sqlite, Stopped};
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
    /// Does not block.
    pub fn set_statement_timeout(
        connection: &mut PooledConnection<D>,
        timeout: impl Into<Option<Duration>>,
    ) {
        let (brake, _) = connection.lease.managed().brake_of_borrow();
        brake.set_timeout(timeout.into());
    }

    /// Tells what a `statement_timeout` last did to a statement of this guard.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn stopped(connection: &PooledConnection<D>) -> Option<Stopped> {
        connection.lease.managed().brake()?.stopped()
    }

    /// Makes a handle by which another thread can cancel the statement that runs on
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
        let (brake, borrow) = connection.lease.managed().brake_of_borrow();
        CancelHandle::new(brake, borrow)
    }

    /// Closes the connection although a statement may still run on it.
    pub(crate) fn abandon(connection: PooledConnection<D>, reason: CloseReason) {
        connection.lease.discard(Discard::busy(reason));
    }

    /// Borrows the connection for one of the pool's own queries.
    pub(crate) fn own(&mut self) -> &mut D::Connection {
        self.lease.managed_mut().handled(Handling::Own)
    }

    /// The same, with what the driver keeps beside the connection.
    pub(crate) fn own_parts(&mut self) -> (&mut D::Connection, &mut D::Side) {
        let parts = self.lease.managed_mut().own_parts();
        (&mut parts.connection, &mut parts.side)
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
