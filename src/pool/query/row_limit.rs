//! The bounds on materialized rows: two counters, no memory of their own.

use crate::config::Config;
use crate::error::{Error, ErrorKind};
use crate::observe::CloseReason;

/// Counts the rows of one query and their bytes, and refuses what is too much.
#[derive(Debug)]
pub(super) struct RowLimit {
    rows: Option<usize>,
    bytes: Option<usize>,
    seen: usize,
    received: usize,
}

impl RowLimit {
    pub(super) fn new(config: &Config) -> RowLimit {
        RowLimit { rows: config.row_limit, bytes: config.byte_limit, seen: 0, received: 0 }
    }

    /// Counts a row of this size.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RowLimit`] for the first row beyond the limit, and
    /// [`ErrorKind::ByteLimit`] for the one that makes the bytes too many.
    pub(super) fn admit(&mut self, bytes: usize) -> Result<(), Error> {
        self.seen += 1;
        self.received = self.received.saturating_add(bytes);
        match (self.rows, self.bytes) {
            (Some(limit), _) if self.seen > limit => Err(Error::new(
                ErrorKind::RowLimit,
                format!(
                    "the query returned more than {limit} rows (row_limit), and the pool stopped \
                     reading: add a LIMIT, raise row_limit, or check out a connection and read \
                     the rows as they arrive"
                ),
            )),
            (_, Some(limit)) if self.received > limit => Err(too_many_bytes(limit)),
            _ => Ok(()),
        }
    }
}

pub(super) fn too_many_bytes(limit: usize) -> Error {
    let text = format!(
        "the query returned more than {limit} bytes (byte_limit), and the pool stopped reading: \
         select less, raise byte_limit, or check out a connection and read the rows as they arrive"
    );
    Error::new(ErrorKind::ByteLimit, text)
}

/// Returns the reason to close a connection whose query exceeded a limit.
pub(super) fn close_reason(error: &Error) -> CloseReason {
    match error.kind() {
        ErrorKind::ByteLimit => CloseReason::ByteLimit,
        _ => CloseReason::RowLimit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(row_limit: Option<usize>, byte_limit: Option<usize>) -> RowLimit {
        RowLimit::new(&Config { row_limit, byte_limit, ..Config::default() })
    }

    #[test]
    fn as_many_rows_as_the_limit_pass_and_the_next_one_does_not() {
        let mut count = limits(Some(3), None);
        assert!((0..3).all(|_| count.admit(1).is_ok()));
        assert_eq!(count.admit(1).expect_err("a fourth row").kind(), ErrorKind::RowLimit);
    }

    #[test]
    fn as_many_bytes_as_the_limit_pass_and_the_next_one_does_not() {
        let mut count = limits(None, Some(10));
        assert!(count.admit(9).is_ok() && count.admit(1).is_ok() && count.admit(0).is_ok());
        assert_eq!(count.admit(1).expect_err("an eleventh byte").kind(), ErrorKind::ByteLimit);
    }

    #[test]
    fn no_limit_admits_all() {
        let mut count = limits(None, None);
        assert!((0..10_000).all(|_| count.admit(usize::MAX).is_ok()));
    }
}
