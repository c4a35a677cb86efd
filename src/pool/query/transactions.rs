//! Transactions, on every database that has them.

use super::common;
use super::finished::Finished;
use super::own_error::OwnError;
use super::retry::{Attempt, repeat};
use super::transaction_builder::TransactionBuilder;
use super::transactional::Transactional;
use crate::error::{BoxError, Error, Fault};
use crate::pool::guard::PooledConnection;
use crate::pool::pool::Pool;
use crate::pool::retry_policy::RetryPolicy;
use std::panic::Location;

/// Transactions.
///
/// The closure gets `postgres::Transaction`, [`MySqlTransaction`](crate::query::MySqlTransaction)
/// or `rusqlite::Transaction`.
///
/// On SQLite the transaction takes the write lock at its beginning (`BEGIN IMMEDIATE`): one
/// that reads first and writes later could not wait for another writer. If an error or a
/// statement of the closure ends it, SQLite rolls back whatever follows, and the pool returns
/// an error. For that the pool replaces the commit and rollback hooks of the connection while
/// the closure runs, and removes them after it.
///
/// # Blocking
///
/// All of them: for a connection as [`Pool::get`], then as long as the closure and the
/// commit take, for every attempt, and for the pauses. If a rollback is not answered within
/// 2 s, the pool shuts the connection down.
impl<D: Transactional> Pool<D> {
    /// Runs a closure in a transaction: commits on `Ok`, rolls back on `Err` and on a
    /// panic, which resumes after the rollback.
    ///
    /// Leave the closure with `?` for the driver's errors, and with
    /// [`Error::caller`] for your own.
    ///
    /// # Errors
    ///
    /// The closure's own; those of [`Pool::get`];
    /// [`Driver`](crate::ErrorKind::Driver) if the transaction could not begin or commit, or
    /// was rolled back by the server, also when the closure ignored an error and returned
    /// `Ok`; [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if the connection was lost
    /// during COMMIT, or if what the closure did may stand although the transaction failed.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Error, Pool, Sqlite};
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// pool.execute_batch("create table t (n integer)")?;
    /// let undone: Result<(), Error> = pool.transaction(|tx| {
    ///     tx.execute("insert into t values (1)", [])?;
    ///     Err(Error::caller("changed my mind"))
    /// });
    /// assert!(undone.is_err());
    /// assert!(pool.query("select n from t", [], |row| row.get::<_, i64>(0))?.is_empty());
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[track_caller]
    pub fn transaction<T>(
        &self,
        work: impl FnOnce(&mut D::Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut work = Some(work);
        self.build_transaction().run(|tx, _| work.take().expect(ONE_ATTEMPT)(tx))
    }

    /// As [`transaction`](Pool::transaction), retried as far as the policy allows.
    ///
    /// The closure gets the number of the attempt, from 1. It starts over each time:
    /// whatever it does besides its statements must be safe to repeat, and it must not
    /// end the transaction by itself.
    ///
    /// Without [`idempotent`](RetryPolicy::idempotent) it is retried only if all of it was
    /// rolled back: after a serialization failure or a deadlock, also one that the closure
    /// ignored; after a lock wait timeout on MySQL and MariaDB; if a lock of another
    /// connection was in the way on SQLite (`SQLITE_BUSY`, `SQLITE_LOCKED`); and after the
    /// connection was lost before COMMIT was sent.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Pool::transaction), and
    /// [`RetriesExhausted`](crate::ErrorKind::RetriesExhausted) with the last error as
    /// its source.
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through, after a rollback.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")] {
    /// use poolwarden::{Pool, Postgres, RetryPolicy};
    ///
    /// let pool = Pool::builder().build(Postgres::new("postgres://app@db.example.com/app")?)?;
    /// pool.transaction_with(RetryPolicy::web(), |tx, _attempt| {
    ///     tx.execute("update accounts set cents = cents - 100 where id = $1", &[&1i64])?;
    ///     tx.execute("update accounts set cents = cents + 100 where id = $1", &[&2i64])?;
    ///     Ok(())
    /// })?;
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// ```no_run
    /// # #[cfg(feature = "mysql")] {
    /// use mysql::prelude::Queryable;
    /// use poolwarden::{MySql, Pool, RetryPolicy};
    ///
    /// let pool = Pool::builder().build(MySql::new("mysql://app@db.example.com/app")?)?;
    /// pool.transaction_with(RetryPolicy::web(), |tx, _attempt| {
    ///     tx.exec_drop("update accounts set cents = cents - 100 where id = ?", (1,))?;
    ///     tx.exec_drop("update accounts set cents = cents + 100 where id = ?", (2,))?;
    ///     Ok(())
    /// })?;
    /// # }
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    #[track_caller]
    pub fn transaction_with<T>(
        &self,
        policy: RetryPolicy,
        work: impl FnMut(&mut D::Transaction<'_>, u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.build_transaction().retry(policy).run(work)
    }

    /// As [`transaction`](Pool::transaction), for a closure with an error type of your own.
    ///
    /// The closure's error is returned as it is only if the rollback was confirmed.
    /// Otherwise the error of the pool, from which `E` is made, takes precedence, and its
    /// source is the closure's error.
    ///
    /// # Errors
    ///
    /// The closure's own, or one of [`transaction`](Pool::transaction).
    #[track_caller]
    pub fn try_transaction<T, E>(
        &self,
        work: impl FnOnce(&mut D::Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error> + Into<BoxError>,
    {
        let (mut work, classify) = (Some(work), |_: &E| Fault::of_caller());
        let once = self.build_transaction();
        once.try_run(classify, |tx, _| work.take().expect(ONE_ATTEMPT)(tx))
    }

    /// As [`try_transaction`](Pool::try_transaction), retried as far as the policy allows;
    /// `classify` returns what an error of the closure means:
    /// [`fault_of`](crate::fault_of) for an error of the driver,
    /// [`Fault::of_caller`](crate::Fault::of_caller) for one that no retry helps.
    ///
    /// # Errors
    ///
    /// As [`try_transaction`](Pool::try_transaction), and
    /// [`RetriesExhausted`](crate::ErrorKind::RetriesExhausted).
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through, after a rollback.
    #[track_caller]
    pub fn try_transaction_with<T, E>(
        &self,
        policy: RetryPolicy,
        classify: impl Fn(&E) -> Fault,
        work: impl FnMut(&mut D::Transaction<'_>, u32) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error> + Into<BoxError>,
    {
        self.build_transaction().retry(policy).try_run(classify, work)
    }
}

const ONE_ATTEMPT: &str = "without a policy there is one attempt";

impl<D: Transactional> TransactionBuilder<'_, D> {
    /// Runs the closure in a transaction with these options, as
    /// [`transaction_with`](Pool::transaction_with).
    ///
    /// # Blocking
    ///
    /// As [`transaction_with`](Pool::transaction_with).
    ///
    /// # Errors
    ///
    /// As [`transaction_with`](Pool::transaction_with), and
    /// [`Config`](crate::ErrorKind::Config) for an option that the database does not have.
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through, after a rollback.
    #[track_caller]
    pub fn run<T>(
        self,
        mut work: impl FnMut(&mut D::Transaction<'_>, u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let site = Location::caller();
        repeat(self.pool, self.policy, |attempt| {
            let work = |tx: &mut D::Transaction<'_>| work(tx, attempt.number);
            let (connection, finished) = self.once(&attempt, site, work)?;
            finished.settle(connection)
        })
    }

    /// Runs the closure in a transaction with these options, as
    /// [`try_transaction_with`](Pool::try_transaction_with).
    ///
    /// # Blocking
    ///
    /// As [`transaction_with`](Pool::transaction_with).
    ///
    /// # Errors
    ///
    /// As [`try_transaction_with`](Pool::try_transaction_with), and
    /// [`Config`](crate::ErrorKind::Config) for an option that the database does not have.
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through, after a rollback.
    #[track_caller]
    pub fn try_run<T, E>(
        self,
        classify: impl Fn(&E) -> Fault,
        mut work: impl FnMut(&mut D::Transaction<'_>, u32) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error> + Into<BoxError>,
    {
        let (site, mut own) = (Location::caller(), OwnError::new());
        let outcome = repeat(self.pool, self.policy, |attempt| {
            own.forget();
            let work = |tx: &mut D::Transaction<'_>| own.keep(work(tx, attempt.number), &classify);
            let (connection, finished) = self.once(&attempt, site, work)?;
            own.record(&finished);
            finished.settle(connection)
        });
        own.returned(self.pool.name(), outcome)
    }

    /// Runs the transaction once; its connection has yet to be checked in.
    fn once<T>(
        &self,
        attempt: &Attempt,
        site: &'static Location<'static>,
        work: impl FnOnce(&mut D::Transaction<'_>) -> Result<T, Error>,
    ) -> Result<(PooledConnection<D>, Finished<T>), Error> {
        self.options.check(self.pool.name(), D::WITHOUT_DEFERRABLE)?;
        let timeout = attempt.checkout_timeout;
        let mut connection = common::check_out_for_many(self.pool, timeout, site)?;
        let finished = D::transact(&mut connection, &self.options, work);
        Ok((connection, finished))
    }
}
