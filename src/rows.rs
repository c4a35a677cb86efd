//! The bound on materialized rows: one counter, no memory of its own.

use crate::error::{Error, ErrorKind};

/// Counts the rows of one query and refuses the first one too many.
#[derive(Debug)]
pub(crate) struct RowCount {
    limit: Option<usize>,
    seen: usize,
}

impl RowCount {
    pub(crate) fn new(limit: Option<usize>) -> RowCount {
        RowCount { limit, seen: 0 }
    }

    /// Counts one more row.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::RowLimit`] for the first row beyond the limit.
    pub(crate) fn admit(&mut self) -> Result<(), Error> {
        self.seen += 1;
        match self.limit {
            Some(limit) if self.seen > limit => Err(Error::new(
                ErrorKind::RowLimit,
                format!(
                    "the query returned more than {limit} rows (row_limit); it was stopped and \
                     its connection closed: add a LIMIT, raise row_limit, or check out a \
                     connection and read the rows as they come"
                ),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_as_the_limit_pass_and_the_next_one_does_not() {
        let mut count = RowCount::new(Some(3));
        assert!((0..3).all(|_| count.admit().is_ok()));
        assert_eq!(count.admit().expect_err("a fourth row").kind(), ErrorKind::RowLimit);
    }

    #[test]
    fn no_limit_admits_all() {
        let mut count = RowCount::new(None);
        assert!((0..10_000).all(|_| count.admit().is_ok()));
    }
}
