//! The handle that cancels a guard's statement from another thread.

use crate::connection::{Shared, StatementTimer};
use crate::driver::Driver;
use crate::driver::workarounds::async_context::thread_may_block;
use crate::error::{Error, ErrorKind};
use std::fmt;
use std::sync::Arc;

/// Cancels the statement that runs on a checked-out connection, from any thread.
///
/// Returned by [`PooledConnection::cancel_handle`](crate::PooledConnection::cancel_handle);
/// all clones cancel the same statement. A handle belongs to one guard: after that guard
/// is dropped it does nothing, so it never cancels another borrower's statement.
#[derive(Clone)]
pub struct CancelHandle {
    timer: Arc<StatementTimer>,
    borrow: u64,
    pool: Arc<str>,
    allow_async_threads: bool,
}

impl CancelHandle {
    pub(crate) fn new<D: Driver>(
        timer: Arc<StatementTimer>,
        borrow: u64,
        shared: &Shared<D>,
    ) -> CancelHandle {
        let allow_async_threads = shared.config().allow_async_threads;
        CancelHandle { timer, borrow, pool: shared.name().into(), allow_async_threads }
    }

    /// Requests that the running statement be cancelled; returns `false`, and does
    /// nothing, if the guard has been dropped.
    ///
    /// - PostgreSQL: a cancel request over the same transport as the connection, TLS
    ///   included; the statement fails with SQLSTATE 57014.
    /// - MySQL and MariaDB: `KILL QUERY` over a second connection, which counts against
    ///   `max_size`; the statement fails with error 1317. Some, such as `sleep()` and
    ///   `benchmark()`, end with a result instead.
    /// - SQLite: `sqlite3_interrupt`; the statement fails with `SQLITE_INTERRUPT`.
    ///
    /// Between two statements it cancels nothing. It is only a request: a statement that
    /// completes at the same moment completes normally. The connection is checked in as
    /// usual once the request is known to have been carried out; over a PostgreSQL unix
    /// socket the pool cannot know that, and closes the connection instead.
    ///
    /// # Blocking
    ///
    /// On the server, for at most `cancel_timeout` (1 s by default). SQLite: does not
    /// block.
    ///
    /// # Errors
    ///
    /// [`Cancel`](crate::ErrorKind::Cancel): the request could not be sent, was not
    /// carried out in time, or, for MySQL, `max_size` leaves no connection for it. The
    /// statement may continue to run.
    ///
    /// [`AsyncContext`](crate::ErrorKind::AsyncContext): this would block a thread of an
    /// async runtime; nothing was sent.
    pub fn cancel(&self) -> Result<bool, Error> {
        if !self.may_wait_here() {
            let text = "a cancel request blocks, and this thread runs an async runtime: move the \
                        call to spawn_blocking or web::block";
            return Err(Error::new(ErrorKind::AsyncContext, text).in_pool(&self.pool));
        }
        match self.timer.cancel(self.borrow) {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(error)) => {
                let text = format!(
                    "the statement on connection {} could not be cancelled",
                    self.timer.connection()
                );
                Err(Error::new(ErrorKind::Cancel, text).with_source(error).in_pool(&self.pool))
            }
        }
    }

    fn may_wait_here(&self) -> bool {
        self.timer.cancels_locally() || self.allow_async_threads || thread_may_block()
    }
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelHandle").field("connection", &self.timer.connection()).finish()
    }
}
