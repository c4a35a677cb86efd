//! What the queries of all drivers share.

use crate::driver::{Driver, Progress};
use crate::engine::Blocking;
use crate::error::{ConnectionIdentity, Error, ErrorKind, Fault, FaultClass, Repeat, Usability};
use crate::fence::fence;
use crate::guard::PooledConnection;
use crate::liveness::Descriptor;
use crate::managed::{Brake, Discard, Parts, Stopped};
use crate::observe::CloseReason;
use crate::pool::Pool;
use crate::role::Role;
use crate::watchdog;
use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Checks out a connection for work on this thread.
///
/// Unlike `get`, this is refused inside an async runtime even if a connection is
/// idle: the statement itself would block, or panic in the driver.
#[track_caller]
pub(super) fn check_out<D: Driver>(pool: &Pool<D>) -> Result<PooledConnection<D>, Error> {
    let timeout = pool.engine().warden().config().checkout_timeout;
    check_out_within(pool, timeout, Location::caller())
}

/// The same within this time, for work that was begun at this place.
pub(super) fn check_out_within<D: Driver>(
    pool: &Pool<D>,
    timeout: Duration,
    site: &'static Location<'static>,
) -> Result<PooledConnection<D>, Error> {
    let driver = pool.driver();
    if !fence(|| driver.may_block_here()).unwrap_or(true) {
        let text = format!(
            "pool {}: a query blocks, and this thread runs an async runtime: move the work to \
             spawn_blocking or web::block",
            pool.name()
        );
        return Err(Error::new(ErrorKind::AsyncContext, text));
    }
    let lease = pool.engine().check_out(timeout, Blocking::IfAllowed, site)?;
    Ok(PooledConnection::new(lease))
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
    check_out(pool).map(for_many)
}

/// Counts the time of what is done with a connection, as for a transaction.
pub(super) fn for_many<D: Driver>(connection: PooledConnection<D>) -> PooledConnection<D> {
    if let Some(brake) = connection.lease().managed().brake() {
        brake.begin_unless_gauged();
    }
    connection
}

/// The time-out of a borrow, which must be over before a rollback.
pub(super) struct TimeOut(Option<Arc<Brake>>);

impl TimeOut {
    pub(super) fn of<D: Driver>(connection: &PooledConnection<D>) -> TimeOut {
        TimeOut(connection.lease().managed().brake().cloned())
    }

    /// Ends it, and waits until nothing is under way any more that could stop the
    /// statement which comes next; tells whether that is known.
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

/// Says of a failure that the time-out was its cause, if it was.
pub(super) fn retell(error: Error, connection: u64, stopped: Option<Stopped>, what: &str) -> Error {
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

/// Which connection it is, for the text of an error.
pub(super) fn identity<D: Driver>(connection: &PooledConnection<D>) -> ConnectionIdentity {
    let (lease, number) = (connection.lease(), PooledConnection::id(connection));
    let parts = lease.managed().parts();
    let ask = |parts: &Parts<D>| {
        let named = |driver: &D| driver.server_process(&parts.connection, &parts.side);
        lease.warden().ask(named).ok().flatten()
    };
    let pool = lease.warden().name().to_owned();
    ConnectionIdentity { pool, number, server_process: parts.and_then(ask) }
}

/// Gives the connection back after a lone statement failed, and says what that means.
pub(super) fn lone_failure<D: Driver>(
    connection: PooledConnection<D>,
    sql: &str,
    before: Option<Progress>,
    error: Error,
) -> Error {
    let fault = error.fault();
    let unsent = matches!((before, progress(&connection)), (Some(b), Some(a)) if b.sent == a.sent);
    let (identity, stopped) = (identity(&connection), TimeOut::of(&connection).end());
    match stopped {
        Some(Stopped::ShutDown(_)) => {
            PooledConnection::abandon(connection, CloseReason::StatementTimeout);
        }
        _ => give_back(connection, fault),
    }
    let error = retell(error, identity.number, stopped, "the statement");
    if error.kind() != ErrorKind::Driver
        || fault.connection() != Usability::Broken
        || fault.repeat() != Repeat::OutcomeUnknown
    {
        error
    } else if unsent {
        // The connection was dead before more than a question could be sent.
        error.with_fault(fault.with_repeat(Repeat::NothingSent))
    } else if only_reads(sql) {
        error
    } else {
        error.into_unknown(identity, "in the middle of a statement")
    }
}

/// Tells of a text whether a statement of it can be meant to read only.
fn only_reads(sql: &str) -> bool {
    const READING: &[&str] = &["select", "show", "values", "table", "explain", "describe", "desc"];
    let text = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let single = !sql.trim_end().trim_end_matches(';').contains(';');
    single && READING.iter().any(|reading| word.eq_ignore_ascii_case(reading))
}

/// How far the work on this connection has come, if it can be told.
pub(super) fn progress<D: Driver>(connection: &PooledConnection<D>) -> Option<Progress> {
    let side = connection.lease().managed().side()?;
    connection.lease().warden().ask(|driver| driver.progress(side)).ok().flatten()
}

/// Gives a connection back after an error; closes it if it is gone or out of step, or
/// if its server takes no writes: then its siblings go as well.
pub(super) fn give_back<D: Driver>(mut connection: PooledConnection<D>, fault: Fault) {
    match (fault.connection(), fault.class()) {
        (Usability::Broken, FaultClass::Protocol) => {
            PooledConnection::abandon(connection, CloseReason::Broken);
        }
        (Usability::Broken, _) => {
            let fate = connection.lease().managed().lost();
            PooledConnection::end(connection, fate);
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

/// The transaction could not begin: nothing of its work was sent.
pub(super) fn unbegun(error: Error) -> Error {
    let fault = error.fault();
    match fault.repeat() {
        Repeat::Permanent => error,
        _ => error.with_fault(fault.with_repeat(Repeat::NothingSent)),
    }
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
        (_, None, Ok(Err(error))) => give_back(connection, error.fault()),
        (_, None, _) => drop(connection),
    }
    let outcome = finished.outcome.unwrap_or_else(|payload| resume_unwind(payload));
    outcome.map_err(|error| retell(error, id, stopped, "the transaction was rolled back: it"))
}

/// How long a rollback may take before its connection is cut instead.
const ROLLBACK_BOUND: Duration = Duration::from_secs(2);

/// Runs a rollback whose socket is shut down if it takes too long.
pub(super) fn bounded<T>(socket: Descriptor, rollback: impl FnOnce() -> T) -> T {
    let watch = watchdog::cut_at(Instant::now() + ROLLBACK_BOUND, socket);
    let outcome = rollback();
    drop(watch);
    outcome
}

/// The error of a transaction whose connection had ended before its COMMIT.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn uncommitted() -> Error {
    let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    let fault = Fault::new(FaultClass::Disconnected, Usability::Broken, Repeat::RolledBack);
    Error::driver("COMMIT was not sent", lost).with_fault(fault)
}

/// The error of a query that must return one row and did not.
#[cfg(feature = "postgres")]
pub(super) fn row_count(found: usize, expected: &str) -> Error {
    Error::new(ErrorKind::RowCount, format!("the query returned {found} rows, not {expected}"))
}

#[cfg(all(test, any(feature = "mysql", feature = "postgres")))]
mod tests {
    use super::only_reads;

    #[test]
    fn a_text_is_taken_for_a_write_unless_it_begins_as_a_read() {
        for reading in ["select 1", " \n(SELECT 1) union (select 2);", "show tables", "values (1)"]
        {
            assert!(only_reads(reading), "{reading}");
        }
        for writing in ["insert into t values (1)", "with x as (delete from t) select 1", "", "--"]
        {
            assert!(!only_reads(writing), "{writing}");
        }
        assert!(!only_reads("select 1; delete from t"));
        assert!(!only_reads("selected"));
    }
}
