//! Retrying work as far as a policy allows, and the error when it is not retried.

use super::common;
use super::common::BorrowTimeout;
use super::lone;
use super::own_error::OwnError;
use crate::connection::Stopped;
use crate::driver::{Driver, Progress};
use crate::error::{BoxError, Error, ErrorKind, Fault, RetrySafety, Usability};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use crate::pool::pool::Pool;
use crate::pool::retry_policy::{Next, RetryPolicy};
use crate::sys::human_duration::HumanDuration;
use std::panic::Location;
use std::time::{Duration, Instant};

/// One attempt: its number, from 1, and how long it may wait for a connection.
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) checkout_timeout: Duration,
}

/// Runs the work until it succeeds or the policy allows no further attempt.
pub(super) fn repeat<D: Driver, T>(
    pool: &Pool<D>,
    policy: RetryPolicy,
    mut once: impl FnMut(Attempt) -> Result<T, Error>,
) -> Result<T, Error> {
    let (began, own) = (Instant::now(), pool.engine().shared().config().checkout_timeout);
    let mut in_doubt = None;
    let mut number = 1;
    loop {
        // The first attempt has the whole time, so that its error names the user's number.
        let elapsed = if number == 1 { Duration::ZERO } else { began.elapsed() };
        let checkout_timeout = policy.checkout_timeout(elapsed, own);
        let error = match once(Attempt { number, checkout_timeout }) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let fault = error.fault();
        if fault.retry_safety() == RetrySafety::OutcomeUnknown {
            in_doubt.get_or_insert(number);
        }
        let next = policy.next(fault, number, began.elapsed(), fastrand::f64());
        let Next::Retry(pause) = next else {
            return Err(attribute(error, number, in_doubt, next, began.elapsed()));
        };
        std::thread::sleep(pause);
        number += 1;
    }
}

/// Returns the error of the last attempt with what the attempts before it leave open:
/// work that an earlier attempt may have done is never reported as failed.
fn attribute(
    error: Error,
    number: u32,
    in_doubt: Option<u32>,
    next: Next,
    took: Duration,
) -> Error {
    let fault = error.fault();
    if let Some(first) = in_doubt.filter(|first| *first < number) {
        let text = format!(
            "attempt {first} may or may not have done the work, and attempt {number} failed \
             after {}",
            HumanDuration(took)
        );
        let unknown = Error::new(ErrorKind::OutcomeUnknown, text).with_source(error);
        let unknown = unknown.with_fault(fault.with_retry_safety(RetrySafety::OutcomeUnknown));
        return unknown.with_attempts(number);
    }
    if next == Next::Exhausted && number > 1 && error.kind() != ErrorKind::OutcomeUnknown {
        let text = format!("gave up after {number} attempts in {}", HumanDuration(took));
        let exhausted = Error::new(ErrorKind::RetriesExhausted, text).with_source(error);
        return exhausted.with_fault(fault).with_attempts(number);
    }
    error.with_attempts(number)
}

/// Work on any driver's connection.
impl<D: Driver> Pool<D> {
    /// Runs a closure on a connection, and retries it as far as the policy allows.
    ///
    /// The closure gets the connection and the number of the attempt, from 1. Leave it
    /// with `?` for the driver's errors, and with [`Error::caller`] for your own, which
    /// is never retried unless it wraps an error that may be.
    ///
    /// Without [`idempotent`](RetryPolicy::idempotent) it is retried only if nothing was
    /// sent, or if the server has rolled back all that was sent. For PostgreSQL over TCP
    /// the pool sees both in the stream. For other drivers it knows only that no
    /// connection could be checked out: use their `transaction_with`.
    ///
    /// On MySQL and MariaDB the driver's own methods that drop rows, such as
    /// `Conn::query_drop`, ignore the errors of later statements in one text: the closure
    /// returns `Ok` although a part of it was not done. The methods of the pool and of its
    /// transactions of the same names report them.
    ///
    /// # Blocking
    ///
    /// For a connection as [`get`](Pool::get), then as long as the closure takes, for
    /// every attempt, and for the pauses between them. The policy bounds when an attempt
    /// begins, not how long the closure takes.
    ///
    /// # Errors
    ///
    /// The closure's own, and those of [`get`](Pool::get);
    /// [`RetriesExhausted`](ErrorKind::RetriesExhausted) with the last one as its source;
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) if the connection was lost and the
    /// work may have been done, in this attempt or in an earlier one.
    /// [`Driver`](ErrorKind::Driver) if the closure returns `Ok` inside a transaction, which
    /// the pool rolls back: PostgreSQL over TCP and SQLite only.
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through; the connection is closed.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")] {
    /// use poolwarden::{Pool, RetryPolicy, Sqlite};
    ///
    /// let pool = Pool::builder().build(Sqlite::memory())?;
    /// let three = pool.run(RetryPolicy::web(), |conn, _attempt| {
    ///     Ok(conn.query_row("select 1 + 2", [], |row| row.get::<_, i64>(0))?)
    /// })?;
    /// assert_eq!(three, 3);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn run<T>(
        &self,
        policy: RetryPolicy,
        mut work: impl FnMut(&mut D::Connection, u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let site = Location::caller();
        repeat(self, policy, |attempt| run_once(self, &attempt, site, &mut work))
    }

    /// As [`run`](Pool::run), for a closure with an error type of your own; `classify`
    /// returns what it means: [`fault_of`](crate::fault_of) for an error of the driver,
    /// [`Fault::of_caller`] for one that no retry helps.
    ///
    /// # Blocking
    ///
    /// As [`run`](Pool::run).
    ///
    /// # Errors
    ///
    /// The closure's own as it is, or, where the pool has to say more, one of
    /// [`run`](Pool::run) whose source is the closure's own.
    ///
    /// # Panics
    ///
    /// A panic of the closure passes through; the connection is closed.
    #[track_caller]
    pub fn try_run<T, E>(
        &self,
        policy: RetryPolicy,
        classify: impl Fn(&E) -> Fault,
        mut work: impl FnMut(&mut D::Connection, u32) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Error> + Into<BoxError>,
    {
        let (site, mut own) = (Location::caller(), OwnError::new());
        let outcome = repeat(self, policy, |attempt| {
            own.forget();
            run_once(self, &attempt, site, |connection, number| {
                own.keep(work(connection, number), &classify)
            })
        });
        own.returned(self.name(), outcome)
    }
}

/// Runs a closure on a connection once.
fn run_once<D: Driver, T>(
    pool: &Pool<D>,
    attempt: &Attempt,
    site: &'static Location<'static>,
    work: impl FnOnce(&mut D::Connection, u32) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut connection = common::check_out_for_many(pool, attempt.checkout_timeout, site)?;
    let before = common::progress(&connection);
    match work(&mut connection, attempt.number) {
        Ok(_) if common::is_in_transaction(&connection) == Some(true) => {
            // The check-in rolls back what the closure did.
            let error = lone::left_in_transaction(pool.name(), false);
            Err(classify_attempt(connection, before, error))
        }
        Ok(value) => Ok(value),
        Err(error) => Err(classify_attempt(connection, before, error)),
    }
}

/// Checks the connection in, and returns the error with what it means for all that was
/// done on the connection, not only for the statement that failed.
fn classify_attempt<D: Driver>(
    mut connection: PooledConnection<D>,
    before: Option<Progress>,
    error: Error,
) -> Error {
    let fault = common::examine(&mut connection, error.fault());
    let after = common::progress(&connection);
    let nothing_sent = matches!((before, after), (Some(b), Some(a)) if b.sent == a.sent);
    let undone = matches!((before, after), (Some(b), Some(a)) if b.committed == a.committed);
    let repeat = match fault.retry_safety() {
        RetrySafety::Permanent => RetrySafety::Permanent,
        _ if nothing_sent => RetrySafety::NothingSent,
        RetrySafety::OutcomeUnknown => RetrySafety::OutcomeUnknown,
        known if undone => known,
        // What the closure did before it may stand.
        _ => RetrySafety::OutcomeUnknown,
    };
    let fault = fault.with_retry_safety(repeat);
    let identity = common::identity(&connection);
    let stopped = BorrowTimeout::of(&connection).end();
    if matches!(stopped, Some(Stopped::ShutDown(_))) {
        PooledConnection::abandon(connection, CloseReason::StatementTimeout);
    } else {
        common::check_in(connection, fault);
    }
    let error = common::blame_timeout(error, identity.number, stopped, "the work");
    let error = error.in_pool(&identity.pool);
    if matches!(error.kind(), ErrorKind::StatementTimeout | ErrorKind::StatementAbandoned) {
        return error;
    }
    if fault.connection() == Usability::Broken && repeat == RetrySafety::OutcomeUnknown {
        return error.with_fault(fault).into_unknown(identity, "in the middle of the work");
    }
    error.with_fault(fault)
}
