//! Materialized queries on SQLite.

use crate::driver::sqlite::Sqlite;
use crate::error::Error;
use crate::pool::pool::Pool;
use crate::pool::query::common;
use crate::pool::query::effect;
use crate::pool::query::lone;
use crate::pool::query::lone::{LoneStatement, Stop};
use crate::pool::query::row_limit::RowLimit;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Params, Row, Statement};

/// Queries that check the connection in before they return.
///
/// # Blocking
///
/// All of them: for a connection as [`Pool::get`], then on the disk, and on the
/// locks of other connections for as long as the busy timeout (5 s by default).
///
/// # Errors
///
/// All of them: those of [`Pool::get`];
/// [`Driver`](crate::ErrorKind::Driver) with the `rusqlite::Error` as the source;
/// [`RowLimit`](crate::ErrorKind::RowLimit), [`ByteLimit`](crate::ErrorKind::ByteLimit);
/// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) for a write that was committed
/// although its result cannot be returned; past the pool's `statement_timeout`
/// [`StatementTimeout`](crate::ErrorKind::StatementTimeout).
impl Pool<Sqlite> {
    /// Runs a statement and returns what the closure returns for each row, at most
    /// `row_limit` rows.
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
        let config = self.engine().shared().config();
        self.lone(|connection, committed| {
            in_one_step(connection, committed, || {
                read(connection, sql, params, RowLimit::new(config), &mut map)
            })
        })
    }

    /// Runs a statement and returns how many rows it changed.
    #[track_caller]
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<usize, Error> {
        self.lone(|connection, committed| {
            let execute = || Ok(connection.execute(sql, params)?);
            in_one_step(connection, committed, execute)
        })
    }

    /// Runs a text of several statements without parameters.
    #[track_caller]
    pub fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        self.lone(|connection, committed| execute_each(connection, sql, committed))
    }

    /// Runs statements outside of a transaction; they record what was committed.
    #[track_caller]
    fn lone<T>(
        &self,
        run: impl FnOnce(&Connection, &mut bool) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let connection = common::check_out_for_one(self)?;
        let mut committed = false;
        let outcome = run(&connection, &mut committed).map_err(Stop::Failed);
        let statement = LoneStatement { sql: "", before: None, commits_parts: &|_| committed };
        statement.settle(connection, outcome, |connection| match connection.is_autocommit() {
            true => Ok(()),
            false => Err(lone::left_in_transaction(self.name(), committed)),
        })
    }
}

fn read<T, P: Params>(
    connection: &Connection,
    sql: &str,
    params: P,
    mut count: RowLimit,
    map: &mut impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        count.admit(size_of_row(row)?)?;
        found.push(map(row)?);
    }
    Ok(found)
}

/// Returns the size of a row's values: of text and of blobs their lengths.
fn size_of_row(row: &Row<'_>) -> rusqlite::Result<usize> {
    let mut size = 0;
    for index in 0..row.as_ref().column_count() {
        size += match row.get_ref(index)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        };
    }
    Ok(size)
}

/// Runs one statement; records whether it was committed although it is reported as failed:
/// SQLite commits it also when its rows are not read to the end.
fn in_one_step<T>(
    connection: &Connection,
    committed: &mut bool,
    run: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let before = connection.total_changes();
    let outcome = run();
    *committed |= connection.is_autocommit() && connection.total_changes() != before;
    outcome
}

/// Runs the statements of a text one by one; records whether one of them was committed.
fn execute_each(connection: &Connection, sql: &str, committed: &mut bool) -> Result<(), Error> {
    let mut batch = Batch::new(connection, sql);
    while let Some(mut statement) = batch.next()? {
        let was_open = !connection.is_autocommit();
        in_one_step(connection, committed, || {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            Ok(())
        })?;
        // COMMIT and ROLLBACK count as reads.
        let writes = if was_open { !is_rollback(&statement) } else { !statement.readonly() };
        *committed |= connection.is_autocommit() && writes;
    }
    Ok(())
}

fn is_rollback(statement: &Statement<'_>) -> bool {
    let sql = statement.expanded_sql().unwrap_or_default();
    effect::first_word(effect::skip_to_word(&sql)).eq_ignore_ascii_case("rollback")
}
