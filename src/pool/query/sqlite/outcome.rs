//! What became of a transaction on SQLite.

use crate::driver::sqlite::Sqlite;
use crate::error::{Error, ErrorKind};
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use crate::pool::query::closure_end::ClosureEnd;
use crate::pool::query::common::BorrowTimeout;
use crate::pool::query::finished::Finished;
use crate::pool::query::transaction_options::TransactionOptions;
use crate::pool::query::transactional::Transactional;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

impl Transactional for Sqlite {
    type Transaction<'a> = Transaction<'a>;

    const WITHOUT_DEFERRABLE: Option<&'static str> = Some("SQLite");

    fn transact<T>(
        connection: &mut PooledConnection<Sqlite>,
        options: &TransactionOptions,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
    ) -> Finished<T> {
        // A read-only transaction needs no write lock.
        let behavior = match options.read_only {
            true => TransactionBehavior::Deferred,
            false => TransactionBehavior::Immediate,
        };
        let timeout = BorrowTimeout::of(connection);
        let guard = CommitGuard::install(connection);
        let finished = match connection.transaction_with_behavior(behavior) {
            Err(error) => {
                let error = Error::driver("the transaction could not begin", error);
                Finished::not_started(error, None)
            }
            Ok(mut transaction) => {
                let end = run(&mut transaction, options.read_only, work);
                let has_ended = guard.allow_commits() || transaction.is_autocommit();
                end_transaction(transaction, end, has_ended, &timeout)
            }
        };
        CommitGuard::remove(connection);
        // No I/O: SQLite keeps this flag in memory.
        finished.closing((!connection.is_autocommit()).then_some(CloseReason::Dirty))
    }
}

/// Runs the closure; for a transaction that may only read, the connection refuses writes
/// meanwhile.
fn run<T>(
    transaction: &mut Transaction<'_>,
    read_only: bool,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> ClosureEnd<T> {
    let refuses = if read_only { refuse_writes(transaction) } else { Ok(false) };
    let was_writable = matches!(refuses, Ok(true));
    let end = ClosureEnd::of(|| {
        refuses?;
        work(transaction)
    });
    if was_writable { accept_writes(transaction, end) } else { end }
}

/// Makes a connection refuse writes; returns `true` if it accepted them before.
fn refuse_writes(connection: &Connection) -> rusqlite::Result<bool> {
    let refuses: bool = connection.query_row("pragma query_only", [], |row| row.get(0))?;
    if !refuses {
        connection.execute_batch("pragma query_only = on")?;
    }
    Ok(!refuses)
}

/// Makes a connection accept writes after a read-only transaction.
fn accept_writes<T>(connection: &Connection, end: ClosureEnd<T>) -> ClosureEnd<T> {
    match (connection.execute_batch("pragma query_only = off"), end) {
        (Err(error), ClosureEnd::Returned(_)) => ClosureEnd::Failed(error.into()),
        (_, end) => end,
    }
}

/// Ends a transaction as its closure has ended.
fn end_transaction<T>(
    transaction: Transaction<'_>,
    end: ClosureEnd<T>,
    has_ended: bool,
    timeout: &BorrowTimeout,
) -> Finished<T> {
    let roll_back = |transaction: Transaction<'_>| {
        timeout.end();
        let _ = transaction.rollback();
    };
    match end {
        ClosureEnd::Returned(_) if has_ended => {
            roll_back(transaction);
            Finished::failed(Error::new(ErrorKind::Driver, ENDED_EARLY), None)
        }
        ClosureEnd::Returned(value) => match transaction.commit() {
            Ok(()) => Finished::done(value),
            Err(error) => {
                let what = "the transaction was rolled back at its commit";
                Finished::failed(Error::driver(what, error), None)
            }
        },
        ClosureEnd::Failed(error) => {
            roll_back(transaction);
            let fault = error.fault();
            let error = if has_ended { error.explained(ENDED_EARLY, fault) } else { error };
            Finished::failed(error, None)
        }
        ClosureEnd::Panicked(payload) => {
            roll_back(transaction);
            Finished::panicked(payload, None)
        }
    }
}

const ENDED_EARLY: &str = "nothing was committed: the transaction had ended before its commit, \
                           because SQLite rolled it back after an error, or because a statement \
                           of the closure tried to end it";

/// Keeps anything that the closure of a transaction does from being committed before the
/// pool's own COMMIT.
///
/// Some errors end a transaction (SQLite documentation, "Response To Errors Within A
/// Transaction"), and so do statements of the closure: what followed would be committed,
/// each statement by itself. While the guard is installed, SQLite turns every commit into
/// a rollback. The connection's own hooks are replaced, and not restored.
///
/// The hooks can only be changed while no transaction borrows the connection, in newer
/// versions of `rusqlite`: they are installed before it and removed after it.
struct CommitGuard {
    allows_commits: Arc<AtomicBool>,
    was_rolled_back: Arc<AtomicBool>,
}

impl CommitGuard {
    fn install(connection: &mut Connection) -> CommitGuard {
        let guard = CommitGuard { allows_commits: Arc::default(), was_rolled_back: Arc::default() };
        let allows_commits = Arc::clone(&guard.allows_commits);
        let was_rolled_back = Arc::clone(&guard.was_rolled_back);
        let _ = connection.commit_hook(Some(move || !allows_commits.load(Relaxed)));
        let _ = connection.rollback_hook(Some(move || was_rolled_back.store(true, Relaxed)));
        guard
    }

    /// Allows commits; returns `true` if the transaction was rolled back before.
    fn allow_commits(&self) -> bool {
        self.allows_commits.store(true, Relaxed);
        self.was_rolled_back.load(Relaxed)
    }

    fn remove(connection: &mut Connection) {
        let _ = connection.commit_hook(None::<fn() -> bool>);
        let _ = connection.rollback_hook(None::<fn()>);
    }
}
