//! A manager for a bare `r2d2::Pool`: validation, lifetime, panic fence, cap and
//! closing live below it, so they hold there too.

use crate::builder::Builder;
use crate::clock;
use crate::dial;
use crate::driver::Driver;
use crate::error::{ConnectError, ConnectFault, Error, ErrorKind, Levels};
use crate::fence::fence;
use crate::managed::{Discard, Kept, Look, Managed, Warden};
use crate::observe::{CloseReason, Snapshot};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

/// An `r2d2::ManageConnection` over a [`Driver`].
///
/// In a bare `r2d2::Pool`, the one that Rocket builds for example, its
/// connections are peeked at before they are handed out, keep their lifetimes at
/// check-out and check-in, are closed off the caller's thread, and never exceed
/// `max_size` as the server sees it. No panic of the driver gets into r2d2, where
/// it would cost a slot for ever.
///
/// What r2d2 does not let a manager do stays as it is there: `get` waits its whole
/// time-out while the server is down and reports a string; waiters have no order.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{Pool, Sqlite};
///
/// let manager = Pool::builder().max_size(4).manager(Sqlite::memory())?;
/// let pool: r2d2::Pool<_> = manager.builder().build(manager)?;
/// let one: i64 = pool.get()?.query_row("select 1", [], |row| row.get(0))?;
/// assert_eq!(one, 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Manager<D: Driver> {
    warden: Arc<Warden<D>>,
}

impl<D: Driver> Manager<D> {
    /// Makes a manager with every knob at its default, or as the driver's URL says.
    ///
    /// [`Builder::manager`] makes one with other knobs.
    pub fn new(driver: D) -> Manager<D> {
        match Builder::new().manager(driver) {
            Ok(manager) => manager,
            Err(error) => unreachable!("bug: the driver's knobs were never checked: {error}"),
        }
    }

    pub(crate) fn guarded_by(warden: Arc<Warden<D>>) -> Manager<D> {
        Manager { warden }
    }

    /// Returns an `r2d2::Builder` with this manager's knobs: `max_size`,
    /// `min_idle`, `checkout_timeout` as r2d2's `connection_timeout`, validation
    /// at every check-out, and r2d2's reaper as a second pair of eyes on lifetime
    /// and idle time.
    ///
    /// `min_idle` is 1 there if it is 0 here: with 0, r2d2 0.8.10 wakes nobody when
    /// a connection comes back broken, and callers wait beside a free place.
    pub fn builder(&self) -> r2d2::Builder<Manager<D>> {
        let config = self.warden.config();
        r2d2::Pool::builder()
            .max_size(config.max_size)
            .min_idle(Some(config.min_idle.max(1)))
            .connection_timeout(config.checkout_timeout)
            .test_on_check_out(true)
            .max_lifetime(config.max_lifetime)
            .idle_timeout(config.idle_timeout)
    }

    /// Returns what this manager has opened and closed so far.
    ///
    /// The levels know only what a manager can know: `open` and `closing` are
    /// right, `idle`, `in_use` and `waiting` belong to the r2d2 pool and are 0.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn snapshot(&self) -> Snapshot {
        let usage = self.warden.budget().usage();
        let totals = self.warden.totals();
        let closed: u64 = totals.closed().iter().sum();
        let open = u32::try_from(totals.opened().saturating_sub(closed)).unwrap_or(u32::MAX);
        let closing = usage.used.saturating_sub(open);
        let levels = Levels { max_size: usage.limit, open, closing, ..Levels::default() };
        Snapshot::new(self.warden.name(), levels, usage.abandoned, totals)
    }

    fn open(&self) -> Result<Box<Managed<D>>, Error> {
        let attempt = dial::attempt(&self.warden);
        // r2d2 opens the successor before it drops what it discards: the permit
        // comes when the server has let go of that one.
        let Some(permit) = self.warden.budget().take_until(attempt.deadline()) else {
            let usage = self.warden.budget().usage();
            let full = ConnectError::new(ConnectFault::LocalResource, self.warden.name());
            let text = format!("all {} permits of this manager are in use", usage.limit);
            return Err(Error::connect(full.with_source(text)));
        };
        dial::open(&self.warden, &dial::attempt(&self.warden), permit).map_err(Error::connect)
    }
}

impl<D: Driver> Drop for Manager<D> {
    fn drop(&mut self) {
        self.warden.budget().orphan();
    }
}

impl<D: Driver> fmt::Debug for Manager<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("snapshot", &self.snapshot()).finish()
    }
}

impl<D: Driver> r2d2::ManageConnection for Manager<D> {
    type Connection = ManagedConnection<D>;
    type Error = Error;

    /// Opens a connection, within `connect_timeout`.
    fn connect(&self) -> Result<ManagedConnection<D>, Error> {
        let opened = fence(|| self.open()).unwrap_or_else(|panicked| {
            let error = ConnectError::new(ConnectFault::Panicked, self.warden.name());
            Err(Error::connect(error.with_source(panicked)))
        })?;
        Ok(ManagedConnection { managed: opened })
    }

    /// Peeks, and pings if need be, within `ping_timeout`.
    fn is_valid(&self, connection: &mut ManagedConnection<D>) -> Result<(), Error> {
        let fate = match connection.check(&self.warden) {
            Ok(()) => return Ok(()),
            Err(Refused::Async(error)) => return Err(error),
            Err(Refused::Unfit(fate)) => fate,
        };
        let said = fate.words.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
        let text = format!("pool {}: {}{said}", self.warden.name(), fate.reason);
        connection.managed.doom(fate);
        Err(Error::new(ErrorKind::Driver, text))
    }

    /// Tells whether a connection that comes back is unfit. One that must be
    /// cleaned costs a round trip, for at most `ping_timeout`.
    fn has_broken(&self, connection: &mut ManagedConnection<D>) -> bool {
        let verdict = if std::thread::panicking() {
            Err(Discard::planned(CloseReason::Panicked))
        } else {
            connection.check_in()
        };
        match verdict {
            Ok(()) => false,
            Err(fate) => {
                connection.managed.doom(fate);
                true
            }
        }
    }
}

/// A connection of a bare `r2d2::Pool`; derefs to the driver's own.
///
/// Dropping it closes the connection on another thread, without blocking.
pub struct ManagedConnection<D: Driver> {
    managed: Box<Managed<D>>,
}

/// Why a connection is not handed out.
enum Refused {
    Unfit(Discard),
    Async(Error),
}

impl<D: Driver> ManagedConnection<D> {
    fn check_in(&mut self) -> Result<(), Discard> {
        match self.managed.keep(Instant::now())? {
            Kept::Clean => Ok(()),
            Kept::Soiled if self.managed.may_clean_here() => self.managed.clean(),
            Kept::Soiled => Err(Discard::planned(CloseReason::Dirty)),
        }
    }

    fn check(&mut self, warden: &Warden<D>) -> Result<(), Refused> {
        let now = Instant::now();
        match self.managed.look(now) {
            Look::Fine => return Ok(()),
            Look::Close(fate) => return Err(Refused::Unfit(fate)),
            Look::AskServer | Look::Doubted => {}
        }
        if !fence(|| warden.driver().may_block_here()).unwrap_or(true) {
            let text = format!(
                "pool {}: this check-out would have to ping, which blocks, and this thread runs \
                 an async runtime: move the work to spawn_blocking or web::block",
                warden.name()
            );
            return Err(Refused::Async(Error::new(ErrorKind::AsyncContext, text)));
        }
        let far = clock::after(now, warden.config().checkout_timeout);
        let (deadline, full) = self.managed.ping_deadline(now, far);
        self.managed.ping(deadline, full).map_err(Refused::Unfit)
    }
}

impl<D: Driver> Deref for ManagedConnection<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.managed.connection()
    }
}

impl<D: Driver> DerefMut for ManagedConnection<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.managed.connection_mut()
    }
}

impl<D: Driver> fmt::Debug for ManagedConnection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedConnection").field("id", &self.managed.id()).finish()
    }
}
