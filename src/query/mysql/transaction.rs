//! A transaction on MySQL or MariaDB that knows when it is over.
//!
//! After a deadlock the server has rolled back the whole transaction, and whatever
//! follows would run outside of it, each statement for itself. Three things stand
//! against that: the transaction refuses every statement after such an error; it runs
//! with autocommit off, so that a statement whose error went unseen begins nothing that
//! stands; and a savepoint set at its beginning must still be there at its commit.

use crate::error::Usability;
use crate::error::fault::mysql::{self as fault, Doomed};
use mysql::prelude::{AsStatement, FromRow, Protocol, Queryable};
use mysql::{Binary, Conn, Error, FromRowError, Params, QueryResult, Row, Statement, Text};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

/// An open transaction of [`Pool<MySql>`](crate::Pool); the closure's way to the
/// server.
///
/// It has the methods of [`mysql::prelude::Queryable`]. Unlike the driver's own, they
/// report an error that comes after the first row, and refuse to run once the server
/// has rolled the transaction back, or the connection is lost: the error says by what.
///
/// It derefs to [`mysql::Conn`]. What is run on that directly is not refused; the
/// transaction is then found to be over at its commit, and nothing after that stands.
/// Statements that commit by themselves (`CREATE`, `ALTER`, `DROP` and their like; MySQL
/// documentation, "Statements That Cause an Implicit Commit") end it for what came
/// before them.
pub struct MySqlTransaction<'a> {
    connection: &'a mut Conn,
    doom: Option<Doomed>,
    /// A statement may have committed by itself.
    has_ended: bool,
}

/// How the commit went.
pub(super) enum Commit {
    Done,
    /// It had ended before, by something unseen.
    Over,
    Failed(Error),
}

/// MySQL documentation, "Server Error Message Reference", ER_SP_DOES_NOT_EXIST.
const NO_SUCH_SAVEPOINT: u16 = 1305;

impl<'a> MySqlTransaction<'a> {
    /// Begins, in one round trip. Autocommit is left off: only for connections that
    /// are reset when they come back.
    pub(super) fn begin(connection: &'a mut Conn, is_reset: bool) -> mysql::Result<Self> {
        let autocommit = if is_reset { "set autocommit = 0; " } else { "" };
        run(connection, &format!("{autocommit}start transaction; savepoint poolwarden"))?;
        Ok(MySqlTransaction { connection, doom: None, has_ended: false })
    }

    pub(super) fn commit(self) -> Commit {
        let kept = if self.has_ended { "" } else { "release savepoint poolwarden; " };
        match run(self.connection, &format!("{kept}commit")) {
            Ok(()) => Commit::Done,
            Err(Error::MySqlError(error)) if error.code == NO_SUCH_SAVEPOINT => Commit::Over,
            Err(error) => Commit::Failed(error),
        }
    }

    pub(super) fn roll_back(&mut self) -> mysql::Result<()> {
        run(self.connection, "rollback")
    }

    /// What ended it, as far as it was seen.
    pub(super) fn doom(&self) -> Option<&Doomed> {
        self.doom.as_ref()
    }

    /// Tells whether a part of it may have been committed by a statement in it.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Enters whether its connection was found to have ended.
    pub(super) fn has_lost(&mut self, its_connection: bool) {
        if its_connection {
            let lost = io::Error::from(io::ErrorKind::BrokenPipe);
            note(&mut self.doom, &Error::IoError(lost));
        }
    }

    fn admit(&self) -> mysql::Result<()> {
        match &self.doom {
            Some(doom) => Err(doom.refusal()),
            None => Ok(()),
        }
    }

    fn look_at(&mut self, sql: &str) {
        self.has_ended |= may_commit(sql);
    }
}

fn note(doom: &mut Option<Doomed>, error: &Error) {
    let fault = fault::fault(error);
    let is_over = fault::rolls_back_all(error) || fault.connection() == Usability::Broken;
    if is_over && doom.is_none() {
        *doom = Some(Doomed::new(error, fault));
    }
}

/// Runs a text of ours and reads all that comes of it, so that no error goes unseen.
///
/// An answer that has not a part for each statement is another's: the connection is
/// out of step, and what became of this text is not known.
fn run(connection: &mut Conn, sql: &str) -> mysql::Result<()> {
    let mut result = connection.query_iter(sql)?;
    let mut parts = 0;
    while let Some(rows) = result.iter() {
        for row in rows {
            row?;
        }
        parts += 1;
    }
    if parts == sql.split(';').count() {
        return Ok(());
    }
    let text = "the answer is not the one to these statements: the connection is out of step";
    Err(Error::IoError(io::Error::new(io::ErrorKind::InvalidData, text)))
}

/// Reads everything; the rows of the first set are given away.
fn read<P: Protocol>(
    mut result: QueryResult<'_, '_, '_, P>,
    mut each: impl FnMut(Row),
) -> mysql::Result<()> {
    let mut is_first = true;
    while let Some(rows) = result.iter() {
        for row in rows {
            let row = row?;
            if is_first {
                each(row);
            }
        }
        is_first = false;
    }
    Ok(())
}

/// Tells of a text whether it may end the transaction: all that does not begin as a
/// statement that never does, and whatever has several statements.
fn may_commit(sql: &str) -> bool {
    const HARMLESS: &[&str] = &[
        "select",
        "insert",
        "update",
        "delete",
        "replace",
        "with",
        "values",
        "table",
        "show",
        "do",
        "explain",
        "describe",
        "desc",
        "savepoint",
        "release",
        "prepare",
        "execute",
        "deallocate",
        "call",
        "load",
        "handler",
        "use",
        "kill",
    ];
    let text = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    let word = text.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
    let rest = text[word.len()..].trim_start();
    let is = |harmless: &&str| word.eq_ignore_ascii_case(harmless);
    // SET changes variables, of which one commits; ROLLBACK TO keeps the transaction.
    let set = word.eq_ignore_ascii_case("set") && !text.to_ascii_lowercase().contains("autocommit");
    let back = word.eq_ignore_ascii_case("rollback")
        && rest.get(..2).is_some_and(|to| to.eq_ignore_ascii_case("to"));
    let several = sql.trim_end().trim_end_matches(';').contains(';');
    several || !(HARMLESS.iter().any(is) || set || back)
}

impl Queryable for MySqlTransaction<'_> {
    fn query_iter<Q: AsRef<str>>(
        &mut self,
        query: Q,
    ) -> mysql::Result<QueryResult<'_, '_, '_, Text>> {
        self.admit()?;
        self.look_at(query.as_ref());
        let doom = &mut self.doom;
        self.connection.query_iter(query).inspect_err(|error| note(doom, error))
    }

    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Statement> {
        self.admit()?;
        self.look_at(query.as_ref());
        let doom = &mut self.doom;
        self.connection.prep(query).inspect_err(|error| note(doom, error))
    }

    fn close(&mut self, statement: Statement) -> mysql::Result<()> {
        self.admit()?;
        self.connection.close(statement)
    }

    fn exec_iter<S, P>(
        &mut self,
        statement: S,
        params: P,
    ) -> mysql::Result<QueryResult<'_, '_, '_, Binary>>
    where
        S: AsStatement,
        P: Into<Params>,
    {
        self.admit()?;
        let statement = statement.as_statement(self)?.into_owned();
        let doom = &mut self.doom;
        self.connection.exec_iter(statement, params).inspect_err(|error| note(doom, error))
    }

    fn exec_batch<S, P, I>(&mut self, statement: S, params: I) -> mysql::Result<()>
    where
        Self: Sized,
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        self.admit()?;
        let statement = statement.as_statement(self)?.into_owned();
        let doom = &mut self.doom;
        self.connection.exec_batch(statement, params).inspect_err(|error| note(doom, error))
    }

    fn query_drop<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<()> {
        self.text(query.as_ref(), |_| ())
    }

    fn query_first<T: FromRow, Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Option<T>> {
        let mut first = None;
        self.text(query.as_ref(), |row| {
            first.get_or_insert(row);
        })?;
        Ok(first.map(mysql::from_row))
    }

    fn query_first_opt<T: FromRow, Q: AsRef<str>>(
        &mut self,
        query: Q,
    ) -> mysql::Result<Option<Result<T, FromRowError>>> {
        let mut first = None;
        self.text(query.as_ref(), |row| {
            first.get_or_insert(row);
        })?;
        Ok(first.map(mysql::from_row_opt))
    }

    fn query_fold<T, F, Q, U>(&mut self, query: Q, init: U, mut fold: F) -> mysql::Result<U>
    where
        Q: AsRef<str>,
        T: FromRow,
        F: FnMut(U, T) -> U,
    {
        let mut all = Some(init);
        self.text(query.as_ref(), |row| {
            all = all.take().map(|all| fold(all, mysql::from_row(row)));
        })?;
        Ok(all.expect("each row puts back what it takes"))
    }

    fn exec_drop<S: AsStatement, P: Into<Params>>(
        &mut self,
        statement: S,
        params: P,
    ) -> mysql::Result<()> {
        self.prepared(statement, params.into(), |_| ())
    }

    fn exec_first<T: FromRow, S: AsStatement, P: Into<Params>>(
        &mut self,
        statement: S,
        params: P,
    ) -> mysql::Result<Option<T>> {
        let mut first = None;
        self.prepared(statement, params.into(), |row| {
            first.get_or_insert(row);
        })?;
        Ok(first.map(mysql::from_row))
    }
}

impl MySqlTransaction<'_> {
    fn text(&mut self, sql: &str, each: impl FnMut(Row)) -> mysql::Result<()> {
        let outcome = read(self.query_iter(sql)?, each);
        outcome.inspect_err(|error| note(&mut self.doom, error))
    }

    fn prepared(
        &mut self,
        statement: impl AsStatement,
        params: Params,
        each: impl FnMut(Row),
    ) -> mysql::Result<()> {
        let outcome = read(self.exec_iter(statement, params)?, each);
        outcome.inspect_err(|error| note(&mut self.doom, error))
    }
}

impl Deref for MySqlTransaction<'_> {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.connection
    }
}

impl DerefMut for MySqlTransaction<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        self.connection
    }
}

impl fmt::Debug for MySqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the driver's Debug: it prints the password.
        f.debug_struct("MySqlTransaction")
            .field("is_over", &self.doom.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::may_commit;

    #[test]
    fn a_text_that_may_end_the_transaction_is_told_by_its_first_word() {
        for harmless in [
            "select 1",
            " (select 1)",
            "INSERT INTO t VALUES (1);",
            "update t set created = 1",
            "set @a = 1",
            "rollback to savepoint s",
            "release savepoint s",
        ] {
            assert!(!may_commit(harmless), "{harmless}");
        }
        for ending in [
            "create table t (n int)",
            "ALTER TABLE t ADD m INT",
            "drop table t",
            "truncate t",
            "commit",
            "rollback",
            "begin",
            "set autocommit = 1",
            "select 1; commit",
            "/* what */ drop table t",
            "",
        ] {
            assert!(may_commit(ending), "{ending}");
        }
    }
}
