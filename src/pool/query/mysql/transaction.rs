//! A transaction on MySQL or MariaDB that detects when it has ended early.
//!
//! After a deadlock the server has rolled back the whole transaction, and each statement
//! that follows would run outside of it. Three things prevent that: the transaction
//! refuses every statement after such an error; it runs with autocommit off, so that
//! statements after an unnoticed error are not committed; and a savepoint set at its
//! beginning must still exist at its commit.

use super::beginning::beginning;
use super::ending::Ending;
use super::known::{Known, Prepared};
use super::long_data;
use super::nontransactional;
use super::nontransactional::PermanentChanges;
use super::own_text::run;
use crate::driver::mysql::Seen;
use crate::error::fault::mysql as fault;
use crate::error::fault::mysql::AbortedTransaction;
use crate::error::{Fault, FaultClass, Result, RetrySafety, Usability};
use crate::pool::query::effect;
use crate::pool::query::transaction_options::TransactionOptions;
use mysql::prelude::{AsStatement, FromRow, Protocol, Queryable};
use mysql::{Binary, Conn, Error, FromRowError, Params, QueryResult, Row, Statement, Text};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};

/// An open transaction of [`Pool<MySql>`](crate::Pool); the closure's way to the
/// server.
///
/// It has the methods of [`mysql::prelude::Queryable`]. Unlike the driver's own, they
/// report an error that comes after the first row, and they refuse to run once the server
/// has rolled the transaction back, or the connection is lost: the error names the cause.
///
/// A statement that ends the transaction (`COMMIT`, `ROLLBACK`, and those that commit
/// implicitly, such as `CREATE`, `ALTER` and `DROP`; MySQL documentation, "Statements That
/// Cause an Implicit Commit") makes the pool return an error, whatever the closure
/// returns; the statements after it are refused. After a statement whose text does not
/// show whether it ends the transaction (`CALL`, several statements in one text) the pool
/// asks the server, which takes one more round trip.
///
/// It derefs to [`mysql::Conn`]. A statement run directly on that is not refused; the
/// commit then finds that the transaction has ended, and nothing after its end stands. If the
/// connection is lost after that, the outcome counts as unknown.
pub struct MySqlTransaction<'a> {
    connection: &'a mut Conn,
    /// What ended it, or lost its connection, as far as it was seen.
    failure: Option<AbortedTransaction>,
    /// What it did before its end may stand.
    may_stand: bool,
    /// The server has reported changes that its rollback did not undo.
    keeps_changes: bool,
    /// A statement may have ended it, and the server has not been asked.
    is_unchecked: bool,
    /// The closure has had the driver's connection itself.
    is_raw: bool,
    /// The closure may have savepoints of its own, which the check would release.
    has_savepoints: bool,
    /// Statements prepared in it.
    prepared: Vec<Prepared>,
    /// What no rollback would undo.
    permanent: PermanentChanges,
}

/// What kind of reply a statement got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    /// One without rows.
    Done,
    /// Rows, or several replies.
    Other,
}

/// How the commit went.
pub(super) enum Commit {
    Done,
    /// The transaction had ended before, by something that was not seen.
    Over,
    /// The server has rolled it back.
    Refused(Error),
    /// Whether it was done is not known.
    Unknown(Error),
}

/// MySQL documentation, "Server Error Message Reference", ER_SP_DOES_NOT_EXIST.
pub(super) const NO_SUCH_SAVEPOINT: u16 = 1305;

impl<'a> MySqlTransaction<'a> {
    /// Begins, in one round trip. Autocommit stays off: only for connections whose
    /// session is reset at check-in.
    pub(super) fn begin(
        connection: &'a mut Conn,
        options: &TransactionOptions,
        is_reset: bool,
        seen: Seen,
    ) -> mysql::Result<Self> {
        let begun = match run(connection, &beginning(options, is_reset, seen.report_state())) {
            Err(error) if seen.refuses(&error) => {
                run(connection, &beginning(options, is_reset, seen.report_state()))
            }
            begun => begun,
        };
        begun?;
        Ok(MySqlTransaction {
            connection,
            failure: None,
            may_stand: false,
            keeps_changes: false,
            is_unchecked: false,
            is_raw: false,
            has_savepoints: false,
            prepared: Vec::new(),
            permanent: PermanentChanges::none(seen),
        })
    }

    pub(super) fn commit(&mut self) -> Commit {
        self.permanent.read(self.connection);
        match run(self.connection, "release savepoint poolwarden; commit") {
            Ok(()) => Commit::Done,
            Err(Error::MySqlError(error)) if error.code == NO_SUCH_SAVEPOINT => Commit::Over,
            Err(error) => {
                let fault = fault::fault(&error);
                match (fault.retry_safety(), fault.class()) {
                    // The server does not report how far a cancelled COMMIT had come.
                    (RetrySafety::OutcomeUnknown, _) | (_, FaultClass::Cancelled) => {
                        Commit::Unknown(error)
                    }
                    _ => {
                        self.failure = Some(AbortedTransaction::new(&error, fault));
                        Commit::Refused(error)
                    }
                }
            }
        }
    }

    /// Rolls it back, and finds out whether changes stand all the same.
    pub(super) fn roll_back(&mut self) -> mysql::Result<()> {
        // Of a transaction that has ended already, only its end has reported them.
        let before = self.failure.is_some() && nontransactional::are_reported(self.connection)?;
        self.keeps_changes = nontransactional::roll_back(self.connection)? || before;
        if self.keeps_changes {
            self.permanent.note();
        }
        Ok(())
    }

    /// Returns `true` if changes stand that its rollback did not undo.
    pub(super) fn keeps_changes(&self) -> bool {
        self.keeps_changes
    }

    /// Returns `true` if changes may stand that no rollback undoes, after the connection was
    /// lost.
    pub(super) fn may_keep_changes(&self) -> bool {
        self.permanent.may_stand()
    }

    /// Returns what ended it, or lost its connection, as far as it was seen.
    pub(super) fn failure(&self) -> Option<&AbortedTransaction> {
        self.failure.as_ref()
    }

    /// Returns `true` if a part of it may be committed.
    pub(super) fn may_stand(&self) -> bool {
        self.may_stand || self.is_unchecked
    }

    /// Records whether its connection was found to be closed; returns `true` if nothing else
    /// had ended it.
    pub(super) fn record_loss(&mut self, is_lost: bool) -> bool {
        let is_first = is_lost && self.failure.is_none();
        if is_first {
            let lost = io::Error::from(io::ErrorKind::BrokenPipe);
            self.note(&Error::IoError(lost));
        }
        is_first
    }

    /// As `check`, also for what the closure did with the driver's connection itself.
    pub(super) fn check_all(&mut self) {
        self.is_unchecked |= self.is_raw;
        self.check();
    }

    /// Asks the server, if need be, whether a statement has ended the transaction.
    fn check(&mut self) {
        self.permanent.read(self.connection);
        if !self.is_unchecked || self.failure.is_some() {
            return;
        }
        if self.has_savepoints {
            // Only the commit can find out.
            (self.is_unchecked, self.may_stand) = (false, true);
            return;
        }
        match run(self.connection, "release savepoint poolwarden; savepoint poolwarden") {
            Ok(()) => self.is_unchecked = false,
            Err(Error::MySqlError(error)) if error.code == NO_SUCH_SAVEPOINT => {
                self.is_unchecked = false;
                self.ended_by(Ending::Possible);
            }
            Err(error) => self.note(&error),
        }
    }

    /// Returns an error if no further statement may be sent.
    fn admit(&mut self) -> mysql::Result<()> {
        self.check();
        match &self.failure {
            Some(failure) => Err(failure.refusal()),
            None => Ok(()),
        }
    }

    /// Records what a statement that was carried out does to the transaction.
    fn ran(&mut self, ending: Ending) {
        match ending {
            Ending::Never => {}
            Ending::Possible => self.is_unchecked = true,
            Ending::Commit | Ending::Rollback => self.ended_by(ending),
        }
    }

    fn ended_by(&mut self, ending: Ending) {
        let (cause, safety) = match ending {
            Ending::Rollback => ("rolled it back", RetrySafety::Permanent),
            _ => ("committed it", RetrySafety::OutcomeUnknown),
        };
        self.may_stand |= ending != Ending::Rollback;
        let fault = Fault::new(FaultClass::Usage, Usability::Usable, safety);
        let cause = format!("a statement of the closure {cause}");
        self.failure.get_or_insert_with(|| AbortedTransaction::by(cause, fault));
    }

    fn note(&mut self, error: &Error) {
        note(&mut self.failure, error);
    }

    /// Records the outcome of a statement. One that fails may have ended the transaction
    /// as well: an implicit commit comes before the statement, and a procedure may have
    /// committed before its error.
    fn record(&mut self, known: Known, outcome: mysql::Result<Reply>) -> mysql::Result<()> {
        let Known { ending, writes } = known;
        if let Err(error) = &outcome {
            self.note(error);
        }
        self.permanent.read(self.connection);
        match outcome {
            _ if !writes => {}
            Ok(Reply::Done) => self.permanent.note_told(),
            _ => self.permanent.note_untold(),
        }
        if outcome.is_ok() || ending == Ending::Possible {
            self.ran(ending);
        } else if ending == Ending::Commit {
            self.may_stand = true;
            self.is_unchecked = true;
        }
        outcome.map(drop)
    }

    /// Records a statement whose reply the caller will read.
    fn sent(&mut self, known: Known) {
        // What the reply has yet to bring may fail, and end the transaction as well.
        self.ran(known.ending);
        if known.writes {
            self.permanent.note_untold();
        }
    }
}

fn note(failure: &mut Option<AbortedTransaction>, error: &Error) {
    let fault = fault::fault(error);
    let is_over = fault::rolls_back_all(error) || fault.connection() == Usability::Broken;
    if is_over && failure.is_none() {
        *failure = Some(AbortedTransaction::new(error, fault));
    }
}

/// Reads everything; passes the rows of the first set to `each`.
fn read<P: Protocol>(
    mut result: QueryResult<'_, '_, '_, P>,
    mut each: impl FnMut(Row),
) -> mysql::Result<Reply> {
    let mut is_first = true;
    let mut reply = if result.columns().as_ref().is_empty() { Reply::Done } else { Reply::Other };
    while let Some(rows) = result.iter() {
        for row in rows {
            let row = row?;
            if is_first {
                each(row);
            }
        }
        if !is_first {
            reply = Reply::Other;
        }
        is_first = false;
    }
    Ok(reply)
}

impl Queryable for MySqlTransaction<'_> {
    fn query_iter<Q: AsRef<str>>(
        &mut self,
        query: Q,
    ) -> mysql::Result<QueryResult<'_, '_, '_, Text>> {
        let known = self.begin_text(query.as_ref())?;
        self.sent(known);
        let failure = &mut self.failure;
        self.connection.query_iter(query).inspect_err(|error| note(failure, error))
    }

    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> mysql::Result<Statement> {
        self.admit()?;
        let prepared = self.connection.prep(query.as_ref());
        let statement = prepared.inspect_err(|error| note(&mut self.failure, error))?;
        self.sees_savepoints(query.as_ref());
        if self.prepared.iter().all(|one| one.id != statement.id()) {
            self.prepared.push(Prepared { id: statement.id(), known: Known::of(query.as_ref()) });
        }
        Ok(statement)
    }

    fn close(&mut self, statement: Statement) -> mysql::Result<()> {
        self.admit()?;
        self.prepared.retain(|one| one.id != statement.id());
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
        let (statement, known) = self.begin_prepared(statement)?;
        let params = params.into();
        self.check_length(&params)?;
        self.sent(known);
        let failure = &mut self.failure;
        self.connection.exec_iter(statement, params).inspect_err(|error| note(failure, error))
    }

    fn exec_batch<S, P, I>(&mut self, statement: S, params: I) -> mysql::Result<()>
    where
        Self: Sized,
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        let (statement, known) = self.begin_prepared(statement)?;
        let outcome = self.connection.exec_batch(statement, params);
        // Of several replies only the last one is left.
        self.record(known, outcome.map(|()| Reply::Other))
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
    /// Admits a text; returns what it does to the transaction.
    fn begin_text(&mut self, sql: &str) -> mysql::Result<Known> {
        self.admit()?;
        self.sees_savepoints(sql);
        Ok(Known::of(sql))
    }

    /// Admits a prepared statement; one that was prepared elsewhere may do anything.
    fn begin_prepared(&mut self, statement: impl AsStatement) -> mysql::Result<(Statement, Known)> {
        self.admit()?;
        let statement = statement.as_statement(self)?.into_owned();
        let prepared = self.prepared.iter().find(|one| one.id == statement.id());
        let known = prepared.map_or(Known::NOTHING, |one| one.known);
        Ok((statement, known))
    }

    /// Refuses what the server would end the session for, without an end of the transaction.
    fn check_length(&mut self, params: &Params) -> mysql::Result<()> {
        let failure = &mut self.failure;
        long_data::check(self.connection, params).inspect_err(|error| note(failure, error))
    }

    fn sees_savepoints(&mut self, sql: &str) {
        self.has_savepoints |= effect::has_word(sql, &["savepoint"]);
    }

    fn text(&mut self, sql: &str, each: impl FnMut(Row)) -> mysql::Result<()> {
        let known = self.begin_text(sql)?;
        let outcome = self.connection.query_iter(sql).and_then(|result| read(result, each));
        self.record(known, outcome)
    }

    fn prepared(
        &mut self,
        statement: impl AsStatement,
        params: Params,
        each: impl FnMut(Row),
    ) -> mysql::Result<()> {
        let (statement, known) = self.begin_prepared(statement)?;
        self.check_length(&params)?;
        let result = self.connection.exec_iter(statement, params);
        let outcome = result.and_then(|result| read(result, each));
        self.record(known, outcome)
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
        self.is_raw = true;
        self.permanent.note_untold();
        self.connection
    }
}

impl fmt::Debug for MySqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the driver's Debug: it prints the password.
        f.debug_struct("MySqlTransaction")
            .field("is_over", &self.failure.is_some())
            .finish_non_exhaustive()
    }
}
