//! Materialized queries and transactions on PostgreSQL.

use super::repeat::repeat;
use super::work::{self, Ending, Finished};
use crate::config::Config;
use crate::driver::Progress;
use crate::error::{Error, Fault, FaultClass, Repeat, Usability, fault};
use crate::guard::PooledConnection;
use crate::managed::Discard;
use crate::observe::{CloseReason, Words};
use crate::pool::Pool;
use crate::postgres::{Postgres, Side};
use crate::retry::RetryPolicy;
use crate::rows::RowCount;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Row, Statement, Transaction};
use std::panic::Location;

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
        self.lone(sql, params, |row| rows.push(row))?;
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
        self.lone(sql, params, drop)
    }

    /// Runs a text of several statements without parameters; rows are dropped as
    /// they come.
    #[track_caller]
    pub fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        let mut connection = work::check_out_for_one(self)?;
        let before = work::progress(&connection);
        let outcome = connection.own().batch_execute(sql).map_err(Stop::Driver);
        settle(connection, sql, before, outcome)
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

    /// As [`transaction`](Pool::transaction), and again as far as the policy allows.
    ///
    /// The closure gets the number of the attempt, from 1. It begins anew each time:
    /// whatever it does besides its statements must bear to be done again, and it must
    /// not end the transaction by itself.
    ///
    /// Repeated without [`idempotent`](RetryPolicy::idempotent) is what the server has
    /// rolled back: after a serialization failure or a deadlock, also one that the
    /// closure overlooked, and after a connection that was lost before COMMIT was sent.
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
    /// use poolwarden::{Pool, Postgres, RetryPolicy};
    ///
    /// let pool = Pool::builder().build(Postgres::new("postgres://app@db.example.com/app")?)?;
    /// pool.transaction_with(RetryPolicy::web(), |tx, _attempt| {
    ///     tx.execute("update accounts set cents = cents - 100 where id = $1", &[&1i64])?;
    ///     tx.execute("update accounts set cents = cents + 100 where id = $1", &[&2i64])?;
    ///     Ok(())
    /// })?;
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[track_caller]
    pub fn transaction_with<T>(
        &self,
        policy: RetryPolicy,
        mut work: impl FnMut(&mut Transaction<'_>, u32) -> Result<T, Error>,
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
    fn first(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(Option<Row>, usize), Error> {
        let (mut first, mut found) = (None, 0);
        self.lone(sql, params, |row| {
            found += 1;
            first.get_or_insert(row);
        })?;
        Ok((first, found))
    }

    /// Runs a statement on a connection of the pool; returns the rows changed.
    #[track_caller]
    fn lone(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        mut each: impl FnMut(Row),
    ) -> Result<u64, Error> {
        let config = self.engine().warden().config();
        let mut connection = work::check_out_for_one(self)?;
        let mut before = work::progress(&connection);
        let mut outcome = read(&mut connection, config, sql, params, &mut each);
        if let Err(Stop::Spoilt(_)) = outcome {
            PooledConnection::end(connection, Discard::planned(CloseReason::Dirty));
            connection = work::check_out_for_one(self)?;
            before = work::progress(&connection);
            outcome = read(&mut connection, config, sql, params, &mut each);
        }
        settle(connection, sql, before, outcome)
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
fn settle<T>(
    connection: Conn,
    sql: &str,
    before: Option<Progress>,
    outcome: Result<T, Stop>,
) -> Result<T, Error> {
    match outcome {
        Ok(value) => Ok(value),
        Err(Stop::Driver(error) | Stop::Unstarted(error) | Stop::Spoilt(error)) => {
            let error = failed("the statement failed", error, parting_words(&connection).as_ref());
            Err(work::lone_failure(connection, sql, before, error))
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
    let socket = connection.lease().managed().side().and_then(Side::socket);
    let ending = connection.transaction().map(|mut transaction| {
        let ending = match work::run(|| work(&mut transaction)) {
            // What is not sent is not done: an end that is seen now leaves no doubt.
            Ending::Commit(_) if socket.is_some_and(|socket| socket.is_ended_by_peer()) => {
                Err(Ok(None))
            }
            Ending::Commit(value) => Ok((value, commit(&mut transaction))),
            Ending::Rollback(error) => Err(Ok(Some(error))),
            Ending::Unwind(payload) => Err(Err(payload)),
        };
        // Its drop would end the transaction a second time, without a bound; it
        // owns nothing else.
        std::mem::forget(transaction);
        ending
    });
    match ending {
        Err(error) => {
            let words = parting_words(connection);
            let error = failed("the transaction could not begin", error, words.as_ref());
            Finished { outcome: Ok(Err(work::unbegun(error))), close: None }
        }
        Ok(Ok((value, Ok(())))) => Finished { outcome: Ok(Ok(value)), close: None },
        Ok(Ok((_, Err(error)))) => commit_failed(connection, error),
        Ok(Err(Ok(Some(error)))) => left_by(connection, error, false),
        Ok(Err(Ok(None))) => left_by(connection, work::uncommitted(), true),
        Ok(Err(Err(payload))) => Finished { outcome: Err(payload), close: roll_back(connection) },
    }
}

/// An error that leaves the session alive is the server's word that it rolled back;
/// any other leaves open what it did.
fn commit_failed<T>(connection: &mut Conn, error: postgres::Error) -> Finished<T> {
    let is_told = error.as_db_error().is_some_and(|error| error.severity() == "ERROR");
    let words = parting_words(connection);
    if is_told {
        let error = failed("the transaction was rolled back at its commit", error, None);
        let error = with_first_failure(connection, error);
        return Finished { outcome: Ok(Err(error)), close: roll_back(connection) };
    }
    let error = failed("COMMIT failed", error, words.as_ref());
    let error = error.into_unknown(work::identity(connection), "during COMMIT");
    let is_gone = error.fault().connection() == Usability::Broken;
    Finished { outcome: Ok(Err(error)), close: (!is_gone).then_some(CloseReason::Broken) }
}

/// The closure has failed, or the connection is known to be lost: nothing that was done
/// on it stands.
fn left_by<T>(connection: &mut Conn, error: Error, is_lost: bool) -> Finished<T> {
    let words = parting_words(connection);
    let words = words.or_else(|| connection.lease().managed().lost().words.filter(|_| is_lost));
    if !is_lost && !connection.is_closed() && words.is_none() {
        let error = with_first_failure(connection, error);
        return Finished { outcome: Ok(Err(error)), close: roll_back(connection) };
    }
    // Lost before COMMIT was sent: the server rolls back what it was not told to commit.
    let fault = words.as_ref().map_or(error.fault(), said);
    let fault = fault.with_connection(Usability::Broken);
    let side = connection.lease().managed().side();
    let error = if fault.repeat() == Repeat::Permanent {
        error
    } else if side.is_some_and(Side::has_left_transaction) {
        error.with_fault(fault).into_unknown(work::identity(connection), "after a COMMIT")
    } else {
        let why = words.map_or("the connection was lost".into(), |words| words.to_string());
        error.explained(&why, fault.with_repeat(Repeat::RolledBack))
    };
    let is_told = error.fault().connection() == Usability::Broken;
    Finished { outcome: Ok(Err(error)), close: (!is_told).then_some(CloseReason::Broken) }
}

/// What failed the transaction first, where the error only says that it had failed.
fn with_first_failure(connection: &Conn, error: Error) -> Error {
    if error.fault().class() != FaultClass::Doomed {
        return error;
    }
    let first = connection.lease().managed().side().and_then(Side::first_failure);
    let Some(first) = first else { return error };
    let fault = fault::postgres::by_code("ERROR", &first.code, &first.text);
    error.explained(&format!("it had failed before: {first}"), fault)
}

fn said(words: &Words) -> Fault {
    fault::postgres::by_code("FATAL", &words.code, &words.text)
}

/// Commits in one round trip, and only a transaction that has not failed.
///
/// COMMIT of a failed transaction is answered by ROLLBACK and no error, so a plain
/// commit would report a success that never was. The statement in front of it
/// fails in that case, and the server then ignores the rest of the message.
fn commit(transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    transaction.batch_execute("select 1; commit")
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
        (None, Some(words)) => {
            (format!("{what} (SQLSTATE {}, {})", words.code, words.text), Some(said(words)))
        }
        (None, None) => (what.to_owned(), None),
    };
    let failed = Error::driver(text, error);
    match fault {
        Some(fault) => failed.with_fault(fault),
        None => failed,
    }
}
