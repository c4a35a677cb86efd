//! What the queries of all drivers share.

use crate::driver::Driver;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use crate::error::BoxError;
use crate::error::{Error, ErrorKind, Fault, FaultClass, Usability};
use crate::fence::fence;
use crate::guard::PooledConnection;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use crate::liveness::Descriptor;
use crate::managed::{Brake, Discard, Stopped};
use crate::observe::{CloseReason, Words};
use crate::pool::Pool;
use crate::role::Role;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use crate::watchdog;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use std::time::Duration;
use std::time::Instant;

/// Checks out a connection for work on this thread.
///
/// Unlike `get`, this is refused inside an async runtime even if a connection is
/// idle: the statement itself would block, or panic in the driver.
#[track_caller]
pub(super) fn check_out<D: Driver>(pool: &Pool<D>) -> Result<PooledConnection<D>, Error> {
    let driver = pool.driver();
    if !fence(|| driver.may_block_here()).unwrap_or(true) {
        let text = format!(
            "pool {}: a query blocks, and this thread runs an async runtime: move the work to \
             spawn_blocking or web::block",
            pool.name()
        );
        return Err(Error::new(ErrorKind::AsyncContext, text));
    }
    pool.get()
}

/// Checks out a connection and counts the time of what is done with it.
#[track_caller]
pub(super) fn check_out_for_one<D: Driver>(pool: &Pool<D>) -> Result<PooledConnection<D>, Error> {
    let connection = check_out(pool)?;
    if let Some(brake) = connection.lease().managed().brake() {
        brake.begin();
    }
    Ok(connection)
}

/// Checks out a connection for a transaction: its statements' time is counted one by
/// one where the driver's stream shows them, else that of them all.
#[track_caller]
pub(super) fn check_out_for_many<D: Driver>(pool: &Pool<D>) -> Result<PooledConnection<D>, Error> {
    let connection = check_out(pool)?;
    if let Some(brake) = connection.lease().managed().brake() {
        brake.begin_unless_gauged();
    }
    Ok(connection)
}

/// The time-out of a borrow, which must be over before a rollback.
pub(super) struct TimeOut(Option<Arc<Brake>>);

impl TimeOut {
    pub(super) fn of<D: Driver>(connection: &PooledConnection<D>) -> TimeOut {
        TimeOut(connection.lease().managed().brake().cloned())
    }

    /// Ends it, and waits until nothing is under way any more that could stop the
    /// statement which comes next; tells whether that is known.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(super) fn lift(&self) -> bool {
        self.0.as_ref().is_none_or(|brake| {
            brake.set_timeout(None);
            brake.settle(Instant::now() + ROLLBACK_BOUND)
        })
    }

    pub(super) fn end(&self) -> Option<Stopped> {
        self.0.as_ref().and_then(|brake| brake.end())
    }
}

/// Gives the connection back after a statement that failed, and tells of the time-out
/// if that was the cause.
pub(super) fn fail<D: Driver>(
    connection: PooledConnection<D>,
    error: Error,
    words: Option<Words>,
) -> Error {
    let id = PooledConnection::id(&connection);
    let stopped = TimeOut::of(&connection).end();
    match stopped {
        Some(Stopped::ShutDown(_)) => {
            PooledConnection::abandon(connection, CloseReason::StatementTimeout);
        }
        _ => give_back(connection, error.fault(), words),
    }
    retell(error, id, stopped, "the statement")
}

/// Says of a failure that the time-out was its cause, if it was.
fn retell(error: Error, connection: u64, stopped: Option<Stopped>, what: &str) -> Error {
    if error.kind() != ErrorKind::Driver {
        return error;
    }
    match stopped {
        Some(Stopped::Cancelled(after)) if error.fault().class() == FaultClass::Cancelled => {
            let text =
                format!("{what} was cancelled by the pool's statement_timeout after {after:.1?}");
            error.retold(ErrorKind::StatementTimeout, text)
        }
        Some(Stopped::ShutDown(after)) => {
            let text = format!(
                "{what} went on after the pool's statement_timeout and a cancel: connection \
                 {connection} was shut down after {after:.1?}"
            );
            error.retold(ErrorKind::StatementAbandoned, text)
        }
        _ => error,
    }
}

/// Gives a connection back after an error; closes it if it is gone or out of step, or
/// if its server takes no writes: then its siblings go as well.
fn give_back<D: Driver>(mut connection: PooledConnection<D>, fault: Fault, words: Option<Words>) {
    match (fault.connection(), fault.class()) {
        (Usability::Broken, FaultClass::Protocol) => {
            PooledConnection::abandon(connection, CloseReason::Broken);
        }
        (Usability::Broken, _) => {
            let silent = || Discard::planned(CloseReason::Broken);
            PooledConnection::end(connection, words.map_or_else(silent, Words::into_discard));
        }
        (Usability::Suspect, FaultClass::ReadOnly) if is_of_no_use(&mut connection) => {
            PooledConnection::end(connection, Discard::planned(CloseReason::ReadOnly));
        }
        _ => drop(connection),
    }
}

/// Asks whether it was the server that refused to write, and not a transaction that
/// the caller has opened for reading only.
fn is_of_no_use<D: Driver>(connection: &mut PooledConnection<D>) -> bool {
    let lease = connection.lease_mut();
    let (warden, now) = (Arc::clone(lease.warden()), Instant::now());
    if lease.managed_mut().takes_writes() {
        return false;
    }
    match warden.config().role {
        // The others are asked before their next use.
        Role::Writable => warden.doubt(now),
        // They are closed; not again if those opened since say the same.
        _ if !warden.shun(now) => return false,
        _ => {}
    }
    true
}

/// How the closure of a transaction ended.
pub(super) enum Ending<T> {
    Commit(T),
    Rollback(Error),
    Unwind(Box<dyn Any + Send>),
}

/// Runs a transaction's closure. A panic is held until the connection is safe.
pub(super) fn run<T>(work: impl FnOnce() -> Result<T, Error>) -> Ending<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ending::Commit(value),
        Ok(Err(error)) => Ending::Rollback(error),
        Err(payload) => Ending::Unwind(payload),
    }
}

/// What a transaction leaves behind.
pub(super) struct Finished<T> {
    /// The closure's result, or the panic to go on with.
    pub(super) outcome: Result<Result<T, Error>, Box<dyn Any + Send>>,
    /// Why the connection must be closed, if it is not clean.
    pub(super) close: Option<CloseReason>,
}

/// Brings the connection to safety, then lets the result, or the panic, go on.
pub(super) fn finish<D: Driver, T>(
    connection: PooledConnection<D>,
    finished: Finished<T>,
) -> Result<T, Error> {
    let id = PooledConnection::id(&connection);
    let stopped = TimeOut::of(&connection).end();
    match (stopped, finished.close, &finished.outcome) {
        (Some(Stopped::ShutDown(_)), ..) => {
            PooledConnection::abandon(connection, CloseReason::StatementTimeout);
        }
        (_, Some(reason), _) => PooledConnection::abandon(connection, reason),
        (_, None, Ok(Err(error))) => give_back(connection, error.fault(), None),
        (_, None, _) => drop(connection),
    }
    let outcome = finished.outcome.unwrap_or_else(|payload| resume_unwind(payload));
    outcome.map_err(|error| retell(error, id, stopped, "the transaction was rolled back: it"))
}

/// How long a rollback may take before its connection is cut instead.
#[cfg(any(feature = "mysql", feature = "postgres"))]
const ROLLBACK_BOUND: Duration = Duration::from_secs(2);

/// Runs a rollback whose socket is shut down if it takes too long.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn bounded<T>(socket: Descriptor, rollback: impl FnOnce() -> T) -> T {
    let bite = move || {
        socket.abort();
        None
    };
    let watch = watchdog::arm(Instant::now() + ROLLBACK_BOUND, Arc::new(bite));
    let outcome = rollback();
    drop(watch);
    outcome
}

/// The error of a query that must return one row and did not.
#[cfg(feature = "postgres")]
pub(super) fn row_count(found: usize, expected: &str) -> Error {
    Error::new(ErrorKind::RowCount, format!("the query returned {found} rows, not {expected}"))
}

/// The connection was lost while the server may have committed.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn outcome_unknown(connection: u64, cause: impl Into<BoxError>) -> Error {
    let text = format!(
        "connection {connection} was lost during COMMIT: the transaction may or may not have \
         been committed"
    );
    Error::new(ErrorKind::OutcomeUnknown, text).with_source(cause)
}
