//! The pool that users hold.

use crate::builder::Builder;
use crate::driver::Driver;
use crate::engine::{Blocking, Engine};
use crate::error::Error;
use crate::guard::PooledConnection;
use crate::limits::ServerLimits;
use crate::observe::Snapshot;
use crate::settings::{FromSettings, Settings};
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

/// A pool of connections that were looked at before they are handed out.
///
/// Cheap to clone; all clones are the same pool. When the last of them is
/// dropped the pool closes: idle connections at once, checked-out ones when they
/// come back.
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

/// Shared by the clones of one pool, and by nothing else: its drop is the end.
struct Handle<D: Driver> {
    engine: Arc<Engine<D>>,
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
    /// Returns a builder with every knob at its default.
    pub fn builder() -> Builder<D> {
        Builder::new()
    }

    /// Builds a pool from a URL: the driver, and the knobs in it (`pool_max_size=8`);
    /// and opens its first connection.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, Sqlite};
    ///
    /// let pool: Pool<Sqlite> = Pool::connect("sqlite::memory:?pool_max_size=4")?;
    /// assert_eq!(pool.snapshot().max_size, 4);
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Blocking
    ///
    /// As [`Builder::build`].
    ///
    /// # Errors
    ///
    /// As [`Builder::build`]; what is wrong with the URL is
    /// [`Config`](crate::ErrorKind::Config), and names the key without its value.
    #[track_caller]
    pub fn connect(url: &str) -> Result<Pool<D>, Error>
    where
        D: FromSettings,
    {
        Pool::with_settings(&Settings::parse(url)?)
    }

    /// Builds a pool from settings: the driver, and their knobs; and opens its first
    /// connection.
    ///
    /// # Blocking
    ///
    /// As [`Builder::build`].
    ///
    /// # Errors
    ///
    /// As [`connect`](Pool::connect).
    #[track_caller]
    pub fn with_settings(settings: &Settings) -> Result<Pool<D>, Error>
    where
        D: FromSettings,
    {
        Pool::builder().build(D::from_settings(settings)?)
    }

    pub(crate) fn new(engine: Arc<Engine<D>>) -> Pool<D> {
        Pool { handle: Arc::new(Handle { engine }) }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine<D>> {
        &self.handle.engine
    }

    /// Checks out a connection, waiting for at most `checkout_timeout`.
    ///
    /// # Blocking
    ///
    /// A healthy idle connection is handed out after one system call. Otherwise
    /// this waits for a connection to come back, to be opened, or to answer a
    /// ping: for at most `checkout_timeout`, whatever the server does.
    ///
    /// # Errors
    ///
    /// - [`CheckoutTimeout`](crate::ErrorKind::CheckoutTimeout): the deadline
    ///   passed; the text says what was waited for, and who holds connections.
    /// - [`Connect`](crate::ErrorKind::Connect): no connection can be opened and
    ///   waiting would not help: at once, with the driver's error as the source.
    /// - [`QueueFull`](crate::ErrorKind::QueueFull): `max_waiting` callers wait.
    /// - [`Closed`](crate::ErrorKind::Closed): the pool is closed.
    /// - [`AsyncContext`](crate::ErrorKind::AsyncContext): this would block a
    ///   thread of an async runtime.
    #[track_caller]
    #[inline]
    pub fn get(&self) -> Result<PooledConnection<D>, Error> {
        self.get_timeout(self.engine().warden().config().checkout_timeout)
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
    /// Does not block: never waits, never opens a connection and never pings. A
    /// connection that would need a ping first is left where it is; one that would
    /// need it only because another was lost is handed out as it is.
    #[track_caller]
    pub fn try_get(&self) -> Option<PooledConnection<D>> {
        self.engine().try_check_out(Location::caller()).map(PooledConnection::new)
    }

    /// Returns the pool's levels and running totals at this moment.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn snapshot(&self) -> Snapshot {
        self.engine().snapshot()
    }

    /// Returns the server's limits as last read: at the first connection, every
    /// five minutes, and after the server said that it is full.
    ///
    /// `None` until then, or if the driver cannot read any.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn server_limits(&self) -> Option<ServerLimits> {
        self.engine().warden().limits()
    }

    /// Changes how many connections there may be.
    ///
    /// A higher number wakes waiters at once. A lower one closes surplus idle
    /// connections now, and busy ones when they come back. With a derived
    /// [`Cap`](crate::Cap) it is a bound on what the rule finds.
    ///
    /// # Blocking
    ///
    /// Does not block.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config) for 0, or less than `min_idle`.
    pub fn set_max_size(&self, connections: u32) -> Result<(), Error> {
        let min_idle = self.engine().warden().config().min_idle;
        if connections == 0 || connections < min_idle {
            return Err(Error::config(format!(
                "set_max_size({connections}): at least 1 and min_idle {min_idle}"
            )));
        }
        self.engine().set_max_size(connections);
        Ok(())
    }

    /// Closes every connection that is open now: after new credentials, or to
    /// follow a failover.
    ///
    /// Idle ones at once, busy ones when they come back; nobody is interrupted.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn retire_all(&self) {
        self.engine().retire_all();
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        self.engine().warden().name()
    }

    /// Returns the pool's driver.
    pub fn driver(&self) -> &D {
        self.engine().warden().driver()
    }

    /// Closes the pool and waits until it is empty.
    ///
    /// From this call on every check-out fails with
    /// [`Closed`](crate::ErrorKind::Closed), waiters included. Idle connections
    /// are closed at once, the others when they come back. The snapshot returned
    /// tells what is still out if the time was over first.
    ///
    /// # Blocking
    ///
    /// Waits for checked-out connections to come back and for the server to let
    /// go of all: for at most `timeout`.
    pub fn close(&self, timeout: Duration) -> Snapshot {
        self.engine().close();
        self.engine().wait_settled(timeout);
        self.snapshot()
    }
}

impl<D: Driver> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("snapshot", &self.snapshot()).finish()
    }
}
