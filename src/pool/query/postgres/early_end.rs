//! The errors of a transaction that a statement of its own closure has ended.

use crate::driver::postgres::{EarlyEnd, TransactionEnd};
use crate::error::{Error, ErrorKind, Fault, FaultClass, RetrySafety, Usability};

/// Returns the error of a closure that has ended its transaction; it says what stands.
///
/// A closure that has rolled back and then fails has done what it meant to do: its own
/// error is returned.
pub(super) fn error(pool: &str, early: EarlyEnd, failure: Option<Error>) -> Error {
    let is_undone = early.by == TransactionEnd::RolledBack && !early.went_on;
    let (kind, retry) = match (is_undone, failure) {
        (true, Some(failure)) => return failure,
        (true, None) => (ErrorKind::Driver, RetrySafety::Permanent),
        (false, failure) => return stands(pool, early, failure),
    };
    Error::new(kind, text(pool, early)).with_fault(fault(retry))
}

fn stands(pool: &str, early: EarlyEnd, failure: Option<Error>) -> Error {
    let unknown = RetrySafety::OutcomeUnknown;
    let text = text(pool, early);
    match failure {
        None => Error::new(ErrorKind::OutcomeUnknown, text),
        Some(failure) => {
            let text = format!("{text}; the closure then failed");
            Error::new(ErrorKind::OutcomeUnknown, text).with_source(failure)
        }
    }
    .with_fault(fault(unknown))
}

fn fault(retry: RetrySafety) -> Fault {
    Fault::new(FaultClass::Usage, Usability::Usable, retry)
}

fn text(pool: &str, early: EarlyEnd) -> String {
    let (by, what) = match early.by {
        TransactionEnd::Committed => ("COMMIT", "what it did before that is committed"),
        TransactionEnd::RolledBack => ("ROLLBACK", "what it did before that is rolled back"),
        TransactionEnd::Prepared => (
            "PREPARE TRANSACTION",
            "what it did before that waits for COMMIT PREPARED or ROLLBACK PREPARED",
        ),
        TransactionEnd::Unclear => {
            ("several statements in one text", "a part of what it did may be committed")
        }
    };
    let behind =
        if early.went_on { ", statements behind it in the same text may be, too" } else { "" };
    format!(
        "pool {pool}: the closure ended its own transaction by {by}: {what}{behind}; later \
         statements were not sent"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_text_that_says_what_stands() {
        use TransactionEnd::{Committed, Prepared, RolledBack, Unclear};
        let table = [
            (Committed, false, ErrorKind::OutcomeUnknown, "is committed;"),
            (Committed, true, ErrorKind::OutcomeUnknown, "is committed, statements behind"),
            (RolledBack, false, ErrorKind::Driver, "is rolled back;"),
            (RolledBack, true, ErrorKind::OutcomeUnknown, "is rolled back, statements behind"),
            (Prepared, false, ErrorKind::OutcomeUnknown, "waits for COMMIT PREPARED"),
            (Unclear, false, ErrorKind::OutcomeUnknown, "a part of what it did"),
        ];
        for (by, went_on, kind, part) in table {
            let error = error("p", EarlyEnd { by, went_on }, None);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn a_closure_that_rolls_back_and_fails_gets_its_own_error() {
        let early = EarlyEnd { by: TransactionEnd::RolledBack, went_on: false };
        let own = error("p", early, Some(Error::caller("no")));
        assert_eq!(own.kind(), ErrorKind::Caller);
        let early = EarlyEnd { by: TransactionEnd::Committed, went_on: false };
        let unknown = error("p", early, Some(Error::caller("no")));
        assert_eq!(unknown.fault().retry_safety(), RetrySafety::OutcomeUnknown);
        assert!(std::error::Error::source(&unknown).is_some(), "the closure's own error");
    }
}
