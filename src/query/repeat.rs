//! Work that is done again as far as a policy allows, and what is said when it is not.

use super::work::{self, TimeOut};
use crate::driver::{Driver, Progress};
use crate::error::{Error, ErrorKind, Repeat, Usability};
use crate::guard::PooledConnection;
use crate::managed::Stopped;
use crate::observe::CloseReason;
use crate::pool::Pool;
use crate::retry::{Next, RetryPolicy};
use std::time::{Duration, Instant};

/// One attempt: its number, from 1, and how long it may wait for a connection.
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) patience: Duration,
}

/// Does the work until it succeeds or the policy says that it is enough.
pub(super) fn repeat<D: Driver, T>(
    pool: &Pool<D>,
    policy: RetryPolicy,
    mut once: impl FnMut(Attempt) -> Result<T, Error>,
) -> Result<T, Error> {
    let (began, own) = (Instant::now(), pool.engine().warden().config().checkout_timeout);
    let mut in_doubt = None;
    let mut number = 1;
    loop {
        let patience = policy.patience(began.elapsed(), own);
        let error = match once(Attempt { number, patience }) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let fault = error.fault();
        if fault.repeat() == Repeat::OutcomeUnknown {
            in_doubt.get_or_insert(number);
        }
        let next = policy.next(fault, number, began.elapsed(), fastrand::f64());
        let Next::Again(pause) = next else {
            return Err(told(error, number, in_doubt, next, began.elapsed()));
        };
        std::thread::sleep(pause);
        number += 1;
    }
}

/// The error of the last attempt, with what the ones before it leave open. Nobody is
/// told "failed" about work that an earlier attempt may have done.
fn told(error: Error, number: u32, in_doubt: Option<u32>, next: Next, took: Duration) -> Error {
    let fault = error.fault();
    if let Some(first) = in_doubt.filter(|first| *first < number) {
        let text = format!(
            "attempt {first} may or may not have done the work, and attempt {number} failed \
             after {took:.1?}: {error}"
        );
        let unknown = Error::new(ErrorKind::OutcomeUnknown, text).with_source(error);
        let unknown = unknown.with_fault(fault.with_repeat(Repeat::OutcomeUnknown));
        return unknown.with_attempts(number);
    }
    if next == Next::Exhausted && number > 1 && error.kind() != ErrorKind::OutcomeUnknown {
        let text = format!("gave up after {number} attempts in {took:.1?}: {error}");
        let exhausted = Error::new(ErrorKind::RetriesExhausted, text).with_source(error);
        return exhausted.with_fault(fault).with_attempts(number);
    }
    error.with_attempts(number)
}

/// Work on any driver's connection.
impl<D: Driver> Pool<D> {
    /// Runs a closure on a connection, and again as far as the policy allows.
    ///
    /// The closure gets the connection and the number of the attempt, from 1. Leave it
    /// with `?` for the driver's errors, and with [`Error::caller`] for your own, which
    /// is never repeated unless it wraps an error that may be.
    ///
    /// Without [`idempotent`](RetryPolicy::idempotent) it is run again only if nothing
    /// was sent, or if all that was sent has been undone by the server. For PostgreSQL
    /// over TCP the pool sees both in the stream. For other drivers it knows only that
    /// no connection could be had: use their `transaction_with`.
    ///
    /// # Blocking
    ///
    /// For a connection as [`get`](Pool::get), then as long as the closure takes, for
    /// every attempt, and for the pauses between them. The policy bounds when an attempt
    /// begins, and not how long the closure takes.
    ///
    /// # Errors
    ///
    /// The closure's own, and those of [`get`](Pool::get);
    /// [`RetriesExhausted`](ErrorKind::RetriesExhausted) with the last one as its source;
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) if the connection was lost and the
    /// work may have been done, in this attempt or in an earlier one.
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
        let site = std::panic::Location::caller();
        repeat(self, policy, |attempt| {
            let connection = work::check_out_within(self, attempt.patience, site)?;
            let mut connection = work::for_many(connection);
            let before = work::progress(&connection);
            match work(&mut connection, attempt.number) {
                Ok(value) => Ok(value),
                Err(error) => Err(judged(connection, before, error)),
            }
        })
    }
}

/// Gives the connection back, and says of an error what it means for all that was
/// done on it, and not only for the statement that met it.
fn judged<D: Driver>(
    connection: PooledConnection<D>,
    before: Option<Progress>,
    error: Error,
) -> Error {
    let fault = error.fault();
    let after = work::progress(&connection);
    let nothing_sent = matches!((before, after), (Some(b), Some(a)) if b.sent == a.sent);
    let undone = matches!((before, after), (Some(b), Some(a)) if b.committed == a.committed);
    let repeat = match fault.repeat() {
        Repeat::Permanent => Repeat::Permanent,
        _ if nothing_sent => Repeat::NothingSent,
        Repeat::OutcomeUnknown => Repeat::OutcomeUnknown,
        known if undone => known,
        // What came before it in the closure may stand.
        _ => Repeat::OutcomeUnknown,
    };
    let fault = fault.with_repeat(repeat);
    let identity = work::identity(&connection);
    let stopped = TimeOut::of(&connection).end();
    if matches!(stopped, Some(Stopped::ShutDown(_))) {
        PooledConnection::abandon(connection, CloseReason::StatementTimeout);
    } else {
        work::give_back(connection, fault);
    }
    let error = work::retell(error, identity.number, stopped, "the work");
    if matches!(error.kind(), ErrorKind::StatementTimeout | ErrorKind::StatementAbandoned) {
        return error;
    }
    if fault.connection() == Usability::Broken && repeat == Repeat::OutcomeUnknown {
        return error.with_fault(fault).into_unknown(identity, "in the middle of the work");
    }
    error.with_fault(fault)
}
