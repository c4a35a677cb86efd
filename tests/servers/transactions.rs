//! A transaction commits on `Ok`, rolls back on `Err` and on a panic, and never
//! reports a success that did not happen.

use crate::patience::patient_web;
use crate::variant::{Variant, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{Error, ErrorKind, Pool, Postgres, RetrySafety};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::proxy::{Fault, Proxy};
use support::{mariadb, postgres as pg};

#[test]
fn a_postgres_transaction_commits_rolls_back_and_survives_a_panic() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let count = || pool.query("select n from t", &[]).expect("rows").len();
    let insert = "insert into t values (1)";
    let seven = pool.transaction(|tx| {
        tx.execute(insert, &[])?;
        Ok(7)
    });
    assert_eq!((seven.expect("it commits"), count()), (7, 1));
    let failed = pool.transaction(|tx| {
        tx.execute(insert, &[])?;
        tx.execute("select * from no_such_table", &[])?;
        Ok(())
    });
    assert_eq!((failed.expect_err("it fails").kind(), count()), (ErrorKind::Driver, 1));
    let own: Result<(), Error> = pool.transaction(|tx| {
        tx.execute(insert, &[])?;
        Err(Error::caller("no"))
    });
    assert_eq!((own.expect_err("it is undone").kind(), count()), (ErrorKind::Caller, 1));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.transaction(|tx| -> Result<(), Error> {
            tx.execute(insert, &[])?;
            panic!("in the closure")
        })
    }));
    assert_eq!(
        panicked.expect_err("the pool stays usable").downcast_ref::<&str>(),
        Some(&"in the closure")
    );
    assert_eq!((count(), pool.snapshot().closed()), (1, 0));
}

#[test]
fn a_postgres_transaction_that_ignored_an_error_is_not_reported_as_committed() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let ignored = pool.transaction(|tx| {
        tx.execute("insert into t values (1)", &[])?;
        let _ = tx.execute("select 1 / 0", &[]);
        Ok(())
    });
    assert_eq!(ignored.expect_err("it was rolled back").kind(), ErrorKind::Driver);
    assert!(pool.query("select n from t", &[]).expect("rows").is_empty());
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_mariadb_transaction_commits_rolls_back_and_survives_a_panic() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.query_drop("create table t (n int)").expect("a table");
    let count = || pool.query::<u64>("select n from t").expect("rows").len();
    let insert = "insert into t values (1)";
    let seven = pool.transaction(|tx| {
        tx.query_drop(insert)?;
        Ok(7)
    });
    assert_eq!((seven.expect("it commits"), count()), (7, 1));
    let own: Result<(), Error> = pool.transaction(|tx| {
        tx.query_drop(insert)?;
        Err(Error::caller("no"))
    });
    assert_eq!((own.expect_err("it is undone").kind(), count()), (ErrorKind::Caller, 1));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.transaction(|tx| -> Result<(), Error> {
            tx.query_drop(insert)?;
            panic!("in the closure")
        })
    }));
    assert_eq!(
        panicked.expect_err("the pool stays usable").downcast_ref::<&str>(),
        Some(&"in the closure")
    );
    assert_eq!((count(), pool.snapshot().closed()), (1, 0));
}

#[test]
fn a_connection_lost_during_commit_is_an_unknown_outcome_and_not_a_failure() {
    if pg::available() {
        let database = pg::shared().fresh_database();
        let proxy = Proxy::to_port(pg::shared().port());
        let driver = crate::variant::Pg::new(database.url_via(proxy.port())).driver();
        let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
        let outcome = pool.transaction(|tx| {
            tx.batch_execute("create table t (n int)")?;
            close_after_next_byte(&proxy);
            Ok(())
        });
        assert_eq!(outcome.expect_err("lost").kind(), ErrorKind::OutcomeUnknown);
    }
    if mariadb::available() {
        let database = mariadb::shared().fresh_database();
        let proxy = Proxy::to_port(mariadb::shared().port());
        let driver = crate::variant::My::new(database.url_via(proxy.port())).driver();
        let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
        let outcome = pool.transaction(|tx| {
            tx.query_drop("do 1")?;
            close_after_next_byte(&proxy);
            Ok(())
        });
        assert_eq!(outcome.expect_err("lost").kind(), ErrorKind::OutcomeUnknown);
    }
}

/// Closes the connection after the next byte from the server.
fn close_after_next_byte(proxy: &Proxy) {
    proxy.apply(&Fault::CloseAfter(1));
}

#[test]
fn a_rollback_without_a_reply_delays_its_caller_no_longer_than_ping_timeout() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let driver = crate::variant::Pg::new(database.url_via(proxy.port())).driver();
    let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
    let began = std::time::Instant::now();
    let outcome: Result<(), Error> = pool.transaction(|tx| {
        tx.batch_execute("create table t (n int)")?;
        proxy.apply(&Fault::Stall);
        Err(Error::caller("no"))
    });
    assert_eq!(outcome.expect_err("undone").kind(), ErrorKind::Caller);
    assert!(began.elapsed() < Duration::from_secs(4), "after {:?}", began.elapsed());
    proxy.apply(&Fault::Fin);
    assert!(pool.query("select 1", &[]).is_ok());
}

/// A connection that ends between the last statement and COMMIT is known to have
/// committed nothing: the transaction is retried, and takes effect once.
fn assert_retried<F: Variant>(
    variant: &F,
    kill: impl Fn() -> usize,
    transact: impl Fn(&Pool<F::Driver>, &mut dyn FnMut(u32)) -> Result<(), Error>,
) {
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let mut attempts = 0;
    let outcome = transact(&pool, &mut |attempt| {
        attempts = attempt;
        if attempt == 1 {
            assert_eq!(kill(), 1);
            // The FIN must have arrived before the closure returns.
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    outcome.expect("it is done at the second attempt");
    assert_eq!(attempts, 2);
}

#[test]
fn a_commit_is_not_sent_over_a_connection_that_has_ended() {
    if let Some((variant, database)) = shared_pg() {
        database.sql("create table notes (n int); grant all on notes to public");
        let kill = || database.terminate_all();
        assert_retried(&variant, kill, |pool, between| {
            pool.transaction_with(patient_web(), |tx, attempt| {
                tx.execute("insert into notes values (1)", &[])?;
                between(attempt);
                Ok(())
            })
        });
        let once = |pool: &Pool<Postgres>| {
            pool.transaction(|tx| {
                tx.execute("insert into notes values (2)", &[])?;
                database.terminate_all();
                std::thread::sleep(Duration::from_millis(200));
                Ok(())
            })
        };
        let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
        let error = once(&pool).expect_err("it was not sent");
        assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
        let text = error.to_string();
        assert!(text.contains("COMMIT was not sent: ") && text.contains("57P01"), "{error}");
        assert_eq!(database.sql("select n from notes"), [["1"]]);
    }
    if let Some((variant, database)) = shared_my() {
        database.sql("create table notes (n int)");
        assert_retried(
            &variant,
            || database.kill_all(),
            |pool, between| {
                pool.transaction_with(patient_web(), |tx, attempt| {
                    tx.query_drop("insert into notes values (1)")?;
                    between(attempt);
                    Ok(())
                })
            },
        );
        let pool = Pool::builder().max_size(1).name("notes").build(variant.driver());
        let pool = pool.expect("a pool");
        let once = pool.transaction(|tx| {
            tx.query_drop("insert into notes values (2)")?;
            database.kill_all();
            std::thread::sleep(Duration::from_millis(200));
            Ok(())
        });
        let error = once.expect_err("it was not sent");
        assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
        assert_eq!(error.fault().retry_safety(), RetrySafety::RolledBack, "{error}");
        assert_eq!(error.to_string(), "pool notes: COMMIT was not sent: broken pipe");
        assert_eq!(database.sql("select n from notes"), [["1"]]);
    }
}
