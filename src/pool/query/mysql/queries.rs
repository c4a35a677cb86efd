//! Materialized queries on MySQL and MariaDB.

use super::autocommit;
use super::ending;
use super::harmless;
use super::harmless::Judgement;
use super::long_data;
use super::proof::Proving;
use super::write_result::MySqlWriteResult;
use crate::config::Reset;
use crate::driver::mysql::{ConnectionState, MySql};
use crate::error::Error;
use crate::pool::guard::PooledConnection;
use crate::pool::pool::Pool;
use crate::pool::query::common;
use crate::pool::query::effect;
use crate::pool::query::effect::Effect;
use crate::pool::query::lone;
use crate::pool::query::lone::{LoneStatement, Stop};
use crate::pool::query::row_limit::RowLimit;
use crate::sys::sockets::Descriptor;
use mysql::prelude::{FromRow, Protocol, Queryable};
use mysql::{Params, QueryResult, Row, Value};

type Conn = PooledConnection<MySql>;

impl From<mysql::Error> for Stop {
    fn from(error: mysql::Error) -> Stop {
        Stop::Failed(error.into())
    }
}

/// Queries that check the connection in before they return.
///
/// For a text with several statements they return the rows of the first statement, and
/// the first error of any.
///
/// With autocommit off, by the server's configuration or the pool's `init`, a write is
/// rolled back at check-in: it fails with an error that says so, as does a text that leaves
/// a transaction open. Use [`Pool::transaction`](Pool::transaction). To know that, the pool
/// asks the server after the first write of each connection, and after each `CALL`.
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
/// [`RowLimit`](crate::ErrorKind::RowLimit), [`ByteLimit`](crate::ErrorKind::ByteLimit);
/// [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) for a write that may have been
/// done; past the pool's `statement_timeout`
/// [`StatementTimeout`](crate::ErrorKind::StatementTimeout) or
/// [`StatementAbandoned`](crate::ErrorKind::StatementAbandoned).
impl Pool<MySql> {
    /// Runs a text statement and returns all its rows, at most `row_limit`.
    #[track_caller]
    pub fn query<T: FromRow>(&self, sql: &str) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        self.text(sql, |row| rows.push(row))?;
        self.convert(sql, rows)
    }

    /// Runs a text statement and returns its first row, if there is one.
    ///
    /// Further rows are read and dropped, at most `row_limit`: write `LIMIT 1`.
    #[track_caller]
    pub fn query_first<T: FromRow>(&self, sql: &str) -> Result<Option<T>, Error> {
        let mut first = None;
        self.text(sql, |row| {
            first.get_or_insert(row);
        })?;
        Ok(self.convert(sql, first)?.pop())
    }

    /// Runs a text statement and drops its rows; returns what the last statement of the
    /// text has written.
    ///
    /// ```no_run
    /// # let pool: poolwarden::Pool<poolwarden::MySql> = todo!();
    /// let written = pool.query_drop("insert into orders (item) values ('tea'), ('salt')")?;
    /// assert_eq!(written.affected_rows, 2);
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[track_caller]
    pub fn query_drop(&self, sql: &str) -> Result<MySqlWriteResult, Error> {
        self.text(sql, drop)
    }

    /// Runs a prepared statement and returns all its rows, at most `row_limit`.
    #[track_caller]
    pub fn exec<T: FromRow, P: Into<Params>>(&self, sql: &str, params: P) -> Result<Vec<T>, Error> {
        let mut rows = Vec::new();
        self.prepared(sql, params.into(), |row| rows.push(row))?;
        self.convert(sql, rows)
    }

    /// Runs a prepared statement and returns its first row, if there is one.
    ///
    /// Further rows are read and dropped, at most `row_limit`: write `LIMIT 1`.
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
        Ok(self.convert(sql, first)?.pop())
    }

    /// Runs a prepared statement and drops its rows; returns what it has written.
    #[track_caller]
    pub fn exec_drop<P: Into<Params>>(
        &self,
        sql: &str,
        params: P,
    ) -> Result<MySqlWriteResult, Error> {
        self.prepared(sql, params.into(), drop)
    }

    #[track_caller]
    fn text(&self, sql: &str, each: impl FnMut(Row)) -> Result<MySqlWriteResult, Error> {
        let mut connection = common::check_out_for_one(self)?;
        let limit = RowLimit::new(self.engine().shared().config());
        let socket = connection.lease().managed().socket_copy();
        let is_harmless = self.resets_by_need() && harmless::judge(sql) == Judgement::Harmless;
        let (session, state) = lend(&mut connection, sql);
        let outcome = session.query_iter(sql).map_err(Stop::from);
        let outcome = outcome.and_then(|result| read(result, limit, socket.as_ref(), each));
        state.left_clean = is_harmless && outcome.is_ok();
        self.settle(connection, sql, outcome)
    }

    #[track_caller]
    fn prepared(
        &self,
        sql: &str,
        params: Params,
        each: impl FnMut(Row),
    ) -> Result<MySqlWriteResult, Error> {
        if let Params::Positional(values) = &params {
            lone::check_parameters(self.name(), values.len())?;
        }
        let mut connection = common::check_out_for_one(self)?;
        let limit = RowLimit::new(self.engine().shared().config());
        let socket = connection.lease().managed().socket_copy();
        let is_by_need = self.resets_by_need();
        let (session, state) = lend(&mut connection, sql);
        let run = || {
            long_data::check(session, &params)?;
            let statement = session.prep(sql)?;
            let proving = match is_by_need {
                true => Some(Proving::begin(session, state, sql, &statement)?),
                false => None,
            };
            read(session.exec_iter(&statement, params)?, limit, socket.as_ref(), each)?;
            state.left_clean = proving.is_some_and(|proving| proving.holds(state, &statement));
            Ok(())
        };
        let outcome = run();
        self.settle(connection, sql, outcome)
    }

    /// Returns `true` if a session is reset only if it may have been changed.
    fn resets_by_need(&self) -> bool {
        self.engine().shared().config().reset == Reset::Auto
    }

    /// Checks the connection in, or closes it if it may be out of sync.
    fn settle(
        &self,
        mut connection: Conn,
        sql: &str,
        outcome: Result<(), Stop>,
    ) -> Result<MySqlWriteResult, Error> {
        let keeps_changes = match &outcome {
            Err(Stop::Failed(error)) => autocommit::keeps_changes(&mut connection, sql, error),
            _ => false,
        };
        let outcome = outcome.map(|()| MySqlWriteResult::last_of(&connection));
        let commits_parts = &|sql: &str| keeps_changes || ending::commits_parts(sql);
        let statement = LoneStatement { sql, before: None, commits_parts };
        statement.settle(connection, outcome, |connection| autocommit::confirm(connection, sql))
    }

    fn convert<T: FromRow>(
        &self,
        sql: &str,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Vec<T>, Error> {
        let converted: Result<Vec<T>, _> = rows.into_iter().map(mysql::from_row_opt).collect();
        converted.map_err(|error| {
            let error = Error::driver("a row does not fit the type asked for", error);
            lone::unusable_result(self.name(), Effect::of(sql), error)
        })
    }
}

/// Borrows the connection for one of the pool's own queries, or as a raw borrow if the
/// statement may choose another database, which a reset would not undo.
fn lend<'a>(connection: &'a mut Conn, sql: &str) -> (&'a mut mysql::Conn, &'a mut ConnectionState) {
    if may_choose_a_database(sql) {
        let _: &mut mysql::Conn = connection;
    }
    let (session, state) = connection.own_session();
    state.left_clean = false;
    (session, state)
}

/// First words of statements that keep the database. What they call keeps it as well: no
/// function and no trigger may contain USE or run a text.
const KEEP_DATABASE: &[&str] = &[
    "select", "insert", "update", "delete", "replace", "with", "values", "do", "show", "begin",
    "start", "commit", "rollback",
];

fn may_choose_a_database(sql: &str) -> bool {
    let word = effect::first_word(effect::skip_to_word(sql));
    let is_kept = KEEP_DATABASE.iter().any(|other| word.eq_ignore_ascii_case(other));
    !is_kept || effect::has_several_statements(sql) || sql.contains("/*!") || sql.contains("/*M!")
}

/// Reads all rows of all result sets; passes those of the first set to `each`.
///
/// Over the limit the socket is shut down BEFORE the result is dropped: its drop
/// reads to the end, which took 37 s for 50 million rows.
fn read<P: Protocol>(
    mut result: QueryResult<'_, '_, '_, P>,
    mut count: RowLimit,
    socket: Option<&Descriptor>,
    mut each: impl FnMut(Row),
) -> Result<(), Stop> {
    let mut first_set = true;
    while let Some(rows) = result.iter() {
        for row in rows {
            let row = row?;
            if let Err(error) = count.admit(size_of_row(&row)) {
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

/// Returns the size of a row's values: of text and of blobs their lengths.
fn size_of_row(row: &Row) -> usize {
    let values = (0..row.len()).filter_map(|index| row.as_ref(index));
    values.map(|value| if let Value::Bytes(bytes) = value { bytes.len() } else { 8 }).sum()
}
