//! SQLite's locks: a transaction that meets another one's lock is retried.

use poolwarden::{ErrorKind, FaultClass, Pool, RetryPolicy, RetrySafety, Sqlite};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Creates a pool on a file whose connections do not wait for a lock by themselves.
fn pool_without_busy_timeout(folder: &tempfile::TempDir) -> Pool<Sqlite> {
    let driver = Sqlite::file(folder.path().join("db")).with_init(|connection| {
        connection.busy_timeout(Duration::ZERO)?;
        Ok(())
    });
    let pool = Pool::builder().max_size(2).build(driver).expect("a pool");
    pool.execute_batch("create table t (n integer)").expect("a table");
    pool
}

#[test]
fn a_transaction_that_meets_a_lock_fails_or_is_retried_as_the_policy_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = pool_without_busy_timeout(&folder);
    let (locked, is_locked) = channel();
    let (release, released) = channel::<()>();
    std::thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            pool.transaction(|tx| {
                tx.execute("insert into t values (1)", [])?;
                locked.send(()).expect("the other thread waits");
                released.recv().expect("it is released");
                Ok(())
            })
            .expect("the first one commits");
        });
        is_locked.recv().expect("the lock is taken");
        let outcome = pool.transaction(|tx| Ok(tx.execute("insert into t values (2)", [])?));
        let error = outcome.expect_err("the table is locked");
        assert_eq!(
            (error.kind(), error.fault().retry_safety()),
            (ErrorKind::Driver, RetrySafety::NothingSent)
        );
        assert!(error.to_string().contains("the transaction could not begin"), "{error}");
        assert_eq!(error.fault().class(), FaultClass::LockTimeout);

        let three_attempts = RetryPolicy::web().attempts(3).backoff(Duration::ZERO, Duration::ZERO);
        let error =
            pool.transaction_with(three_attempts, |_, _| Ok(())).expect_err("the lock stays");
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::RetriesExhausted, 3), "{error}");

        let mut attempts = 0;
        let twenty_seconds = RetryPolicy::script(Duration::from_secs(20));
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            release.send(()).expect("it waits");
        });
        let done = pool.transaction_with(twenty_seconds, |tx, attempt| {
            attempts = attempt;
            Ok(tx.execute("insert into t values (3)", [])?)
        });
        assert_eq!(done.expect("the transaction succeeds in the end"), 1);
        assert!(attempts > 1, "the lock was met at first");
    });
    let found = pool.query("select n from t order by n", [], |row| row.get::<_, i64>(0));
    assert_eq!(found.expect("rows"), [1, 3]);
}
