//! The builder's hooks: a program's own code at the turning points of a connection's life.

use super::builder::Builder;
use crate::connection::CheckinAction;
use crate::driver::Driver;
use crate::error::BoxError;
use std::sync::Arc;

/// # Hooks
///
/// Each is called without a lock. A panic is caught and costs that one connection. At its
/// deadline what waits for the connection's socket is ended, and an SQLite statement is
/// interrupted; nothing can end a hook that waits for something else.
impl<D: Driver> Builder<D> {
    /// Sets a hook that prepares every new connection before it is handed out.
    ///
    /// It runs on the thread that opens the connection, within `connect_timeout`, without
    /// a lock. An error or a panic closes the connection and counts as a failed attempt.
    ///
    /// It also runs after each [`Reset`](crate::Reset) that clears the session: on MySQL
    /// and MariaDB after every one, on PostgreSQL after those of
    /// [`Reset::Full`](crate::Reset::Full). It then runs at check-in, on the thread that
    /// drops the guard, and may take what the reset has left of `ping_timeout`. An error or
    /// a panic closes that connection.
    pub fn init<F>(mut self, hook: F) -> Builder<D>
    where
        F: Fn(&mut D::Connection) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.hooks.set_init(Arc::new(hook));
        self
    }

    /// Sets a hook that prepares a connection for each check-out, after its validation.
    ///
    /// Default: none. It runs on the caller's thread, within `ping_timeout` and the
    /// caller's own timeout; also for [`Pool::try_get`](crate::Pool::try_get), which then
    /// takes as long, and for the pool's own queries. In a bare `r2d2::Pool` it runs as
    /// part of the validation. Where it depends on the caller, use
    /// [`Pool::get_with`](crate::Pool::get_with).
    ///
    /// After an error, a panic or a timeout the connection is closed and the next one is
    /// tried; also after the caller's own timeout, for the hook is then in the middle of its
    /// use. If the connection was opened for this caller, the error is returned, with the
    /// kind [`Hook`](crate::ErrorKind::Hook): the next one would be refused as well.
    ///
    /// The hook counts as a raw borrow: on MySQL and MariaDB each check-in then resets the
    /// session. For what is the same for every borrower, `init` is cheaper.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    ///
    /// let pool = Pool::builder()
    ///     .on_checkout(|conn: &mut rusqlite::Connection| Ok(conn.pragma_update(None, "query_only", true)?))
    ///     .build(Sqlite::memory())?;
    /// assert!(pool.get()?.execute_batch("create table t (n integer)").is_err());
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    pub fn on_checkout<F>(mut self, hook: F) -> Builder<D>
    where
        F: Fn(&mut D::Connection) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.hooks.set_on_checkout(Arc::new(hook));
        self
    }

    /// Sets a hook that decides at check-in whether a connection is kept, before its session
    /// is reset.
    ///
    /// Default: none, every usable connection is kept. It sees the session as the borrower
    /// left it. It runs on the thread that drops the guard, within `ping_timeout`, which it
    /// shares with the reset; on a thread of an async runtime, on another thread. It is not
    /// called for a connection that is closed in any case: broken, too old, in the middle of
    /// an answer, or held by a thread that panics. After a panic or a timeout the connection
    /// is closed.
    ///
    /// The hook counts as a raw borrow, as `on_checkout` does.
    pub fn on_checkin<F>(mut self, hook: F) -> Builder<D>
    where
        F: Fn(&mut D::Connection) -> CheckinAction + Send + Sync + 'static,
    {
        self.hooks.set_on_checkin(Arc::new(hook));
        self
    }

    /// Sets a hook that is called before a connection is closed in good order: at the end of
    /// its lifetime or idle time, when the pool is closed or made smaller, or because a
    /// caller has discarded it.
    ///
    /// Default: none. It runs on a thread of its own, within `close_grace`, and the
    /// connection's permit is released after it. It is not called for a connection that is
    /// broken, lost or busy, nor for one that was detached, and not if no thread can be
    /// started. A process that ends does not wait for it, unless
    /// [`Pool::close`](crate::Pool::close) does.
    pub fn before_close<F>(mut self, hook: F) -> Builder<D>
    where
        F: Fn(&mut D::Connection) + Send + Sync + 'static,
    {
        self.hooks.set_before_close(Arc::new(hook));
        self
    }
}
