//! A manager for a bare `r2d2::Pool`: validation, lifetime, panic safety, the maximum size
//! and closing are implemented below it, so they apply there too.

use crate::connection::{
    CheckinVerdict, CheckoutVerdict, CloseCause, Managed, Shared, ping_elsewhere,
};
use crate::driver::Driver;
use crate::driver::workarounds::async_context::why_refused;
use crate::engine::dial;
use crate::error::{ConnectError, Error, ErrorKind, FaultClass};
use crate::observe::{CloseReason, Snapshot};
use crate::sys::catch_panic::{catch_panic, drop_catching};
use crate::sys::clock;
use crate::sys::stalled;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

/// An `r2d2::ManageConnection` over a [`Driver`].
///
/// In a bare `r2d2::Pool`, for example the one that Rocket builds, its connections are
/// peeked before they are handed out, are checked for their lifetime at check-out and
/// check-in, are closed on another thread, and never exceed `max_size` as the server
/// counts them. No panic of the driver reaches r2d2, where it would lose a slot for ever.
///
/// What r2d2 does not let a manager change stays as it is there: `get` waits its whole
/// timeout while the server is down and reports a string; waiters have no order.
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
    shared: Arc<Shared<D>>,
}

impl<D: Driver> Manager<D> {
    pub(crate) fn guarded_by(shared: Arc<Shared<D>>) -> Manager<D> {
        Manager { shared }
    }

    /// Returns an `r2d2::Builder` with this manager's options: `max_size`,
    /// `min_idle`, `checkout_timeout` as r2d2's `connection_timeout`, validation
    /// at every check-out, and r2d2's reaper as a second check of lifetime and idle time.
    ///
    /// `min_idle` is 1 there if it is 0 here: with 0, r2d2 0.8.10 wakes no waiter when a
    /// broken connection is checked in, and callers wait although a slot is free.
    pub fn builder(&self) -> r2d2::Builder<Manager<D>> {
        let config = self.shared.config();
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
    /// The levels contain only what a manager can know: `open` and `closing` are correct;
    /// `idle`, `in_use` and `waiting` are known to the r2d2 pool only and are 0.
    ///
    /// # Blocking
    ///
    /// Does not block.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    fn open(&self) -> Result<Box<Managed<D>>, Error> {
        if self.shared.is_forked() {
            return Err(self.shared.forked());
        }
        let attempt = dial::attempt(&self.shared);
        // r2d2 opens the successor before it drops the connection that it discards: the
        // permit becomes free when the server has closed its end of that one.
        stalled::press_on();
        let Some(permit) = self.shared.permits().take_until(attempt.deadline()) else {
            let usage = self.shared.permits().usage();
            let full = ConnectError::new(FaultClass::LocalResource, self.shared.name());
            let text = format!("all {} permits of this manager are in use", usage.limit);
            return Err(Error::connect(full.with_source(text)).in_pool(self.shared.name()));
        };
        let (outcome, report) = dial::open(&self.shared, &attempt, permit);
        report.send(&self.shared);
        outcome.map_err(|error| Error::connect(error).in_pool(self.shared.name()))
    }
}

impl<D: Driver> Drop for Manager<D> {
    fn drop(&mut self) {
        self.shared.permits().orphan();
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
        let opened = catch_panic(|| self.open()).unwrap_or_else(|panicked| {
            let error = ConnectError::new(FaultClass::Panicked, self.shared.name());
            Err(Error::connect(error.with_source(panicked)).in_pool(self.shared.name()))
        })?;
        Ok(ManagedConnection { managed: Some(opened) })
    }

    /// Peeks, and pings if need be, within `ping_timeout`.
    fn is_valid(&self, connection: &mut ManagedConnection<D>) -> Result<(), Error> {
        if self.shared.is_forked() {
            return Err(self.shared.forked());
        }
        let checked = connection.check(&self.shared);
        // What r2d2's CustomizeConnection has set is no borrower's.
        connection.mark_clean_if_new();
        let cause = match checked.and_then(|()| connection.prepare(&self.shared)) {
            Ok(()) => return Ok(()),
            Err(Refused::Async(error)) => return Err(error),
            Err(Refused::Invalid(cause)) => cause,
        };
        let message = cause.message.as_ref().map(|message| format!(": {message}"));
        let message = message.unwrap_or_default();
        let text = format!("pool {}: {}{message}", self.shared.name(), cause.reason.phrase());
        connection.close_with(cause);
        Err(Error::new(ErrorKind::Driver, text))
    }

    /// Returns `true` if a connection that is checked in cannot be kept. A session that
    /// must be reset costs a round trip, for at most `ping_timeout`.
    fn has_broken(&self, connection: &mut ManagedConnection<D>) -> bool {
        if self.shared.is_forked() {
            return true;
        }
        let verdict = if std::thread::panicking() {
            Err(CloseCause::planned(CloseReason::Panicked))
        } else {
            connection.check_in()
        };
        match verdict {
            Ok(()) => false,
            Err(cause) => {
                if let Some(managed) = &mut connection.managed {
                    managed.close_in_use_with(cause);
                }
                true
            }
        }
    }
}

/// A connection of a bare `r2d2::Pool`; derefs to the driver's own.
///
/// Dropping it closes the connection on another thread, without blocking.
pub struct ManagedConnection<D: Driver> {
    /// `None` once it was left behind with a ping that hangs.
    managed: Option<Box<Managed<D>>>,
}

/// Why a connection is not handed out.
enum Refused {
    Invalid(CloseCause),
    Async(Error),
}

impl<D: Driver> ManagedConnection<D> {
    fn managed(&self) -> &Managed<D> {
        self.managed.as_ref().expect("bug: a connection was used after its ping was left behind")
    }

    fn close_with(&mut self, cause: CloseCause) {
        if let Some(managed) = &mut self.managed {
            managed.close_with(cause);
        }
    }

    fn mark_clean_if_new(&mut self) {
        if let Some(managed) = self.managed.as_mut().filter(|managed| !managed.has_served()) {
            managed.mark_clean();
        }
    }

    fn check_in(&mut self) -> Result<(), CloseCause> {
        let Some(managed) = &mut self.managed else {
            return Err(CloseCause::planned(CloseReason::PingTimeout));
        };
        match managed.keep(managed.now())? {
            CheckinVerdict::Keep => Ok(()),
            CheckinVerdict::NeedsReset if managed.may_clean_here() => managed.clean(),
            CheckinVerdict::NeedsReset => Err(CloseCause::planned(CloseReason::Dirty)),
        }
    }

    /// Runs `on_checkout`.
    fn prepare(&mut self, shared: &Shared<D>) -> Result<(), Refused> {
        if shared.hooks().on_checkout().is_none() {
            return Ok(());
        }
        if !shared.may_block_here() {
            return Err(refused_in_async_context(shared, "an on_checkout hook"));
        }
        let Some(managed) = &mut self.managed else { return Ok(()) };
        let far = clock::after(Instant::now(), shared.config().checkout_timeout);
        managed.run_on_checkout(far).map_err(|refusal| {
            let _ = drop_catching(refusal.error);
            Refused::Invalid(refusal.cause)
        })
    }

    fn check(&mut self, shared: &Shared<D>) -> Result<(), Refused> {
        let Some(managed) = &mut self.managed else {
            return Err(Refused::Invalid(CloseCause::planned(CloseReason::PingTimeout)));
        };
        match managed.look(managed.now()) {
            CheckoutVerdict::Ready => return Ok(()),
            CheckoutVerdict::Close(cause) => return Err(Refused::Invalid(cause)),
            CheckoutVerdict::NeedsPing | CheckoutVerdict::Unverified => {}
        }
        if !shared.may_block_here() {
            return Err(refused_in_async_context(shared, "a ping"));
        }
        let now = Instant::now();
        let far = clock::after(now, shared.config().checkout_timeout);
        let (deadline, full) = managed.ping_deadline(now, far);
        if managed.ping_is_bounded() {
            return managed.ping(deadline, full).map_err(Refused::Invalid);
        }
        let Some(managed) = self.managed.take() else { return Ok(()) };
        let (managed, verdict) = ping_elsewhere(managed, deadline, full);
        self.managed = managed;
        verdict.map_err(Refused::Invalid)
    }
}

fn refused_in_async_context<D: Driver>(shared: &Shared<D>, need: &str) -> Refused {
    let text = format!(
        "this check-out needs {need}, which blocks, and this thread runs an async runtime: \
         move the work to spawn_blocking or web::block"
    );
    Refused::Async(Error::new(ErrorKind::AsyncContext, why_refused(&text)).in_pool(shared.name()))
}

impl<D: Driver> Deref for ManagedConnection<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.managed().connection()
    }
}

impl<D: Driver> DerefMut for ManagedConnection<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        let managed = self.managed.as_mut();
        managed.expect("bug: a connection was used after its ping was left behind").connection_mut()
    }
}

impl<D: Driver> fmt::Debug for ManagedConnection<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedConnection")
            .field("id", &self.managed.as_ref().map(|managed| managed.id()))
            .finish()
    }
}
