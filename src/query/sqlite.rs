//! Materialized queries and transactions on SQLite.

use super::repeat::repeat;
use super::work::{self, Ending, Finished, TimeOut};
use crate::error::{Error, ErrorKind};
use crate::guard::PooledConnection;
use crate::observe::CloseReason;
use crate::pool::Pool;
use crate::retry::RetryPolicy;
use crate::rows::RowCount;
use crate::sqlite::Sqlite;
use rusqlite::{Params, Row, Transaction, TransactionBehavior};
use std::panic::Location;

/// Queries that give the connection back before they return.
///
/// # Blocking
///
/// All of them: for a connection as [`Pool::get`], then on the disk, and on the
/// locks of other connections for as long as the busy time-out (5 s by default).
///
/// # Errors
///
/// All of them: those of [`Pool::get`];
/// [`Driver`](crate::ErrorKind::Driver) with the `rusqlite::Error` as the source;
/// [`RowLimit`](crate::ErrorKind::RowLimit); past the pool's `statement_timeout`
/// [`StatementTimeout`](crate::ErrorKind::StatementTimeout).
impl Pool<Sqlite> {
    /// Runs a statement and returns what the closure makes of each row, at most
    /// `row_limit`.
    ///
    /// ```
    /// use poolwarden::{Pool, Sqlite};
    ///
    /// let pool = Pool::builder().max_size(1).build(Sqlite::memory())?;
    /// pool.execute_batch("create table t (n integer); insert into t values (1), (2)")?;
    /// // One connection, and yet statements inside the loop: no row holds it.
    /// for n in pool.query("select n from t", [], |row| row.get::<_, i64>(0))? {
    ///     pool.execute("insert into t values (?1)", [n + 10])?;
    /// }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[track_caller]
    pub fn query<T, P, F>(&self, sql: &str, params: P, mut map: F) -> Result<Vec<T>, Error>
    where
        P: Params,
        F: FnMut(&Row<'_>) -> rusqlite::Result<T>,
    {
        let connection = work::check_out_for_one(self)?;
        let row_limit = self.engine().warden().config().row_limit;
        let outcome = read(&connection, sql, params, row_limit, &mut map);
        settle(connection, outcome)
    }

    /// Runs a statement and returns how many rows it changed.
    #[track_caller]
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<usize, Error> {
        let connection = work::check_out_for_one(self)?;
        let outcome = connection.execute(sql, params).map_err(failed);
        settle(connection, outcome)
    }

    /// Runs a text of several statements without parameters.
    #[track_caller]
    pub fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        let connection = work::check_out_for_one(self)?;
        let outcome = connection.execute_batch(sql).map_err(failed);
        settle(connection, outcome)
    }

    /// Runs a closure in a transaction: commits on `Ok`, rolls back on `Err` and
    /// on a panic, which goes on once the connection is safe.
    ///
    /// The transaction takes the write lock at once (`BEGIN IMMEDIATE`): one that
    /// reads first and writes later could not wait for another writer.
    ///
    /// # Errors
    ///
    /// The closure's own; those of [`Pool::get`];
    /// [`Driver`](crate::ErrorKind::Driver) if it could not begin or commit.
    ///
    /// ```
    /// use poolwarden::{Error, Pool, Sqlite};
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// pool.execute_batch("create table t (n integer)")?;
    /// let undone: Result<(), Error> = pool.transaction(|tx| {
    ///     tx.execute("insert into t values (1)", [])?;
    ///     Err(Error::caller("changed my mind"))
    /// });
    /// assert!(undone.is_err());
    /// assert!(pool.query("select n from t", [], |row| row.get::<_, i64>(0))?.is_empty());
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
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
    /// not end the transaction by itself. Repeated is what another connection's lock
    /// stood against (`SQLITE_BUSY`, `SQLITE_LOCKED`): all of it was rolled back.
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
}

fn read<T, P: Params>(
    connection: &rusqlite::Connection,
    sql: &str,
    params: P,
    row_limit: Option<usize>,
    map: &mut impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let mut count = RowCount::new(row_limit);
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut rows = statement.query(params).map_err(failed)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        count.admit()?;
        found.push(map(row).map_err(failed)?);
    }
    Ok(found)
}

fn settle<T>(connection: PooledConnection<Sqlite>, outcome: Result<T, Error>) -> Result<T, Error> {
    outcome.map_err(|error| work::lone_failure(connection, "", None, error))
}

/// Begins, runs the closure, and ends the transaction, whatever happens.
fn transact<T>(
    connection: &mut PooledConnection<Sqlite>,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Finished<T> {
    let immediate = TransactionBehavior::Immediate;
    let time_out = TimeOut::of(connection);
    let outcome = match connection.transaction_with_behavior(immediate) {
        Err(error) => Ok(Err(failed(error))),
        Ok(mut transaction) => match work::run(|| work(&mut transaction)) {
            // Some errors end a transaction (SQLite documentation, "Response To Errors
            // Within A Transaction"): what followed was not part of one.
            Ending::Commit(_) if transaction.is_autocommit() => Ok(Err(Error::new(
                ErrorKind::Driver,
                "the transaction was over before its commit: SQLite rolled it back after an \
                 error that was overlooked, or a statement in it ended it",
            ))),
            Ending::Commit(value) => Ok(transaction.commit().map(|()| value).map_err(failed)),
            Ending::Rollback(error) => {
                time_out.end();
                let _ = transaction.rollback();
                Ok(Err(error))
            }
            Ending::Unwind(payload) => {
                time_out.end();
                let _ = transaction.rollback();
                Err(payload)
            }
        },
    };
    // Free: SQLite keeps it in memory.
    let close = (!connection.is_autocommit()).then_some(CloseReason::Dirty);
    Finished { outcome, close }
}

fn failed(error: rusqlite::Error) -> Error {
    Error::driver("the statement failed", error)
}
