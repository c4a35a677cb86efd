//! What the transactions of the databases have in common.

use super::finished::Finished;
use super::transaction_options::TransactionOptions;
use crate::driver::Driver;
use crate::error::Error;
use crate::pool::guard::PooledConnection;

/// A driver whose pools run transactions: `Postgres`, `MySql` and `Sqlite`.
///
/// No other type can implement it: what an outcome means is different for each database.
pub trait Transactional: Driver + Sized {
    /// The transaction that a closure gets.
    type Transaction<'a>;

    /// The database's name, if it has no deferrable transactions.
    #[doc(hidden)]
    const WITHOUT_DEFERRABLE: Option<&'static str>;

    /// Begins, runs the closure, and ends the transaction, whatever happens.
    #[doc(hidden)]
    fn transact<T>(
        connection: &mut PooledConnection<Self>,
        options: &TransactionOptions,
        work: impl FnOnce(&mut Self::Transaction<'_>) -> Result<T, Error>,
    ) -> Finished<T>;
}
