//! A transaction commits on `Ok`, rolls back on `Err` and on a panic, and never
//! reports a success that was none.

use crate::flavour::{Flavour, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{Error, ErrorKind, Pool, Postgres, RetryPolicy};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use support::proxy::{Fault, Proxy};
use support::{mariadb, postgres as pg};

#[test]
fn a_postgres_transaction_commits_rolls_back_and_survives_a_panic() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
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
    assert_eq!(panicked.expect_err("it goes on").downcast_ref::<&str>(), Some(&"in the closure"));
    assert_eq!((count(), pool.snapshot().closed()), (1, 0));
}

#[test]
fn a_postgres_transaction_that_overlooked_an_error_is_not_reported_as_committed() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let overlooked = pool.transaction(|tx| {
        tx.execute("insert into t values (1)", &[])?;
        let _ = tx.execute("select 1 / 0", &[]);
        Ok(())
    });
    assert_eq!(overlooked.expect_err("it was rolled back").kind(), ErrorKind::Driver);
    assert!(pool.query("select n from t", &[]).expect("rows").is_empty());
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_mariadb_transaction_commits_rolls_back_and_survives_a_panic() {
    let Some((flavour, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
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
    assert_eq!(panicked.expect_err("it goes on").downcast_ref::<&str>(), Some(&"in the closure"));
    assert_eq!((count(), pool.snapshot().closed()), (1, 0));
}

#[test]
fn a_link_cut_during_commit_is_an_unknown_outcome_and_not_a_failure() {
    if pg::available() {
        let database = pg::shared().fresh_database();
        let proxy = Proxy::to_port(pg::shared().port());
        let driver = crate::flavour::Pg::new(database.url_via(proxy.port())).driver();
        let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
        let outcome = pool.transaction(|tx| {
            tx.batch_execute("create table t (n int)")?;
            cut_next_answer(&proxy);
            Ok(())
        });
        assert_eq!(outcome.expect_err("lost").kind(), ErrorKind::OutcomeUnknown);
    }
    if mariadb::available() {
        let database = mariadb::shared().fresh_database();
        let proxy = Proxy::to_port(mariadb::shared().port());
        let driver = crate::flavour::My::new(database.url_via(proxy.port())).driver();
        let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
        let outcome = pool.transaction(|tx| {
            tx.query_drop("do 1")?;
            cut_next_answer(&proxy);
            Ok(())
        });
        assert_eq!(outcome.expect_err("lost").kind(), ErrorKind::OutcomeUnknown);
    }
}

/// The next byte that the server sends ends the connection.
fn cut_next_answer(proxy: &Proxy) {
    proxy.apply(&Fault::CutAfter(1));
}

#[test]
fn a_rollback_that_is_not_answered_does_not_hold_its_caller() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let driver = crate::flavour::Pg::new(database.url_via(proxy.port())).driver();
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
/// committed nothing: the transaction is done again, and stands once.
fn assert_done_again<F: Flavour>(
    flavour: &F,
    kill: impl Fn() -> usize,
    transact: impl Fn(&Pool<F::Driver>, &mut dyn FnMut(u32)) -> Result<(), Error>,
) {
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
    let mut attempts = 0;
    let outcome = transact(&pool, &mut |attempt| {
        attempts = attempt;
        if attempt == 1 {
            assert_eq!(kill(), 1);
            // The end must have come through before the closure returns.
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    outcome.expect("it is done at the second attempt");
    assert_eq!(attempts, 2);
}

#[test]
fn a_commit_is_not_sent_over_a_connection_that_has_ended() {
    if let Some((flavour, database)) = shared_pg() {
        database.sql("create table notes (n int); grant all on notes to public");
        let kill = || database.terminate_all();
        assert_done_again(&flavour, kill, |pool, between| {
            pool.transaction_with(RetryPolicy::web(), |tx, attempt| {
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
        let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
        let error = once(&pool).expect_err("it was not sent");
        assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
        assert!(
            error.to_string().contains("COMMIT was not sent; the server said 57P01"),
            "{error}"
        );
        assert_eq!(database.sql("select n from notes"), [["1"]]);
    }
    if let Some((flavour, database)) = shared_my() {
        database.sql("create table notes (n int)");
        assert_done_again(
            &flavour,
            || database.kill_all(),
            |pool, between| {
                pool.transaction_with(RetryPolicy::web(), |tx, attempt| {
                    tx.query_drop("insert into notes values (1)")?;
                    between(attempt);
                    Ok(())
                })
            },
        );
        assert_eq!(database.sql("select n from notes"), [["1"]]);
    }
}
