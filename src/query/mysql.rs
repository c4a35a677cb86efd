//! Materialized queries and transactions on MySQL and MariaDB.

use super::work::{self, Ending, Finished, TimeOut};
use crate::error::{Error, FaultClass, Repeat, fault_of};
use crate::guard::PooledConnection;
use crate::liveness::Descriptor;
use crate::mysql::MySql;
use crate::observe::CloseReason;
use crate::pool::Pool;
use crate::rows::RowCount;
use mysql::prelude::{FromRow, Protocol, Queryable};
use mysql::{Params, QueryResult, Row, Transaction, TxOpts};

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
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = work::check_out_for_many(self)?;
        let finished = transact(&mut connection, work);
        work::finish(connection, finished)
    }

    #[track_caller]
    fn text(&self, sql: &str, each: impl FnMut(Row)) -> Result<(), Error> {
        let mut connection = work::check_out_for_one(self)?;
        let limit = RowCount::new(self.engine().warden().config().row_limit);
        let socket = connection.lease().managed().socket_copy();
        let result = borrow(&mut connection, sql).query_iter(sql);
        let outcome = result.map_err(Stop::Driver);
        let outcome = outcome.and_then(|result| read(result, limit, socket.as_ref(), each));
        settle(connection, outcome)
    }

    #[track_caller]
    fn prepared(&self, sql: &str, params: Params, each: impl FnMut(Row)) -> Result<(), Error> {
        let mut connection = work::check_out_for_one(self)?;
        let limit = RowCount::new(self.engine().warden().config().row_limit);
        let socket = connection.lease().managed().socket_copy();
        let result = borrow(&mut connection, sql).exec_iter(sql, params);
        let outcome = result.map_err(Stop::Driver);
        let outcome = outcome.and_then(|result| read(result, limit, socket.as_ref(), each));
        settle(connection, outcome)
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
fn settle(connection: Conn, outcome: Result<(), Stop>) -> Result<(), Error> {
    match outcome {
        Ok(()) => Ok(()),
        Err(Stop::Driver(error)) => {
            let error = failed("the statement failed", error);
            Err(work::fail(connection, error, None))
        }
        Err(Stop::Limit(error)) => {
            PooledConnection::abandon(connection, CloseReason::RowLimit);
            Err(error)
        }
    }
}

fn commit_failure(connection: u64, error: mysql::Error) -> Error {
    match error {
        // Of one that was stopped nobody says how far it had come.
        mysql::Error::MySqlError(_)
            if fault_of(&error).repeat() != Repeat::OutcomeUnknown
                && fault_of(&error).class() != FaultClass::Cancelled =>
        {
            failed("the transaction was rolled back at its commit", error)
        }
        error => work::outcome_unknown(connection, error),
    }
}

/// Begins, runs the closure, and ends the transaction, whatever happens.
fn transact<T>(
    connection: &mut Conn,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Finished<T> {
    let id = PooledConnection::id(connection);
    let socket = connection.lease().managed().socket_copy();
    let time_out = TimeOut::of(connection);
    let mut transaction = match connection.start_transaction(TxOpts::default()) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = failed("the transaction could not begin", error);
            return Finished { outcome: Ok(Err(error)), close: Some(CloseReason::Broken) };
        }
    };
    match work::run(|| work(&mut transaction)) {
        Ending::Commit(value) => match transaction.commit() {
            Ok(()) => Finished { outcome: Ok(Ok(value)), close: None },
            Err(error) => Finished {
                outcome: Ok(Err(commit_failure(id, error))),
                close: Some(CloseReason::Dirty),
            },
        },
        Ending::Rollback(error) => {
            Finished { outcome: Ok(Err(error)), close: roll_back(transaction, socket, &time_out) }
        }
        Ending::Unwind(payload) => {
            Finished { outcome: Err(payload), close: roll_back(transaction, socket, &time_out) }
        }
    }
}

/// Rolls back within its bound; returns why the connection must be closed if that
/// did not work.
fn roll_back(
    transaction: Transaction<'_>,
    socket: Option<Descriptor>,
    time_out: &TimeOut,
) -> Option<CloseReason> {
    if !time_out.lift() {
        // Its drop would roll back: closing does that as well.
        if let Some(socket) = socket {
            socket.abort();
        }
        return Some(CloseReason::Dirty);
    }
    let rolled_back = match socket {
        Some(socket) => work::bounded(socket, || transaction.rollback()),
        None => transaction.rollback(),
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
