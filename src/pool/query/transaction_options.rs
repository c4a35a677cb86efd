//! How a transaction begins.

use crate::config::IsolationLevel;
use crate::error::{Error, ErrorKind};

/// How a transaction begins; what is not set is the server's default.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionOptions {
    pub(super) isolation_level: Option<IsolationLevel>,
    pub(super) read_only: bool,
    pub(super) deferrable: bool,
}

impl TransactionOptions {
    /// Refuses `deferrable` for this database, if it has no deferrable transactions.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`].
    pub(super) fn check(&self, pool: &str, without_deferrable: Option<&str>) -> Result<(), Error> {
        let Some(database) = without_deferrable.filter(|_| self.deferrable) else { return Ok(()) };
        let text = format!(
            "pool {pool}: deferrable(true): {database} has no deferrable transactions; remove \
             this option"
        );
        Err(Error::new(ErrorKind::Config, text))
    }
}
