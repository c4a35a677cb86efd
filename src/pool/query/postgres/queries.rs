//! Materialized queries on PostgreSQL.

use super::ending::{failed, final_message};
use crate::config::Config;
use crate::connection::CloseCause;
use crate::driver::Progress;
use crate::driver::postgres::ConnectionState;
use crate::driver::postgres::Postgres;
use crate::error::{Error, ErrorKind};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use crate::pool::pool::Pool;
use crate::pool::query::common;
use crate::pool::query::effect;
use crate::pool::query::effect::Effect;
use crate::pool::query::lone;
use crate::pool::query::lone::LoneStatement;
use crate::pool::query::row_limit;
use crate::pool::query::row_limit::RowLimit;
use crate::sys::counted::counted;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Row, Statement};

type Conn = PooledConnection<Postgres>;

/// Why reading stopped before the end.
enum Stop {
    Driver(postgres::Error),
    Limit(Error),
    /// The server, or the driver, refused the statement before it ran.
    NotStarted(postgres::Error),
    /// Nothing ran, and this connection is of no further use: the driver's own prepared
    /// statements no longer exist in the session.
    StatementsLost(postgres::Error),
}

impl From<postgres::Error> for Stop {
    fn from(error: postgres::Error) -> Stop {
        Stop::Driver(error)
    }
}

/// Queries that check the connection in before they return.
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
/// [`RowLimit`](crate::ErrorKind::RowLimit), [`ByteLimit`](crate::ErrorKind::ByteLimit);
/// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) for a write that may have been
/// done; past the pool's `statement_timeout`
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
        row.filter(|_| found == 1).ok_or_else(|| self.row_count(sql, found, "one"))
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
        if found > 1 { Err(self.row_count(sql, found, "one or none")) } else { Ok(row) }
    }

    /// Runs a statement and returns how many rows it changed.
    #[track_caller]
    pub fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.lone(sql, params, drop)
    }

    /// Runs a text of several statements without parameters; rows are dropped as they
    /// arrive.
    #[track_caller]
    pub fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        let mut connection = common::check_out_for_one(self)?;
        let before = common::progress(&connection);
        let outcome = connection.own().batch_execute(sql).map_err(Stop::Driver);
        self.settle(connection, sql, before, outcome)
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
        lone::check_parameters(self.name(), params.len())?;
        let config = self.engine().shared().config();
        let mut connection = common::check_out_for_one(self)?;
        let mut before = common::progress(&connection);
        let mut outcome = read_limited(&mut connection, config, sql, params, &mut each);
        if let Err(Stop::StatementsLost(_)) = outcome {
            PooledConnection::end(connection, CloseCause::planned(CloseReason::Dirty));
            connection = common::check_out_for_one(self)?;
            before = common::progress(&connection);
            outcome = read_limited(&mut connection, config, sql, params, &mut each);
        }
        self.settle(connection, sql, before, outcome)
    }

    /// Checks the connection in, or closes it if rows may still arrive.
    fn settle<T>(
        &self,
        connection: Conn,
        sql: &str,
        before: Option<Progress>,
        outcome: Result<T, Stop>,
    ) -> Result<T, Error> {
        let outcome = outcome.map_err(|stop| match stop {
            Stop::Limit(error) => lone::Stop::Limit(error),
            Stop::Driver(error) | Stop::NotStarted(error) | Stop::StatementsLost(error) => {
                let message = final_message(&connection);
                lone::Stop::Failed(failed(phrase(sql, &error), error, message.as_ref()))
            }
        });
        let statement = LoneStatement { sql, before, commits_parts: &commits_parts };
        statement.settle(connection, outcome, |one| self.completed(one, sql, before))
    }

    /// Checks the connection in, and returns an error if a write has left its session inside
    /// a transaction: some poolers begin one by themselves, and the check-in rolls it back.
    ///
    /// Over a unix socket the server is asked, in the round trip that the check-in would take.
    fn completed(
        &self,
        mut connection: Conn,
        sql: &str,
        before: Option<Progress>,
    ) -> Result<(), Error> {
        if Effect::of(sql) == Effect::Reads {
            return Ok(());
        }
        let (client, state) = connection.own_session();
        match state.find_in_transaction(client) {
            Ok(false) => Ok(()),
            Ok(true) => {
                let committed = |progress: Option<Progress>| progress.map(|one| one.committed);
                let has_committed = committed(before) != committed(common::progress(&connection))
                    || effect::has_several_statements(sql) && commits_parts(sql);
                Err(lone::left_in_transaction(self.name(), has_committed))
            }
            Err(error) => {
                let message = final_message(&connection);
                let error = failed(lone::UNCERTAIN, error, message.as_ref());
                Err(lone::uncertain(connection, error))
            }
        }
    }

    fn row_count(&self, sql: &str, found: usize, expected: &str) -> Error {
        let text = format!("the query returned {}, not {expected}", counted(found, "row"));
        let error = Error::new(ErrorKind::RowCount, text);
        lone::unusable_result(self.name(), Effect::of(sql), error)
    }
}

/// Returns `true` if a part of what a text has done may be committed although it fails,
/// where our transport does not see it.
fn commits_parts(sql: &str) -> bool {
    let word = effect::first_word(effect::skip_to_word(sql));
    let commits_inside = ["call", "do"].iter().any(|other| word.eq_ignore_ascii_case(other));
    let ends = ["commit", "end", "prepare", "call", "do"];
    commits_inside || effect::has_several_statements(sql) && effect::has_word(sql, &ends)
}

/// Runs a statement while our transport counts the bytes that arrive.
fn read_limited(
    connection: &mut Conn,
    config: &Config,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
    each: &mut impl FnMut(Row),
) -> Result<u64, Stop> {
    let limit = config.byte_limit;
    connection.own_session().1.limit_bytes(limit);
    let outcome = read(connection, config, sql, params, each);
    let is_exceeded = connection.own_session().1.limit_bytes(None);
    match limit.filter(|_| is_exceeded) {
        Some(limit) => Err(Stop::Limit(row_limit::too_many_bytes(limit))),
        None => outcome,
    }
}

/// Runs a statement, prepared before or now, and reads all its rows; returns the number
/// of rows changed.
///
/// A statement that no longer exists in the session is prepared once more: nothing has
/// run then. If a transaction is open, the server refuses the second try as well.
fn read(
    connection: &mut Conn,
    config: &Config,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
    each: &mut impl FnMut(Row),
) -> Result<u64, Stop> {
    let (client, ConnectionState { statements, .. }) = connection.own_session();
    let mut stale = None;
    if let Some(statement) = statements.get(sql) {
        match execute(client, &statement, params, config, each) {
            Err(Stop::NotStarted(error)) if statements.repair(sql, &error) => stale = Some(error),
            outcome => return outcome,
        }
    }
    let statement = client.prepare(sql).map_err(|error| match (error.code(), stale) {
        (Some(&SqlState::IN_FAILED_SQL_TRANSACTION), Some(first)) => Stop::Driver(first),
        (Some(&SqlState::INVALID_SQL_STATEMENT_NAME), _) => Stop::StatementsLost(error),
        _ => Stop::Driver(error),
    })?;
    statements.keep(sql, &statement, config.statement_cache);
    execute(client, &statement, params, config, each)
}

/// Returns what the error of a statement begins with.
fn phrase(sql: &str, error: &postgres::Error) -> &'static str {
    // The driver tells this error by its text alone.
    let is_unexpected = error.to_string().starts_with("unexpected message");
    if is_unexpected && effect::has_word(sql, &["copy"]) {
        "the statement failed: COPY with STDIN or STDOUT needs copy_in or copy_out of a \
         checked-out connection"
    } else {
        "the statement failed"
    }
}

fn execute(
    client: &mut Client,
    statement: &Statement,
    params: &[&(dyn ToSql + Sync)],
    config: &Config,
    each: &mut impl FnMut(Row),
) -> Result<u64, Stop> {
    let mut count = RowLimit::new(config);
    let started = client.query_raw(statement, params.iter().copied());
    let mut rows = started.map_err(Stop::NotStarted)?;
    while let Some(row) = rows.next()? {
        count.admit(row.raw_size_bytes()).map_err(Stop::Limit)?;
        each(row);
    }
    Ok(rows.rows_affected().unwrap_or(0))
}
