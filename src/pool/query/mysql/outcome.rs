//! What became of a transaction on MySQL or MariaDB.

use super::nontransactional;
use super::transaction::{Commit, MySqlTransaction};
use crate::config::Reset;
use crate::driver::mysql::MySql;
use crate::error::{ConnectionIdentity, Error, ErrorKind, FaultClass, RetrySafety, Usability};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use crate::pool::query::closure_end::ClosureEnd;
use crate::pool::query::common;
use crate::pool::query::finished::Finished;
use crate::pool::query::rollback::Rollback;
use crate::pool::query::transaction_options::TransactionOptions;
use crate::pool::query::transactional::Transactional;
use std::sync::Arc;

impl Transactional for MySql {
    type Transaction<'a> = MySqlTransaction<'a>;

    const WITHOUT_DEFERRABLE: Option<&'static str> = Some("MySQL");

    fn transact<T>(
        connection: &mut PooledConnection<MySql>,
        options: &TransactionOptions,
        work: impl FnOnce(&mut MySqlTransaction<'_>) -> Result<T, Error>,
    ) -> Finished<T> {
        let (identity, rollback) = (common::identity(connection), Rollback::on(connection));
        let is_reset = connection.lease().shared().config().reset != Reset::None;
        let seen = Arc::clone(&connection.lease().shared().driver().seen_transactions);
        let mut transaction = match MySqlTransaction::begin(connection, options, is_reset, seen) {
            Ok(transaction) => transaction,
            Err(error) => {
                let error = Error::driver("the transaction could not begin", error);
                let close = (!is_gone(&error)).then_some(CloseReason::Dirty);
                return Finished::not_started(error, close);
            }
        };
        match ClosureEnd::of(|| work(&mut transaction)) {
            ClosureEnd::Returned(value) => {
                // COMMIT has not been sent: if the peer has closed the connection, nothing
                // is committed, and that is certain.
                match transaction.record_loss(rollback.is_ended_by_peer()) {
                    true if !transaction.may_stand() => {
                        closure_failed(transaction, common::uncommitted(), identity, &rollback)
                    }
                    _ => commit(transaction, value, identity, &rollback),
                }
            }
            ClosureEnd::Failed(error) => closure_failed(transaction, error, identity, &rollback),
            ClosureEnd::Panicked(payload) => {
                Finished::panicked(payload, rollback.run(|| transaction.roll_back()))
            }
        }
    }
}

/// Commits a transaction unless it has ended before.
fn commit<T>(
    mut transaction: MySqlTransaction<'_>,
    value: T,
    identity: ConnectionIdentity,
    rollback: &Rollback,
) -> Finished<T> {
    if let Some(failure) = transaction.failure() {
        let what = match transaction.may_stand() {
            true => "the transaction was not committed as a whole",
            false => "nothing was committed",
        };
        let error = Error::driver(what, failure.refusal());
        return closure_failed(transaction, error, identity, rollback);
    }
    let error = match transaction.commit() {
        Commit::Done => return Finished::done(value),
        Commit::Refused(error) => {
            let error = Error::driver("the transaction was rolled back at its commit", error);
            let is_gone = is_gone(&error);
            let close = if is_gone { None } else { rollback.run(|| transaction.roll_back()) };
            let error = match is_gone && transaction.may_keep_changes() {
                true => error.into_unknown(identity, nontransactional::WHEN_LOST),
                false => with_kept_changes(error, &transaction, &identity),
            };
            return Finished::failed(error, close);
        }
        // A statement that was not seen ended it, or an error was dropped unread.
        Commit::Over => Error::new(ErrorKind::Driver, "nothing after its end was committed")
            .with_connection(identity.clone())
            .may_stand(&identity.pool, "the transaction had ended before its COMMIT"),
        Commit::Unknown(error) => {
            Error::driver("COMMIT failed", error).into_unknown(identity, "during COMMIT")
        }
    };
    // Closing it rolls back a transaction that is open.
    let close = (!is_gone(&error)).then_some(CloseReason::Dirty);
    Finished::failed(error, close)
}

/// Returns the error of a transaction that was rolled back, which says what stands.
fn with_kept_changes(
    error: Error,
    transaction: &MySqlTransaction<'_>,
    identity: &ConnectionIdentity,
) -> Error {
    match transaction.keeps_changes() {
        true => error.may_stand(&identity.pool, nontransactional::STAND),
        false => error,
    }
}

/// Handles a closure that failed: nothing stands that no statement in it has committed, but
/// changes to tables without transactions.
fn closure_failed<T>(
    mut transaction: MySqlTransaction<'_>,
    error: Error,
    identity: ConnectionIdentity,
    rollback: &Rollback,
) -> Finished<T> {
    transaction.check_all();
    let failure = transaction.failure().cloned();
    let is_lost =
        failure.as_ref().is_some_and(|failure| failure.fault().connection() == Usability::Broken);
    let close = if is_lost { None } else { rollback.run(|| transaction.roll_back()) };
    let fault = match &failure {
        Some(failure) if error.fault().class() == FaultClass::TransactionAborted => failure.fault(),
        _ => error.fault(),
    };
    // The rollback was answered: no reply is half read, so the driver sent nothing.
    let fault = match (fault.class(), fault.connection(), close) {
        (FaultClass::Usage, Usability::Suspect, None) => {
            fault.with_connection(Usability::Usable).with_retry_safety(RetrySafety::Permanent)
        }
        _ => fault,
    };
    let error = match (fault.retry_safety(), is_lost) {
        (_, true) if transaction.may_stand() => {
            error.into_unknown(identity, "after a statement that may commit")
        }
        (_, true) if transaction.may_keep_changes() => {
            error.into_unknown(identity, nontransactional::WHEN_LOST)
        }
        (_, false) if transaction.may_stand() => {
            error.with_fault(fault).may_stand(&identity.pool, common::ENDED_EARLY)
        }
        // The server rolls back what it was not told to commit.
        (safety, true) if safety != RetrySafety::Permanent => {
            error.with_fault(fault.with_retry_safety(RetrySafety::RolledBack))
        }
        // The rollback was not answered.
        _ if close.is_some() && transaction.may_keep_changes() => {
            error.with_fault(fault).may_stand(&identity.pool, nontransactional::STAND)
        }
        _ => with_kept_changes(error.with_fault(fault), &transaction, &identity),
    };
    let close = if is_lost && !is_gone(&error) { Some(CloseReason::Broken) } else { close };
    Finished::failed(error, close)
}

fn is_gone(error: &Error) -> bool {
    error.fault().connection() == Usability::Broken
}
