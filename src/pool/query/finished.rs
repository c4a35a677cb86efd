//! What a transaction leaves behind.

use super::common;
use super::common::BorrowTimeout;
use crate::connection::Stopped;
use crate::driver::Driver;
use crate::error::{Error, RetrySafety};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use std::any::Any;
use std::panic::resume_unwind;
use std::sync::Arc;

/// What a transaction leaves behind.
#[derive(Debug)]
pub struct Finished<T> {
    /// The closure's result, or the panic to go on with.
    outcome: Result<Result<T, Error>, Box<dyn Any + Send>>,
    /// Why the connection must be closed, if it is not clean.
    close: Option<CloseReason>,
}

impl<T> Finished<T> {
    pub(super) fn done(value: T) -> Finished<T> {
        Finished { outcome: Ok(Ok(value)), close: None }
    }

    pub(super) fn failed(error: Error, close: Option<CloseReason>) -> Finished<T> {
        Finished { outcome: Ok(Err(error)), close }
    }

    pub(super) fn panicked(
        payload: Box<dyn Any + Send>,
        close: Option<CloseReason>,
    ) -> Finished<T> {
        Finished { outcome: Err(payload), close }
    }

    /// Returns what a transaction leaves that could not begin: nothing of its work was sent.
    pub(super) fn not_started(error: Error, close: Option<CloseReason>) -> Finished<T> {
        let fault = error.fault();
        let error = match fault.retry_safety() {
            RetrySafety::Permanent => error,
            _ => error.with_fault(fault.with_retry_safety(RetrySafety::NothingSent)),
        };
        Finished::failed(error, close)
    }

    /// Returns it for a connection that must be closed, if there is a reason.
    #[cfg(feature = "sqlite")]
    pub(super) fn closing(self, close: Option<CloseReason>) -> Finished<T> {
        Finished { close, ..self }
    }

    /// Returns `true` if the connection is as it was before the transaction.
    pub(super) fn is_clean(&self) -> bool {
        self.close.is_none()
    }

    /// Checks the connection in or closes it, then returns the result or resumes the panic.
    pub(super) fn settle<D: Driver>(self, connection: PooledConnection<D>) -> Result<T, Error> {
        let id = PooledConnection::id(&connection);
        let shared = Arc::clone(connection.lease().shared());
        let stopped = BorrowTimeout::of(&connection).end();
        match (stopped, self.close, &self.outcome) {
            (Some(Stopped::ShutDown(_)), ..) => {
                PooledConnection::abandon(connection, CloseReason::StatementTimeout);
            }
            (_, Some(reason), _) => PooledConnection::abandon(connection, reason),
            (_, None, Ok(Err(error))) => common::check_in(connection, error.fault()),
            (_, None, _) => drop(connection),
        }
        let outcome = self.outcome.unwrap_or_else(|payload| resume_unwind(payload));
        outcome.map_err(|error| {
            let what = "the transaction was rolled back: it";
            common::blame_timeout(error, id, stopped, what).in_pool(shared.name())
        })
    }
}
