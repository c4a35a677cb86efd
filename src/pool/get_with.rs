//! The check-out of a connection that is prepared for one caller.

use super::guard::PooledConnection;
use super::pool::Pool;
use crate::driver::Driver;
use crate::engine::{Blocking, Prepared};
use crate::error::{BoxError, Error};
use crate::sys::clock;
use std::panic::Location;
use std::time::Instant;

impl<D: Driver> Pool<D> {
    /// Checks out a connection and prepares it for this caller: a role, a tenant's search
    /// path, settings that row-level security reads.
    ///
    /// The reset at check-in undoes what the closure does as far as it undoes what a
    /// borrower does (see [`Reset`](crate::Reset)). If the connection turns out to be lost,
    /// the closure is called once more with another one; so it must not do work that may
    /// not be repeated. If the closure fails for another reason, the connection is checked
    /// in.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// let tenant = "attach ':memory:' as tenant_7";
    /// let conn = pool.get_with(|conn| conn.execute_batch(tenant))?;
    /// conn.execute_batch("create table tenant_7.t (n integer)")?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`get`](Pool::get). The closure has what is left of `checkout_timeout`: then what
    /// waits for the connection's socket is ended, and the connection is closed.
    ///
    /// # Errors
    ///
    /// As [`get`](Pool::get); [`Hook`](crate::ErrorKind::Hook) if the closure fails,
    /// panics or takes too long, with its error as the source.
    #[track_caller]
    pub fn get_with<F, E>(&self, mut prepare: F) -> Result<PooledConnection<D>, Error>
    where
        F: FnMut(&mut D::Connection) -> Result<(), E>,
        E: Into<BoxError>,
    {
        let (site, engine) = (Location::caller(), self.engine());
        let began = Instant::now();
        let deadline = clock::after(began, engine.shared().config().checkout_timeout);
        let mut hook = |connection: &mut D::Connection| prepare(connection).map_err(E::into);
        loop {
            let left = clock::left(deadline, Instant::now());
            let lease = engine.check_out(left, Blocking::IfAllowed, site)?;
            let prepared = engine.prepare_for_caller(lease, &mut hook, (began, deadline))?;
            if let Prepared::Ready(lease) = prepared {
                return Ok(PooledConnection::new(lease));
            }
        }
    }
}
