//! Closures that fail with an error type of their caller's.

use super::finished::Finished;
use crate::error::{BoxError, Error, ErrorKind, Fault};

/// Keeps the error of a closure while the pool ends its transaction, and decides what the
/// caller gets: the pool's verdict takes precedence.
pub(super) struct OwnError<E> {
    error: Option<E>,
    /// The rollback was not confirmed.
    is_unconfirmed: bool,
}

impl<E: From<Error> + Into<BoxError>> OwnError<E> {
    pub(super) fn new() -> OwnError<E> {
        OwnError { error: None, is_unconfirmed: false }
    }

    /// Forgets the error of an earlier attempt.
    pub(super) fn forget(&mut self) {
        *self = OwnError::new();
    }

    /// Keeps the closure's error, and returns one of the pool's with this fault in its
    /// place.
    pub(super) fn keep<T>(
        &mut self,
        outcome: Result<T, E>,
        classify: impl FnOnce(&E) -> Fault,
    ) -> Result<T, Error> {
        outcome.map_err(|own| {
            let stand_in = Error::new(ErrorKind::Caller, "caller's error");
            let stand_in = stand_in.with_fault(classify(&own));
            self.error = Some(own);
            stand_in
        })
    }

    /// Records how the transaction ended.
    pub(super) fn record<T>(&mut self, finished: &Finished<T>) {
        self.is_unconfirmed = !finished.is_clean();
    }

    /// Returns what the caller gets: its own error only if the pool has nothing to add.
    pub(super) fn returned<T>(self, pool: &str, outcome: Result<T, Error>) -> Result<T, E> {
        outcome.map_err(|error| match self.error {
            None => E::from(error),
            Some(own) if error.kind() != ErrorKind::Caller => E::from(error.with_source(own)),
            Some(own) if !self.is_unconfirmed => own,
            Some(own) => {
                let error = error.may_stand(pool, "the rollback was not confirmed");
                E::from(error.with_source(own))
            }
        })
    }
}
