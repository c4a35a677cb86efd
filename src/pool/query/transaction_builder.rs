//! The builder of a transaction with options.

use super::transaction_options::TransactionOptions;
use crate::config::IsolationLevel;
use crate::driver::Driver;
use crate::pool::pool::Pool;
use crate::pool::retry_policy::RetryPolicy;
use std::fmt;

/// Builds a transaction with an isolation level, an access mode and a retry policy.
///
/// Returned by [`Pool::build_transaction`]; `run` and `try_run` run the closure.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{IsolationLevel, Pool, RetryPolicy, Sqlite};
///
/// let pool = Pool::builder().build(Sqlite::memory())?;
/// let four = pool
///     .build_transaction()
///     .isolation_level(IsolationLevel::Serializable)
///     .read_only(true)
///     .retry(RetryPolicy::web())
///     .run(|tx, _attempt| Ok(tx.query_row("select 2 + 2", [], |row| row.get::<_, i64>(0))?))?;
/// assert_eq!(four, 4);
/// # }
/// # Ok::<(), poolwarden::Error>(())
/// ```
#[must_use]
pub struct TransactionBuilder<'p, D: Driver> {
    pub(super) pool: &'p Pool<D>,
    pub(super) options: TransactionOptions,
    pub(super) policy: RetryPolicy,
}

impl<D: Driver> Pool<D> {
    /// Returns a builder of a transaction with options: isolation level, read only,
    /// deferrable, and a retry policy.
    ///
    /// Its `run` and `try_run` exist for PostgreSQL, MySQL, MariaDB and SQLite.
    pub fn build_transaction(&self) -> TransactionBuilder<'_, D> {
        TransactionBuilder {
            pool: self,
            options: TransactionOptions::default(),
            policy: RetryPolicy::none(),
        }
    }
}

impl<D: Driver> TransactionBuilder<'_, D> {
    /// Sets the isolation level. Default: the server's.
    ///
    /// SQLite's transactions are serializable, whatever the level.
    pub fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.options.isolation_level = Some(level);
        self
    }

    /// Sets whether the transaction may only read. Default: `false`.
    ///
    /// On SQLite a read-only transaction does not take the write lock.
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.options.read_only = read_only;
        self
    }

    /// Sets whether a serializable read-only transaction waits at its beginning until it
    /// can no longer fail by a serialization failure. Default: `false`.
    ///
    /// PostgreSQL only: elsewhere `run` returns [`ErrorKind::Config`](crate::ErrorKind::Config).
    pub fn deferrable(mut self, deferrable: bool) -> Self {
        self.options.deferrable = deferrable;
        self
    }

    /// Sets what is retried. Default: [`RetryPolicy::none`].
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.policy = policy;
        self
    }
}

impl<D: Driver> fmt::Debug for TransactionBuilder<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionBuilder")
            .field("options", &self.options)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
