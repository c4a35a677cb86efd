//! Materialized queries and transactions on MySQL and MariaDB.

mod transaction;

pub use transaction::MySqlTransaction;

use super::repeat::repeat;
use super::work::{self, Ending, Finished, TimeOut};
use crate::error::{ConnectionIdentity, Error, ErrorKind, FaultClass, Repeat, Usability, fault_of};
use crate::guard::PooledConnection;
use crate::liveness::Descriptor;
use crate::mysql::MySql;
use crate::observe::CloseReason;
use crate::pool::Pool;
use crate::reset::Reset;
use crate::retry::RetryPolicy;
use crate::rows::RowCount;
use mysql::prelude::{FromRow, Protocol, Queryable};
use mysql::{Params, QueryResult, Row};
use std::panic::Location;
use transaction::Commit;

type Conn = PooledConnection<MySql>;

/// Why reading stopped before the end.
enum Stop {
    Driver(mysql::Error),
    Limit(Error),
}

impl From<mysql::Error> for Stop {
    fn from(error: mysql::Error) -> Stop {
        Stop::Driver(error)
    }
}

/// Queries that give the connection back before they return.
///
/// Of a text with several statements they return the rows of the first and the
/// first error of any.
///
/// # Blocking
///
/// All of them: for a connection as [`Pool::get`], then on the server until the
/// statement is done, or its `statement_timeout` is over.
///
/// # Errors
///
/// All of them: those of [`Pool::get`];
/// [`Driver`](crate::ErrorKind::Driver) with the `mysql::Error` as the source;
/// [`RowLimit`](crate::ErrorKind::RowLimit); past the pool's `statement_timeout`
/// [`StatementTimeout`](crate::ErrorKind::StatementTimeout) or
/// [`StatementAbandoned`](crate::ErrorKind::StatementAbandoned).
impl Pool<MySql> {
    /// Runs a text statement and returns all its rows, at most `row_limit`.
    #[track_caller]
    pub fn query<T: FromRow>(&self, sql: &str) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        self.text(sql, |row| rows.push(row))?;
        rows.into_iter().map(convert).collect()
    }

    /// Runs a text statement and returns its first row, if there is one.
    ///
    /// The rows after it are read and dropped, at most `row_limit`: say `LIMIT 1`.
    #[track_caller]
    pub fn query_first<T: FromRow>(&self, sql: &str) -> Result<Option<T>, Error> {
        let mut first = None;
        self.text(sql, |row| {
            first.get_or_insert(row);
        })?;
        first.map(convert).transpose()
    }

    /// Runs a text statement and drops its rows.
    #[track_caller]
    pub fn query_drop(&self, sql: &str) -> Result<(), Error> {
        self.text(sql, drop)
    }

    /// Runs a prepared statement and returns all its rows, at most `row_limit`.
    #[track_caller]
    pub fn exec<T: FromRow, P: Into<Params>>(&self, sql: &str, params: P) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        self.prepared(sql, params.into(), |row| rows.push(row))?;
        rows.into_iter().map(convert).collect()
    }

    /// Runs a prepared statement and returns its first row, if there is one.
    ///
    /// The rows after it are read and dropped, at most `row_limit`: say `LIMIT 1`.
    #[track_caller]
    pub fn exec_first<T: FromRow, P: Into<Params>>(
        &self,
        sql: &str,
        params: P,
    ) -> Result<Option<T>, Error> {
        let mut first = None;
        self.prepared(sql, params.into(), |row| {
            first.get_or_insert(row);
        })?;
        first.map(convert).transpose()
    }

    /// Runs a prepared statement and drops its rows.
    #[track_caller]
    pub fn exec_drop<P: Into<Params>>(&self, sql: &str, params: P) -> Result<(), Error> {
        self.prepared(sql, params.into(), drop)
    }

    /// Runs a closure in a transaction: commits on `Ok`, rolls back on `Err` and
    /// on a panic, which goes on once the connection is safe.
    ///
    /// Leave the closure with `?` for the driver's errors, and with
    /// [`Error::caller`] for your own.
    ///
    /// # Blocking
    ///
    /// For a connection as [`Pool::get`], then as long as the closure and the
    /// commit take. A rollback that is not answered within 2 s cuts the connection.
    ///
    /// # Errors
    ///
    /// The closure's own; those of [`Pool::get`];
    /// [`Driver`](crate::ErrorKind::Driver) if the transaction could not begin or
    /// commit; [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if the
    /// connection was lost during COMMIT.
    #[track_caller]
    pub fn transaction<T>(
        &self,
        work: impl FnOnce(&mut MySqlTransaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = work::check_out_for_many(self)?;
        let finished = transact(&mut connection, work);
        work::finish(connection, finished)
    }

    /// As [`transaction`](Pool::transaction), and again as far as the policy allows.
    ///
    /// The closure gets the number of the attempt, from 1. It begins anew each time:
    /// whatever it does besides its statements must bear to be done again, and it must
    /// not end the transaction by itself.
    ///
    /// Repeated without [`idempotent`](RetryPolicy::idempotent) is what the server has
    /// rolled back: after a deadlock, also one that the closure overlooked, after a lock
    /// wait time-out, and after a connection that was lost before COMMIT was sent.
    ///
    /// # Blocking
    ///
    /// As [`transaction`](Pool::transaction), for every attempt, and for the pauses.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Pool::transaction), and
    /// [`RetriesExhausted`](crate::ErrorKind::RetriesExhausted) with the last error as
    /// its source.
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through, after a rollback.
    ///
    /// ```no_run
    /// use mysql::prelude::Queryable;
    /// use poolwarden::{MySql, Pool, RetryPolicy};
    ///
    /// let pool = Pool::builder().build(MySql::new("mysql://app@db.example.com/app")?)?;
    /// pool.transaction_with(RetryPolicy::web(), |tx, _attempt| {
    ///     tx.exec_drop("update accounts set cents = cents - 100 where id = ?", (1,))?;
    ///     tx.exec_drop("update accounts set cents = cents + 100 where id = ?", (2,))?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[track_caller]
    pub fn transaction_with<T>(
        &self,
        policy: RetryPolicy,
        mut work: impl FnMut(&mut MySqlTransaction<'_>, u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let site = Location::caller();
        repeat(self, policy, |attempt| {
            let connection = work::check_out_within(self, attempt.patience, site)?;
            let mut connection = work::for_many(connection);
            let finished = transact(&mut connection, |tx| work(tx, attempt.number));
            work::finish(connection, finished)
        })
    }

    #[track_caller]
    fn text(&self, sql: &str, each: impl FnMut(Row)) -> Result<(), Error> {
        let mut connection = work::check_out_for_one(self)?;
        let limit = RowCount::new(self.engine().warden().config().row_limit);
        let socket = connection.lease().managed().socket_copy();
        let result = borrow(&mut connection, sql).query_iter(sql);
        let outcome = result.map_err(Stop::Driver);
        let outcome = outcome.and_then(|result| read(result, limit, socket.as_ref(), each));
        settle(connection, sql, outcome)
    }

    #[track_caller]
    fn prepared(&self, sql: &str, params: Params, each: impl FnMut(Row)) -> Result<(), Error> {
        let mut connection = work::check_out_for_one(self)?;
        let limit = RowCount::new(self.engine().warden().config().row_limit);
        let socket = connection.lease().managed().socket_copy();
        let result = borrow(&mut connection, sql).exec_iter(sql, params);
        let outcome = result.map_err(Stop::Driver);
        let outcome = outcome.and_then(|result| read(result, limit, socket.as_ref(), each));
        settle(connection, sql, outcome)
    }
}

/// Borrows the connection for a statement of ours, or as a raw borrow if it may
/// choose another database, which a reset would not undo.
fn borrow<'a>(connection: &'a mut Conn, sql: &str) -> &'a mut mysql::Conn {
    if may_choose_a_database(sql) { connection } else { connection.own() }
}

fn may_choose_a_database(sql: &str) -> bool {
    sql.as_bytes().windows(3).any(|word| word.eq_ignore_ascii_case(b"use"))
}

/// Reads all rows of all result sets; the first set's are given away.
///
/// Over the limit the socket is shut down BEFORE the result is dropped: its drop
/// reads to the end, which took 37 s for 50 million rows.
fn read<P: Protocol>(
    mut result: QueryResult<'_, '_, '_, P>,
    mut count: RowCount,
    socket: Option<&Descriptor>,
    mut each: impl FnMut(Row),
) -> Result<(), Stop> {
    let mut first_set = true;
    while let Some(rows) = result.iter() {
        for row in rows {
            let row = row?;
            if let Err(error) = count.admit() {
                if let Some(socket) = socket {
                    socket.abort();
                }
                return Err(Stop::Limit(error));
            }
            if first_set {
                each(row);
            }
        }
        first_set = false;
    }
    Ok(())
}

/// Gives the connection back, or closes it if it may be out of step.
fn settle(connection: Conn, sql: &str, outcome: Result<(), Stop>) -> Result<(), Error> {
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::Driver(error)) => {
            let error = failed("the statement failed", error);
            Err(work::lone_failure(connection, sql, None, error))
        }
        Err(Stop::Limit(error)) => {
            PooledConnection::abandon(connection, CloseReason::RowLimit);
            Err(error)
        }
    }
}

/// Begins, runs the closure, and ends the transaction, whatever happens.
fn transact<T>(
    connection: &mut Conn,
    work: impl FnOnce(&mut MySqlTransaction<'_>) -> Result<T, Error>,
) -> Finished<T> {
    let identity = work::identity(connection);
    let socket = connection.lease().managed().socket_copy();
    let time_out = TimeOut::of(connection);
    let is_reset = connection.lease().warden().config().reset != Reset::None;
    let mut transaction = match MySqlTransaction::begin(connection, is_reset) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = work::unbegun(failed("the transaction could not begin", error));
            let close = (!is_gone(&error)).then_some(CloseReason::Dirty);
            return Finished { outcome: Ok(Err(error)), close };
        }
    };
    let ending = work::run(|| work(&mut transaction));
    if matches!(ending, Ending::Commit(_)) {
        // What is not sent is not done: an end that is seen now leaves no doubt.
        let has_ended = socket.as_ref().is_some_and(Descriptor::is_ended_by_peer);
        transaction.has_lost(has_ended);
    }
    match ending {
        Ending::Commit(_) if let Some(doom) = transaction.doom() => {
            let error = Error::driver("nothing was committed", doom.refusal());
            left_by(transaction, error, identity, |tx| roll_back(tx, socket, &time_out))
        }
        Ending::Commit(value) => match transaction.commit() {
            Commit::Done => Finished { outcome: Ok(Ok(value)), close: None },
            failed => commit_failed(failed, identity),
        },
        Ending::Rollback(error) => {
            left_by(transaction, error, identity, |tx| roll_back(tx, socket, &time_out))
        }
        Ending::Unwind(payload) => {
            Finished { outcome: Err(payload), close: roll_back(transaction, socket, &time_out) }
        }
    }
}

/// The commit failed: the connection is closed, which rolls back what is still open.
fn commit_failed<T>(commit: Commit, identity: ConnectionIdentity) -> Finished<T> {
    let error = match commit {
        // Something in it committed by itself, or an error was dropped unread.
        Commit::Over => Error::new(
            ErrorKind::Driver,
            "the transaction was over before its commit, which a statement in it must have done",
        )
        .into_unknown(identity, "to its transaction"),
        Commit::Failed(error) => match (fault_of(&error).repeat(), fault_of(&error).class()) {
            // Of one that was stopped nobody says how far it had come.
            (Repeat::OutcomeUnknown, _) | (_, FaultClass::Cancelled) => {
                failed("COMMIT failed", error).into_unknown(identity, "during COMMIT")
            }
            _ => failed("the transaction was rolled back at its commit", error),
        },
        Commit::Done => unreachable!("bug: a commit that went well has failed"),
    };
    let close = (!is_gone(&error)).then_some(CloseReason::Dirty);
    Finished { outcome: Ok(Err(error)), close }
}

/// The closure has failed: nothing stands that was not committed by a statement in it.
fn left_by<T>(
    transaction: MySqlTransaction<'_>,
    error: Error,
    identity: ConnectionIdentity,
    roll_back: impl FnOnce(MySqlTransaction<'_>) -> Option<CloseReason>,
) -> Finished<T> {
    let (doom, stands) = (transaction.doom().cloned(), transaction.has_ended());
    let is_lost = doom.as_ref().is_some_and(|doom| doom.fault().connection() == Usability::Broken);
    let close = if is_lost { None } else { roll_back(transaction) };
    let fault = match &doom {
        Some(doom) if error.fault().class() == FaultClass::Doomed => doom.fault(),
        _ => error.fault(),
    };
    let error = match (fault.repeat(), is_lost) {
        (Repeat::Permanent, _) => error,
        (_, true) if stands => error.into_unknown(identity, "after a statement that commits"),
        // The server rolls back what it was not told to commit.
        (_, true) => error.with_fault(fault.with_repeat(Repeat::RolledBack)),
        (_, false) if stands => error.with_fault(fault.with_repeat(Repeat::OutcomeUnknown)),
        (_, false) => error.with_fault(fault),
    };
    let close = if is_lost && !is_gone(&error) { Some(CloseReason::Broken) } else { close };
    Finished { outcome: Ok(Err(error)), close }
}

fn is_gone(error: &Error) -> bool {
    error.fault().connection() == Usability::Broken
}

/// Rolls back within its bound; returns why the connection must be closed if that
/// did not work.
fn roll_back(
    mut transaction: MySqlTransaction<'_>,
    socket: Option<Descriptor>,
    time_out: &TimeOut,
) -> Option<CloseReason> {
    if !time_out.lift() {
        return Some(CloseReason::Dirty);
    }
    let rolled_back = match socket {
        Some(socket) => work::bounded(socket, || transaction.roll_back()),
        None => transaction.roll_back(),
    };
    rolled_back.is_err().then_some(CloseReason::Dirty)
}

fn convert<T: FromRow>(row: Row) -> Result<T, Error> {
    mysql::from_row_opt(row)
        .map_err(|error| Error::driver("a row does not fit the type asked for", error))
}

fn failed(what: &str, error: mysql::Error) -> Error {
    let text = match &error {
        mysql::Error::MySqlError(server) => format!("{what} (error {})", server.code),
        _ => what.to_owned(),
    };
    Error::driver(text, error)
}
