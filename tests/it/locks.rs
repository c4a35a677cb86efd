//! SQLite's locks: a transaction that another one stands against is done again.

use poolwarden::{ErrorKind, FaultClass, Pool, Repeat, RetryPolicy, Sqlite};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A pool on a file whose connections do not wait for a lock by themselves.
fn impatient(folder: &tempfile::TempDir) -> Pool<Sqlite> {
    let driver = Sqlite::file(folder.path().join("db")).with_init(|connection| {
        connection.busy_timeout(Duration::ZERO)?;
        Ok(())
    });
    let pool = Pool::builder().max_size(2).build(driver).expect("a pool");
    pool.execute_batch("create table t (n integer)").expect("a table");
    pool
}

#[test]
fn a_transaction_that_meets_a_lock_is_told_so_or_done_again_as_the_policy_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let pool = impatient(&folder);
    let (locked, is_locked) = channel();
    let (release, released) = channel::<()>();
    std::thread::scope(|scope| {
        let pool = &pool;
        scope.spawn(move || {
            pool.transaction(|tx| {
                tx.execute("insert into t values (1)", [])?;
                locked.send(()).expect("somebody waits");
                released.recv().expect("it is released");
                Ok(())
            })
            .expect("the first one commits");
        });
        is_locked.recv().expect("the lock is taken");
        let once = pool.transaction(|tx| Ok(tx.execute("insert into t values (2)", [])?));
        let error = once.expect_err("the lock stands against it");
        assert_eq!((error.kind(), error.fault().repeat()), (ErrorKind::Driver, Repeat::RolledBack));
        assert_eq!(error.fault().class(), FaultClass::LockTimeout);

        let few = RetryPolicy::web().attempts(3).backoff(Duration::ZERO, Duration::ZERO);
        let error = pool.transaction_with(few, |_, _| Ok(())).expect_err("it stays there");
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::RetriesExhausted, 3), "{error}");

        let mut begun = 0;
        let patient = RetryPolicy::script(Duration::from_secs(20));
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            release.send(()).expect("it waits");
        });
        let done = pool.transaction_with(patient, |tx, attempt| {
            begun = attempt;
            Ok(tx.execute("insert into t values (3)", [])?)
        });
        assert_eq!(done.expect("done in the end"), 1);
        assert!(begun > 1, "the lock was met at first");
    });
    let found = pool.query("select n from t order by n", [], |row| row.get::<_, i64>(0));
    assert_eq!(found.expect("rows"), [1, 3]);
}
