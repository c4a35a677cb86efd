//! Materialized queries and transactions on PostgreSQL.

use super::work::{self, Ending, Finished};
use crate::config::Config;
use crate::error::{Error, fault};
use crate::guard::PooledConnection;
use crate::managed::Discard;
use crate::observe::{CloseReason, Words};
use crate::pool::Pool;
use crate::postgres::{Postgres, Side};
use crate::rows::RowCount;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Row, Statement, Transaction};

type Conn = PooledConnection<Postgres>;

/// Why reading stopped before the end.
enum Stop {
    Driver(postgres::Error),
    Limit(Error),
    /// The server, or the driver, refused the statement before it ran.
    Unstarted(postgres::Error),
    /// Nothing ran, and on this connection nothing will: the driver's own prepared
    /// statements are gone.
    Spoilt(postgres::Error),
}

impl From<postgres::Error> for Stop {
    fn from(error: postgres::Error) -> Stop {
        Stop::Driver(error)
    }
}

/// Queries that give the connection back before they return.
///
/// # Blocking
///
/// All of them: for a connection as [`Pool::get`], then on the server until the
/// statement is done, or its `statement_timeout` is over.
///
/// # Errors
///
/// All of them: those of [`Pool::get`];
/// [`Driver`](crate::ErrorKind::Driver) with the `postgres::Error` as the source;
/// [`RowLimit`](crate::ErrorKind::RowLimit); past the pool's `statement_timeout`
/// [`StatementTimeout`](crate::ErrorKind::StatementTimeout) or
/// [`StatementAbandoned`](crate::ErrorKind::StatementAbandoned).
impl Pool<Postgres> {
    /// Runs a statement and returns all its rows, at most `row_limit`.
    #[track_caller]
    pub fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        self.run(sql, params, |row| rows.push(row))?;
        Ok(rows)
    }

    /// Runs a statement and returns its only row.
    ///
    /// # Errors
    ///
    /// Also [`RowCount`](crate::ErrorKind::RowCount) for none or several.
    #[track_caller]
    pub fn query_one(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        let (row, found) = self.first(sql, params)?;
        row.filter(|_| found == 1).ok_or_else(|| work::row_count(found, "one"))
    }

    /// Runs a statement and returns its only row, if there is one.
    ///
    /// # Errors
    ///
    /// Also [`RowCount`](crate::ErrorKind::RowCount) for several.
    #[track_caller]
    pub fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let (row, found) = self.first(sql, params)?;
        if found > 1 { Err(work::row_count(found, "one or none")) } else { Ok(row) }
    }

    /// Runs a statement and returns how many rows it changed.
    #[track_caller]
    pub fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.run(sql, params, drop)
    }

    /// Runs a text of several statements without parameters; rows are dropped as
    /// they come.
    #[track_caller]
    pub fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        let mut connection = work::check_out_for_one(self)?;
        let outcome = connection.own().batch_execute(sql).map_err(Stop::Driver);
        settle(connection, outcome)
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
    /// was rolled back by the server, also when the closure overlooked an error
    /// and returned `Ok`; [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if
    /// the connection was lost during COMMIT.
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
    fn first(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(Option<Row>, usize), Error> {
        let (mut first, mut found) = (None, 0);
        self.run(sql, params, |row| {
            found += 1;
            first.get_or_insert(row);
        })?;
        Ok((first, found))
    }

    /// Runs a statement on a connection of the pool; returns the rows changed.
    #[track_caller]
    fn run(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        mut each: impl FnMut(Row),
    ) -> Result<u64, Error> {
        let config = self.engine().warden().config();
        let mut connection = work::check_out_for_one(self)?;
        let mut outcome = read(&mut connection, config, sql, params, &mut each);
        if let Err(Stop::Spoilt(_)) = outcome {
            PooledConnection::end(connection, Discard::planned(CloseReason::Dirty));
            connection = work::check_out_for_one(self)?;
            outcome = read(&mut connection, config, sql, params, &mut each);
        }
        settle(connection, outcome)
    }
}

/// Runs a statement, prepared before or now, and reads all its rows; returns the
/// rows changed.
///
/// One that the server has no more is prepared again: nothing has run then. If a
/// transaction is open, the server refuses the second try as well.
fn read(
    connection: &mut Conn,
    config: &Config,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
    each: &mut impl FnMut(Row),
) -> Result<u64, Stop> {
    let (client, Side { statements, .. }) = connection.own_parts();
    let mut stale = None;
    if let Some(statement) = statements.get(sql) {
        match execute(client, &statement, params, config.row_limit, each) {
            Err(Stop::Unstarted(error)) if statements.repair(sql, &error) => stale = Some(error),
            outcome => return outcome,
        }
    }
    let statement = client.prepare(sql).map_err(|error| match (error.code(), stale) {
        (Some(&SqlState::IN_FAILED_SQL_TRANSACTION), Some(first)) => Stop::Driver(first),
        (Some(&SqlState::INVALID_SQL_STATEMENT_NAME), _) => Stop::Spoilt(error),
        _ => Stop::Driver(error),
    })?;
    statements.keep(sql, &statement, config.statement_cache);
    execute(client, &statement, params, config.row_limit, each)
}

fn execute(
    client: &mut Client,
    statement: &Statement,
    params: &[&(dyn ToSql + Sync)],
    row_limit: Option<usize>,
    each: &mut impl FnMut(Row),
) -> Result<u64, Stop> {
    let mut count = RowCount::new(row_limit);
    let started = client.query_raw(statement, params.iter().copied());
    let mut rows = started.map_err(Stop::Unstarted)?;
    while let Some(row) = rows.next()? {
        count.admit().map_err(Stop::Limit)?;
        each(row);
    }
    Ok(rows.rows_affected().unwrap_or(0))
}

/// Gives the connection back, or closes it if rows may still be coming.
fn settle<T>(connection: Conn, outcome: Result<T, Stop>) -> Result<T, Error> {
    match outcome {
        Ok(value) => Ok(value),
        Err(Stop::Driver(error) | Stop::Unstarted(error) | Stop::Spoilt(error)) => {
            let words = parting_words(&connection);
            let error = failed("the statement failed", error, words.as_ref());
            Err(work::fail(connection, error, words))
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
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Finished<T> {
    let id = PooledConnection::id(connection);
    let ending = match connection.transaction() {
        Err(error) => {
            let error = failed("the transaction could not begin", error, None);
            return Finished { outcome: Ok(Err(error)), close: None };
        }
        Ok(mut transaction) => {
            let ending = match work::run(|| work(&mut transaction)) {
                Ending::Commit(value) => Ok((value, commit(&mut transaction))),
                Ending::Rollback(error) => Err(Ok(error)),
                Ending::Unwind(payload) => Err(Err(payload)),
            };
            // Its drop would end the transaction a second time, without a bound; it
            // owns nothing else.
            std::mem::forget(transaction);
            ending
        }
    };
    match ending {
        Ok((value, Ok(()))) => Finished { outcome: Ok(Ok(value)), close: None },
        Ok((_, Err(error))) if is_told(&error) => {
            let error = failed("the transaction was rolled back at its commit", error, None);
            Finished { outcome: Ok(Err(error)), close: roll_back(connection) }
        }
        Ok((_, Err(error))) => {
            let error = work::outcome_unknown(id, error);
            Finished { outcome: Ok(Err(error)), close: Some(CloseReason::Broken) }
        }
        Err(Ok(error)) => Finished { outcome: Ok(Err(error)), close: roll_back(connection) },
        Err(Err(payload)) => Finished { outcome: Err(payload), close: roll_back(connection) },
    }
}

/// Commits in one round trip, and only a transaction that has not failed.
///
/// COMMIT of a failed transaction is answered by ROLLBACK and no error, so a plain
/// commit would report a success that never was. The statement in front of it
/// fails in that case, and the server then ignores the rest of the message.
fn commit(transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    transaction.batch_execute("select 1; commit")
}

/// An error that leaves the session alive is the server's word that it rolled
/// back; any other leaves open what it did.
fn is_told(error: &postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| error.severity() == "ERROR")
}

/// Rolls back within its bound; returns why the connection must be closed if that
/// did not work.
fn roll_back(connection: &mut Conn) -> Option<CloseReason> {
    // Without a socket nothing could cut a rollback that hangs; closing rolls back
    // as well.
    let Some(socket) = connection.lease().managed().socket_copy() else {
        return Some(CloseReason::Dirty);
    };
    if !work::TimeOut::of(connection).lift() {
        return Some(CloseReason::Dirty);
    }
    let rolled_back = work::bounded(socket, || connection.batch_execute("rollback"));
    rolled_back.is_err().then_some(CloseReason::Dirty)
}

/// The error with which the server ended the session: the driver loses it in a
/// part of the terminations, our stream does not.
fn parting_words(connection: &Conn) -> Option<Words> {
    connection.lease().managed().side()?.fatal()
}

fn failed(what: &str, error: postgres::Error, words: Option<&Words>) -> Error {
    let (text, fault) = match (error.code(), words) {
        (Some(code), _) => (format!("{what} (SQLSTATE {})", code.code()), None),
        (None, Some(words)) => (
            format!("{what} (SQLSTATE {}, {})", words.code, words.text),
            Some(fault::postgres::by_code("FATAL", &words.code, &words.text)),
        ),
        (None, None) => (what.to_owned(), None),
    };
    let failed = Error::driver(text, error);
    match fault {
        Some(fault) => failed.with_fault(fault),
        None => failed,
    }
}
