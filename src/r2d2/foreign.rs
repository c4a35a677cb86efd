//! A driver over any r2d2 manager.

use crate::driver::{Attempt, Driver};
use crate::error::{BoxError, ConnectError, ConnectFault, Phase};
use r2d2::ManageConnection;
use std::fmt;
use std::time::Instant;

/// A [`Driver`] over any `r2d2::ManageConnection`: diesel's, memcache's, LDAP's.
///
/// The pool does not see such a connection's socket. It therefore validates by
/// the manager's own `is_valid` at every check-out (on a helper thread, so that
/// one that hangs costs no more than `ping_timeout`), and cannot cut a connect
/// that hangs: its place is taken until the manager comes back.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use poolwarden::{Foreign, Manager, Pool, Sqlite};
/// let manager = Manager::new(Sqlite::memory()); // any r2d2 manager
/// let pool = Pool::builder().build(Foreign::new(manager))?;
/// let two: i64 = pool.get()?.query_row("select 2", [], |row| row.get(0))?;
/// assert_eq!(two, 2);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Foreign<M> {
    manager: M,
}

impl<M: ManageConnection> Foreign<M> {
    /// Makes a driver of a manager.
    pub fn new(manager: M) -> Foreign<M> {
        Foreign { manager }
    }

    /// Returns the manager.
    pub fn manager(&self) -> &M {
        &self.manager
    }
}

impl<M> fmt::Debug for Foreign<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the manager's Debug: some print passwords.
        f.debug_struct("Foreign").finish_non_exhaustive()
    }
}

impl<M> Driver for Foreign<M>
where
    M: ManageConnection,
    M::Error: Send + Sync,
{
    type Connection = M::Connection;
    type Side = ();

    fn label(&self) -> String {
        let name = std::any::type_name::<M>();
        // Without the module paths, which say little to a person.
        let short = name.split('<').next().and_then(|name| name.rsplit("::").next());
        format!("r2d2 {}", short.unwrap_or(name))
    }

    fn connect(&self, attempt: &Attempt) -> Result<(M::Connection, ()), ConnectError> {
        attempt.enter(Phase::Connecting);
        let connection = self.manager.connect();
        connection.map(|connection| (connection, ())).map_err(|error| {
            ConnectError::new(ConnectFault::Other, self.label()).with_source(error)
        })
    }

    fn ping(
        &self,
        connection: &mut M::Connection,
        (): &mut (),
        _: Instant,
    ) -> Result<(), BoxError> {
        self.manager.is_valid(connection).map_err(Into::into)
    }

    fn is_broken(&self, connection: &mut M::Connection, (): &mut ()) -> bool {
        self.manager.has_broken(connection)
    }
}
