//! What it means that a lone statement of the pool's own methods failed, or that its
//! result cannot be returned.

use super::common;
use super::common::BorrowTimeout;
use super::effect::Effect;
use super::row_limit;
use crate::connection::Stopped;
use crate::driver::{Driver, Progress};
use crate::error::{Error, ErrorKind, Fault, FaultClass, RetrySafety, Usability};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use std::sync::Arc;

/// A statement that the pool runs outside of a transaction of its own.
pub(super) struct LoneStatement<'a> {
    pub(super) sql: &'a str,
    /// How far the work on its connection had come before it.
    pub(super) before: Option<Progress>,
    /// Returns whether a part of it may be committed although it fails, as far as its text
    /// shows. Where the driver shows commits, it must have shown one as well.
    pub(super) commits_parts: &'a dyn Fn(&str) -> bool,
}

/// Why a statement has no result to return.
pub(super) enum Stop {
    Failed(Error),
    /// The pool stopped reading; rows may still arrive.
    Limit(Error),
}

impl LoneStatement<'_> {
    /// Checks the connection in, or closes it if rows may still arrive.
    ///
    /// After a statement that was carried out, `confirm` checks the connection in; it fails
    /// unless what was done is committed.
    pub(super) fn settle<D: Driver, T>(
        &self,
        connection: PooledConnection<D>,
        outcome: Result<T, Stop>,
        confirm: impl FnOnce(PooledConnection<D>) -> Result<(), Error>,
    ) -> Result<T, Error> {
        match outcome {
            Ok(value) => confirm(connection).map(|()| value),
            Err(Stop::Failed(error)) => Err(self.failed(connection, error)),
            Err(Stop::Limit(error)) => {
                let shared = Arc::clone(connection.lease().shared());
                PooledConnection::abandon(connection, row_limit::close_reason(&error));
                Err(unusable_result(shared.name(), Effect::of(self.sql), error))
            }
        }
    }

    /// Returns whether nothing of the statement was sent, and whether a part of it may be
    /// committed.
    fn progress(&self, after: Option<Progress>) -> (bool, bool) {
        match (self.before, after) {
            (Some(before), Some(after)) => {
                let has_committed = before.committed != after.committed;
                (before.sent == after.sent, has_committed && self.may_commit_parts())
            }
            _ => (false, self.may_commit_parts()),
        }
    }

    fn may_commit_parts(&self) -> bool {
        (self.commits_parts)(self.sql)
    }

    /// Checks the connection in after the statement failed, and returns the error with
    /// what the failure means for the work.
    fn failed<D: Driver>(&self, mut connection: PooledConnection<D>, error: Error) -> Error {
        let fault = common::examine(&mut connection, error.fault());
        let error = if fault == error.fault() { error } else { error.with_fault(fault) };
        let (is_unsent, has_committed) = self.progress(common::progress(&connection));
        let identity = common::identity(&connection);
        let stopped = BorrowTimeout::of(&connection).end();
        match stopped {
            Some(Stopped::ShutDown(_)) => {
                PooledConnection::abandon(connection, CloseReason::StatementTimeout);
            }
            _ => common::check_in(connection, fault),
        }
        let error = common::blame_timeout(error, identity.number, stopped, "the statement");
        let error = error.in_pool(&identity.pool);
        let is_lost = fault.connection() == Usability::Broken
            && fault.retry_safety() == RetrySafety::OutcomeUnknown;
        match error.kind() {
            ErrorKind::Driver if is_lost && is_unsent => {
                // The connection was lost before the statement could be sent.
                error.with_fault(fault.with_retry_safety(RetrySafety::NothingSent))
            }
            ErrorKind::Driver if is_lost && Effect::of(self.sql) == Effect::Reads => error,
            ErrorKind::Driver if is_lost => {
                error.into_unknown(identity, "in the middle of a statement")
            }
            ErrorKind::Driver
            | ErrorKind::RowLimit
            | ErrorKind::ByteLimit
            | ErrorKind::StatementTimeout
                if has_committed =>
            {
                error.may_stand(&identity.pool, "a part of the statement may have been committed")
            }
            _ => error,
        }
    }
}

/// Returns the error of a statement that the server has carried out, although the pool
/// cannot return its result.
pub(super) fn unusable_result(pool: &str, effect: Effect, error: Error) -> Error {
    let error = error.in_pool(pool);
    match effect {
        Effect::Reads => error,
        Effect::Calls => {
            let fault = error.fault().with_retry_safety(RetrySafety::OutcomeUnknown);
            error.explained("functions that it called may have taken effect", fault)
        }
        Effect::Writes => error.may_stand(pool, "the statement may have taken effect"),
    }
}

/// What the pool was doing when it could not find out whether a statement is committed.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) const UNCERTAIN: &str = "the statement was done, but its commit is not certain";

/// Checks a connection in that was lost between a statement and the proof that it is
/// committed; returns the error of the statement.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn uncertain<D: Driver>(connection: PooledConnection<D>, error: Error) -> Error {
    let identity = common::identity(&connection);
    common::check_in(connection, error.fault());
    error.into_unknown(identity, "after a statement, before its commit was certain")
}

/// Returns the error of work that left its session inside of a transaction, which
/// the check-in rolls back. Some poolers open a transaction by themselves.
pub(super) fn left_in_transaction(pool: &str, has_committed: bool) -> Error {
    let text = "the session was left inside a transaction, which the pool rolls back: commit it, \
                or use Pool::transaction";
    let fault = Fault::new(FaultClass::Usage, Usability::Usable, RetrySafety::RolledBack);
    if has_committed {
        Error::new(ErrorKind::Driver, text)
            .with_fault(fault)
            .may_stand(pool, "a part of the statement may have been committed")
    } else {
        Error::new(ErrorKind::Driver, text).in_pool(pool).with_fault(fault)
    }
}

/// The most parameters of a statement: both protocols count them in 16 bits.
const MAX_PARAMETERS: usize = u16::MAX as usize;

/// Refuses more parameters than the protocol can send.
///
/// # Errors
///
/// [`ErrorKind::Driver`] of the class [`FaultClass::Usage`].
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) fn check_parameters(pool: &str, count: usize) -> Result<(), Error> {
    if count <= MAX_PARAMETERS {
        return Ok(());
    }
    let text = format!(
        "the statement was not sent: it has {count} parameters, and the protocol \
         allows at most {MAX_PARAMETERS}"
    );
    let fault = Fault::new(FaultClass::Usage, Usability::Usable, RetrySafety::Permanent);
    Err(Error::new(ErrorKind::Driver, text).in_pool(pool).with_fault(fault))
}
