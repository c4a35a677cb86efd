//! Stops the statement of a guard from another thread.

use crate::error::{Error, ErrorKind};
use crate::managed::Brake;
use std::fmt;
use std::sync::Arc;

/// Cancels the statement that runs on a checked-out connection, from any thread.
///
/// Made by [`PooledConnection::cancel_handle`](crate::PooledConnection::cancel_handle);
/// clones cancel the same. It stands for the guard that it was made from: once that
/// is given back it is void, so that no other borrower's statement is ever stopped.
#[derive(Clone)]
pub struct CancelHandle {
    brake: Arc<Brake>,
    borrow: u64,
}

impl CancelHandle {
    pub(crate) fn new(brake: Arc<Brake>, borrow: u64) -> CancelHandle {
        CancelHandle { brake, borrow }
    }

    /// Asks that the statement which runs now is stopped; false if the guard has been
    /// given back, and nothing was done.
    ///
    /// - PostgreSQL: a cancel request, the way the connection itself went, TLS
    ///   included; the statement fails with SQLSTATE 57014.
    /// - MySQL and MariaDB: `KILL QUERY` over a connection of its own, within the cap;
    ///   the statement fails with error 1317. Some, such as `sleep()` and
    ///   `benchmark()`, end with a result instead.
    /// - SQLite: `sqlite3_interrupt`; the statement fails with `SQLITE_INTERRUPT`.
    ///
    /// Between two statements it stops nothing. It is no more than a request: a
    /// statement that ends in the same moment ends as if it had not been asked. The
    /// connection is given back as any other afterwards, once the request is known to
    /// have been carried out; over a unix socket of PostgreSQL that cannot be known,
    /// and the connection is closed instead.
    ///
    /// # Blocking
    ///
    /// On the server, for at most `cancel_timeout` (1 s by default). SQLite: does not
    /// block.
    ///
    /// # Errors
    ///
    /// [`Cancel`](crate::ErrorKind::Cancel): the request could not be sent, was not
    /// carried out in time, or, for MySQL, the cap has no connection left for it. The
    /// statement may run on.
    pub fn cancel(&self) -> Result<bool, Error> {
        match self.brake.cancel(self.borrow) {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(error)) => {
                let text = format!(
                    "the statement on connection {} could not be cancelled",
                    self.brake.connection()
                );
                Err(Error::new(ErrorKind::Cancel, text).with_source(error))
            }
        }
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").field("connection", &self.brake.connection()).finish()
    }
}
