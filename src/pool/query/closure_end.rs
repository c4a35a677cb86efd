//! How the closure of a transaction ended.

use crate::error::Error;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How the closure of a transaction ended.
pub(super) enum ClosureEnd<T> {
    Returned(T),
    Failed(Error),
    Panicked(Box<dyn Any + Send>),
}

impl<T> ClosureEnd<T> {
    /// Runs the closure. A panic is held until the connection is safe.
    pub(super) fn of(work: impl FnOnce() -> Result<T, Error>) -> ClosureEnd<T> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(value)) => ClosureEnd::Returned(value),
            Ok(Err(error)) => ClosureEnd::Failed(error),
            Err(payload) => ClosureEnd::Panicked(payload),
        }
    }
}
