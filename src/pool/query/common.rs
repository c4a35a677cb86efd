//! What the queries and transactions of all drivers share.

use crate::config::{Reset, Role};
use crate::connection::{CloseCause, Parts, StatementTimer, Stopped};
use crate::driver::workarounds::async_context::why_refused;
use crate::driver::{Driver, Progress};
use crate::engine::Blocking;
use crate::error::{
    ConnectionIdentity, Error, ErrorKind, Fault, FaultClass, RetrySafety, Usability,
};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use crate::pool::pool::Pool;
use crate::sys::clock;
use crate::sys::human_duration::HumanDuration;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Checks out a connection for work on this thread, whose caller is at `site`.
///
/// Unlike `get`, this fails inside an async runtime even if a connection is idle: the
/// statement itself would block, or panic in the driver.
fn check_out<D: Driver>(
    pool: &Pool<D>,
    timeout: Duration,
    site: &'static Location<'static>,
) -> Result<PooledConnection<D>, Error> {
    let shared = pool.engine().shared();
    if shared.is_forked() {
        return Err(shared.forked());
    }
    if !shared.may_block_here() {
        let text = why_refused(
            "a query blocks, and this thread runs an async runtime: move the work to \
             spawn_blocking or web::block",
        );
        return Err(Error::new(ErrorKind::AsyncContext, text).in_pool(pool.name()));
    }
    let lease = pool.engine().check_out(timeout, Blocking::Always, site)?;
    Ok(PooledConnection::new(lease))
}

/// Checks out a connection for one statement, and starts its `statement_timeout`.
#[track_caller]
pub(super) fn check_out_for_one<D: Driver>(pool: &Pool<D>) -> Result<PooledConnection<D>, Error> {
    let timeout = pool.engine().shared().config().checkout_timeout;
    let connection = check_out(pool, timeout, Location::caller())?;
    if let Some(timer) = connection.lease().managed().timer() {
        timer.begin();
    }
    Ok(connection)
}

/// Checks out a connection for several statements: `statement_timeout` applies to each
/// where the driver's stream shows them, else to all of them together.
pub(super) fn check_out_for_many<D: Driver>(
    pool: &Pool<D>,
    timeout: Duration,
    site: &'static Location<'static>,
) -> Result<PooledConnection<D>, Error> {
    let connection = check_out(pool, timeout, site)?;
    if let Some(timer) = connection.lease().managed().timer() {
        timer.begin_unless_observed();
    }
    Ok(connection)
}

/// The `statement_timeout` of a check-out, which must have ended before a rollback.
pub(super) struct BorrowTimeout(Option<Arc<StatementTimer>>);

impl BorrowTimeout {
    pub(super) fn of<D: Driver>(connection: &PooledConnection<D>) -> BorrowTimeout {
        BorrowTimeout(connection.lease().managed().timer().cloned())
    }

    /// Ends it, and waits until no cancel request is in flight that could cancel the next
    /// statement; returns `true` if that is certain.
    pub(super) fn lift(&self) -> bool {
        self.0.as_ref().is_none_or(|timer| {
            timer.set_timeout(None);
            timer.settle(Instant::now() + ROLLBACK_BOUND)
        })
    }

    pub(super) fn end(&self) -> Option<Stopped> {
        self.0.as_ref().and_then(|timer| timer.end())
    }
}

/// Attributes a failure to the `statement_timeout`, if that was its cause.
pub(super) fn blame_timeout(
    error: Error,
    connection: u64,
    stopped: Option<Stopped>,
    what: &str,
) -> Error {
    if error.kind() != ErrorKind::Driver {
        return error;
    }
    match stopped {
        Some(Stopped::Cancelled(after)) if error.fault().class() == FaultClass::Cancelled => {
            let after = HumanDuration(after);
            let text =
                format!("{what} was cancelled by the pool's statement_timeout after {after}");
            error.reworded(ErrorKind::StatementTimeout, text)
        }
        Some(Stopped::ShutDown(after)) => {
            let after = HumanDuration(after);
            let text = format!(
                "{what} did not end after the pool's statement_timeout, and no cancel request \
                 ended it: connection {connection} was shut down after {after}"
            );
            error.reworded(ErrorKind::StatementAbandoned, text)
        }
        _ => error,
    }
}

/// Returns which connection it is, for the text of an error.
pub(super) fn identity<D: Driver>(connection: &PooledConnection<D>) -> ConnectionIdentity {
    let (lease, number) = (connection.lease(), PooledConnection::id(connection));
    let parts = lease.managed().parts();
    let ask = |parts: &Parts<D>| {
        parts.describe(lease.shared(), |facts, session| facts.server_process(session))
    };
    let pool = lease.shared().name().to_owned();
    ConnectionIdentity { pool, number, server_process: parts.and_then(ask) }
}

/// Returns how far the work on this connection has come, where the driver shows it.
pub(super) fn progress<D: Driver>(connection: &PooledConnection<D>) -> Option<Progress> {
    let parts = connection.lease().managed().parts()?;
    parts.describe(connection.lease().shared(), |facts, session| facts.progress(session))
}

/// Returns whether a transaction is open that the check-in would roll back, as far as that is
/// known without a round trip.
pub(super) fn is_in_transaction<D: Driver>(connection: &PooledConnection<D>) -> Option<bool> {
    if connection.lease().shared().config().reset == Reset::None {
        return None;
    }
    let parts = connection.lease().managed().parts()?;
    parts.describe(connection.lease().shared(), |facts, session| facts.is_in_transaction(session))
}

/// Finds out what an error means that the driver's type leaves open: a request that the
/// driver refused for its size, or a reply too large to be read.
///
/// A connection that answers a ping has no reply half read: the request was not sent.
pub(super) fn examine<D: Driver>(connection: &mut PooledConnection<D>, fault: Fault) -> Fault {
    if (fault.class(), fault.connection()) != (FaultClass::Usage, Usability::Suspect) {
        return fault;
    }
    let managed = connection.lease_mut().managed_mut();
    let now = Instant::now();
    let (deadline, _) = managed.ping_deadline(now, clock::after(now, ROLLBACK_BOUND));
    match managed.ping(deadline, false) {
        Ok(()) => {
            fault.with_connection(Usability::Usable).with_retry_safety(RetrySafety::Permanent)
        }
        Err(_) => fault.with_connection(Usability::Broken),
    }
}

/// Checks a connection in after an error; closes it if it is lost or out of sync, or if
/// its server is read-only: then the pool's other connections are closed or checked too.
pub(super) fn check_in<D: Driver>(mut connection: PooledConnection<D>, fault: Fault) {
    match (fault.connection(), fault.class()) {
        (Usability::Broken, FaultClass::Protocol) => {
            PooledConnection::abandon(connection, CloseReason::Broken);
        }
        (Usability::Broken, _) => {
            let cause = connection.lease().managed().lost();
            PooledConnection::end(connection, cause);
        }
        (Usability::Suspect, FaultClass::ReadOnly) if server_is_read_only(&mut connection) => {
            PooledConnection::end(connection, CloseCause::planned(CloseReason::ReadOnly));
        }
        // It failed for a reason of its own: a retry, or another caller, needs another one.
        (Usability::Suspect, FaultClass::Stale | FaultClass::Other) => {
            PooledConnection::end(connection, CloseCause::planned(CloseReason::Broken));
        }
        _ => drop(connection),
    }
}

/// Asks the server whether it is read-only itself, as opposed to a transaction that the
/// caller has opened for reading only; returns `true` if the connection must be closed.
fn server_is_read_only<D: Driver>(connection: &mut PooledConnection<D>) -> bool {
    let lease = connection.lease_mut();
    let (shared, now) = (Arc::clone(lease.shared()), Instant::now());
    // A standby is meant to refuse writes.
    if shared.config().role == Role::Standby {
        return false;
    }
    if lease.managed_mut().accepts_writes() {
        return false;
    }
    match shared.config().role {
        // The other connections are checked before their next use.
        Role::Writable => shared.require_verification(now),
        // They are closed, but only once: those opened since may meet the same server.
        _ if !shared.mark_read_only(now) => return false,
        _ => {}
    }
    true
}

/// How long a rollback may take before its connection is shut down instead.
pub(super) const ROLLBACK_BOUND: Duration = Duration::from_secs(2);

/// What the error of such a transaction says.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) const ENDED_EARLY: &str = "a statement of the closure ended its transaction, and what \
                                      the closure did may stand";

/// The error of a transaction whose connection had ended before its COMMIT.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn uncommitted() -> Error {
    let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let fault = Fault::new(FaultClass::Disconnected, Usability::Broken, RetrySafety::RolledBack);
    Error::driver("COMMIT was not sent", lost).with_fault(fault)
}
