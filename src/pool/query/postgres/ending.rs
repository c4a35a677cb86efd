//! The end of a PostgreSQL transaction, and what its failure means.

use super::early_end;
use crate::config::IsolationLevel;
use crate::driver::postgres::{ConnectionState, EarlyEnd, Postgres, TransactionWatch};
use crate::error::{Error, Fault, FaultClass, RetrySafety, Usability, fault};
use crate::observe::{CloseReason, ServerMessage};
use crate::pool::guard::PooledConnection;
use crate::pool::query::closure_end::ClosureEnd;
use crate::pool::query::common;
use crate::pool::query::finished::Finished;
use crate::pool::query::rollback::Rollback;
use crate::pool::query::transaction_options::TransactionOptions;
use crate::pool::query::transactional::Transactional;
use postgres::error::SqlState;
use postgres::{Client, Transaction};
use std::any::Any;

type Conn = PooledConnection<Postgres>;

impl Transactional for Postgres {
    type Transaction<'a> = Transaction<'a>;

    const WITHOUT_DEFERRABLE: Option<&'static str> = None;

    fn transact<T>(
        connection: &mut Conn,
        options: &TransactionOptions,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Finished<T> {
        match run(connection, options, work) {
            Ended::NotStarted(error) => {
                let message = final_message(connection);
                let error = failed("the transaction could not begin", error, message.as_ref());
                Finished::not_started(error, None)
            }
            Ended::Early(early, failure) => ended_early(connection, early, failure),
            Ended::Lost => closure_failed(connection, common::uncommitted(), true),
            Ended::Failed(error) => closure_failed(connection, error, false),
            Ended::Panicked(payload) => Finished::panicked(payload, roll_back(connection)),
            Ended::Committed(value) => Finished::done(value),
            Ended::NotCommitted(error) => commit_failed(connection, error),
        }
    }
}

/// How a transaction ended, as far as the driver and the protocol show.
enum Ended<T> {
    NotStarted(postgres::Error),
    /// By a statement of the closure, which may have failed afterwards.
    Early(EarlyEnd, Option<Error>),
    /// With its connection, before COMMIT was sent.
    Lost,
    Failed(Error),
    Panicked(Box<dyn Any + Send>),
    Committed(T),
    NotCommitted(postgres::Error),
}

/// Begins, runs the closure, and commits if it succeeds.
fn run<T>(
    connection: &mut Conn,
    options: &TransactionOptions,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Ended<T> {
    let state = state_of(connection);
    let socket = state.and_then(ConnectionState::socket);
    let watch = state.map(ConnectionState::transaction_watch);
    let mut transaction = match begin(connection, options) {
        Ok(transaction) => transaction,
        Err(error) => return Ended::NotStarted(error),
    };
    watch.iter().for_each(TransactionWatch::begin);
    let end = ClosureEnd::of(|| work(&mut transaction));
    let early = watch.as_ref().and_then(TransactionWatch::end);
    // COMMIT has not been sent: if the peer has closed the connection, nothing is committed,
    // and that is certain.
    let is_lost = || socket.is_some_and(|socket| socket.is_ended_by_peer());
    let ended = match (end, early) {
        (ClosureEnd::Panicked(payload), _) => Ended::Panicked(payload),
        (ClosureEnd::Returned(_), Some(early)) => Ended::Early(early, None),
        (ClosureEnd::Failed(error), Some(early)) => Ended::Early(early, Some(error)),
        (ClosureEnd::Failed(error), None) => Ended::Failed(error),
        (ClosureEnd::Returned(_), None) if is_lost() => Ended::Lost,
        (ClosureEnd::Returned(value), None) => {
            commit(&mut transaction).map_or_else(Ended::NotCommitted, |()| Ended::Committed(value))
        }
    };
    // Its drop would end the transaction a second time, without a bound; it owns nothing
    // else.
    std::mem::forget(transaction);
    ended
}

fn begin<'a>(
    client: &'a mut Client,
    options: &TransactionOptions,
) -> Result<Transaction<'a>, postgres::Error> {
    let mut builder = client.build_transaction();
    if let Some(level) = options.isolation_level {
        builder = builder.isolation_level(match level {
            IsolationLevel::ReadUncommitted => postgres::IsolationLevel::ReadUncommitted,
            IsolationLevel::ReadCommitted => postgres::IsolationLevel::ReadCommitted,
            IsolationLevel::RepeatableRead => postgres::IsolationLevel::RepeatableRead,
            IsolationLevel::Serializable => postgres::IsolationLevel::Serializable,
        });
    }
    // What is not set is the server's default, which may be read-only.
    if options.read_only {
        builder = builder.read_only(true);
    }
    if options.deferrable {
        builder = builder.deferrable(true);
    }
    builder.start()
}

/// Handles a transaction that a statement of its closure has ended.
fn ended_early<T>(connection: &mut Conn, early: EarlyEnd, failure: Option<Error>) -> Finished<T> {
    let error = early_end::error(&common::identity(connection).pool, early, failure);
    let state = state_of(connection);
    let is_open = state.and_then(ConnectionState::is_in_transaction) == Some(true);
    let close = match connection.is_closed() {
        // A later statement was refused.
        true => Some(CloseReason::Dirty),
        false if is_open => roll_back(connection),
        false => None,
    };
    Finished::failed(error, close)
}

/// Handles a failed commit. After an error that leaves the session alive the server has
/// rolled back; after any other the outcome is unknown.
fn commit_failed<T>(connection: &mut Conn, error: postgres::Error) -> Finished<T> {
    let is_told =
        error.as_db_error().is_some_and(|error| fault::postgres::severity(error) == "ERROR");
    let message = final_message(connection);
    if error.code() == Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION) {
        let error = Error::driver("nothing was left to commit", error)
            .may_stand(&common::identity(connection).pool, common::ENDED_EARLY);
        return Finished::failed(error, None);
    }
    if is_told {
        let error = failed("the transaction was rolled back at its commit", error, None);
        let error = with_first_failure(connection, error);
        return Finished::failed(error, roll_back(connection));
    }
    let error = failed("COMMIT failed", error, message.as_ref());
    let error = error.into_unknown(common::identity(connection), "during COMMIT");
    let is_gone = error.fault().connection() == Usability::Broken;
    Finished::failed(error, (!is_gone).then_some(CloseReason::Broken))
}

/// Handles a closure that failed, or a connection that is known to be lost: nothing that
/// was done on it stands.
fn closure_failed<T>(connection: &mut Conn, error: Error, is_lost: bool) -> Finished<T> {
    let message = final_message(connection);
    let message =
        message.or_else(|| connection.lease().managed().lost().message.filter(|_| is_lost));
    if !is_lost && !connection.is_closed() && message.is_none() {
        let error = with_first_failure(connection, error);
        return Finished::failed(error, roll_back(connection));
    }
    // Lost before COMMIT was sent: the server rolls back what it was not told to commit.
    let fault = message.as_ref().map_or(error.fault(), said);
    let fault = fault.with_connection(Usability::Broken);
    let state = state_of(connection);
    let error = if fault.retry_safety() == RetrySafety::Permanent {
        error
    } else if state.is_some_and(ConnectionState::has_left_transaction) {
        error.with_fault(fault).into_unknown(common::identity(connection), "after a COMMIT")
    } else {
        let why = message.map_or("the connection was lost".into(), |message| message.to_string());
        error.explained(&why, fault.with_retry_safety(RetrySafety::RolledBack))
    };
    let is_told = error.fault().connection() == Usability::Broken;
    Finished::failed(error, (!is_told).then_some(CloseReason::Broken))
}

/// Adds what failed the transaction first, where the error says only that it had failed.
fn with_first_failure(connection: &Conn, error: Error) -> Error {
    if error.fault().class() != FaultClass::TransactionAborted {
        return error;
    }
    let first = state_of(connection).and_then(ConnectionState::first_failure);
    let Some(first) = first else { return error };
    let fault = fault::postgres::by_code("ERROR", &first.code, &first.text);
    error.explained(&format!("it failed earlier: {first}"), fault)
}

fn said(message: &ServerMessage) -> Fault {
    fault::postgres::by_code("FATAL", &message.code, &message.text)
}

/// Commits in one round trip, and only a transaction that is open and has not failed.
///
/// The server answers COMMIT of a failed transaction by ROLLBACK and no error, so a plain
/// commit would report a success that never happened; where no transaction is open, it
/// answers COMMIT by a warning. SAVEPOINT fails in both cases, and the server then ignores
/// the rest of the message.
fn commit(transaction: &mut Transaction<'_>) -> Result<(), postgres::Error> {
    transaction.batch_execute("savepoint poolwarden; commit")
}

/// Rolls back; returns why the connection must be closed if that did not work.
fn roll_back(connection: &mut Conn) -> Option<CloseReason> {
    Rollback::on(connection).run(|| connection.batch_execute("rollback"))
}

/// Returns the error with which the server ended the session: the driver loses it in
/// some terminations, our stream does not.
pub(super) fn final_message(connection: &Conn) -> Option<ServerMessage> {
    state_of(connection)?.fatal()
}

/// Returns what the driver keeps beside the connection, until that is closed.
fn state_of(connection: &PooledConnection<Postgres>) -> Option<&ConnectionState> {
    connection.lease().managed().session().map(|(_, state)| state)
}

pub(super) fn failed(what: &str, error: postgres::Error, message: Option<&ServerMessage>) -> Error {
    let is_lost = error.code().is_none();
    let failed = Error::driver(what, error);
    match message.filter(|_| is_lost) {
        Some(message) => {
            failed.explained(&format!("the server ended it: {message}"), said(message))
        }
        None => failed,
    }
}
