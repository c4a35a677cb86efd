//! On MariaDB.

use crate::patience::patient_web;
use crate::variant::{My, Variant, shared_my};
use mysql::Conn;
use mysql::prelude::Queryable;
use poolwarden::query::MySqlTransaction;
use poolwarden::{Error, ErrorKind, FaultClass, MySql, Pool, RetryPolicy, RetrySafety};
use std::thread;
use std::time::Duration;
use support::mariadb::{self, Product};
use support::proxy::{Fault, Proxy};

fn counted(pool: &Pool<MySql>, what: &str) -> u64 {
    let sql = format!("select count(*) from t where n = '{what}'");
    pool.query_first(&sql).expect("a count").expect("a row")
}

fn pool_with_tables(variant: &My) -> Pool<MySql> {
    let pool = Pool::builder().max_size(4).build(variant.driver()).expect("a pool");
    pool.query_drop("create table t (n varchar(20))").expect("a table");
    pool.query_drop("create table locks (id int primary key, m int)").expect("a table");
    pool.query_drop("insert into locks values (1, 0), (2, 0)").expect("rows");
    pool
}

#[test]
fn transactions_with_deadlocks_all_take_effect_exactly_once() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let policy = RetryPolicy::script(Duration::from_secs(60));
    let again = std::sync::atomic::AtomicU32::new(0);
    thread::scope(|scope| {
        for worker in 0..4 {
            let (pool, again) = (&pool, &again);
            scope.spawn(move || {
                let (first, second) = if worker % 2 == 0 { (1, 2) } else { (2, 1) };
                for _ in 0..20 {
                    let added = pool.transaction_with(policy, |tx, attempt| {
                        let add = "update locks set m = m + 1 where id = ?";
                        tx.exec_drop(add, (first,))?;
                        tx.exec_drop(add, (second,))?;
                        again.fetch_add(attempt - 1, std::sync::atomic::Ordering::Relaxed);
                        Ok(())
                    });
                    added.expect("it is done in the end");
                }
            });
        }
    });
    let sums: Vec<i32> = pool.query("select m from locks").expect("sums");
    assert_eq!((sums, pool.snapshot().closed()), (vec![80, 80], 0));
    println!("{} attempts were repeated", again.into_inner());
}

/// Brings a transaction into a deadlock in which it is the victim, if the other has
/// changed more rows; runs the statement that meets it.
fn deadlocked<T>(
    url: &str,
    tx: &mut MySqlTransaction<'_>,
    negotiate: impl FnOnce(&mut MySqlTransaction<'_>) -> mysql::Result<T>,
) -> mysql::Result<T> {
    let mut other = Conn::new(mysql::Opts::from_url(url).expect("a URL"))?;
    tx.query_drop("update locks set m = m + 1 where id = 1")?;
    other.query_drop("start transaction")?;
    for _ in 0..50 {
        other.query_drop("insert into t values ('weight')")?;
    }
    other.query_drop("update locks set m = m + 1 where id = 2")?;
    let waits = thread::spawn(move || {
        let _ = other.query_drop("update locks set m = m + 1 where id = 1");
        let _ = other.query_drop("rollback");
    });
    thread::sleep(Duration::from_millis(200));
    let outcome = negotiate(tx);
    waits.join().expect("no panic");
    outcome
}

const MEET: &str = "update locks set m = m + 1 where id = 2";

#[test]
fn a_transaction_that_a_deadlock_ended_refuses_further_statements() {
    let Some((variant, database)) = shared_my() else { return };
    let (pool, url) = (pool_with_tables(&variant), database.url());
    let body = |tx: &mut MySqlTransaction<'_>, attempt: u32| {
        tx.query_drop("insert into t values ('before')")?;
        if attempt == 1 {
            let ignored = deadlocked(&url, tx, |tx| tx.query_drop(MEET));
            assert!(ignored.is_err(), "it was chosen as the victim");
            // All of these would take effect outside of the transaction.
            let refused = tx.query_drop("insert into t values ('after')").expect_err("it is over");
            assert_eq!(poolwarden::fault_of(&refused).class(), FaultClass::TransactionAborted);
            assert!(refused.to_string().contains("1213"), "{refused}");
            assert!(tx.exec_drop("insert into t values (?)", ("after",)).is_err());
            assert!(tx.prep("select 1").is_err());
        }
        Ok(attempt)
    };
    let error = pool.transaction(|tx| body(tx, 1)).expect_err("nothing was committed");
    assert_eq!((error.kind(), error.fault().class()), (ErrorKind::Driver, FaultClass::Conflict));
    assert_eq!((counted(&pool, "before"), counted(&pool, "after")), (0, 0));
    let done = pool.transaction_with(patient_web(), body);
    assert_eq!(done.expect("the second attempt"), 2);
    assert_eq!((counted(&pool, "before"), counted(&pool, "after")), (1, 0));
}

#[test]
fn statements_outside_the_transaction_object_are_undone_by_a_deadlock_too() {
    let Some((variant, database)) = shared_my() else { return };
    let (pool, url) = (pool_with_tables(&variant), database.url());
    let error = pool.transaction(|tx| {
        tx.query_drop("insert into t values ('before')")?;
        // On the driver's own connection statements are not refused, and errors not noticed.
        let unseen = deadlocked(&url, tx, |tx| (**tx).query_drop(MEET));
        assert!(unseen.is_err());
        (**tx).query_drop("insert into t values ('after')")?;
        Ok(())
    });
    let error = error.expect_err("it was over before its commit");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert_eq!((counted(&pool, "before"), counted(&pool, "after")), (0, 0));
    // The next borrower has autocommit on again.
    pool.query_drop("insert into t values ('next')").expect("a row");
    let auto: Option<u8> = pool.query_first("select @@autocommit").expect("a setting");
    assert_eq!((auto, counted(&pool, "next")), (Some(1), 1));
}

#[test]
fn a_statement_that_commits_implicitly_ends_its_transaction() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let error = pool.transaction(|tx| {
        tx.query_drop("insert into t values ('one')")?;
        tx.query_drop("create table another (n int)")?;
        tx.query_drop("insert into another values (1)")?;
        Ok(())
    });
    let error = error.expect_err("it was committed in its middle");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    let rows: Vec<u8> = pool.query("select n from another").expect("rows");
    assert_eq!((rows, counted(&pool, "one")), (vec![], 1));
}

#[test]
fn an_error_after_the_first_row_is_reported_by_the_transactions_own_methods() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let late = pool.transaction(|tx| {
        tx.query_drop("select 1; select * from no_such_table")?;
        Ok(())
    });
    assert_eq!(late.expect_err("it is reported").fault().class(), FaultClass::Statement);
}

#[test]
fn a_transaction_lost_before_its_commit_is_retried_and_takes_effect_once() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let killed = |policy| {
        pool.transaction_with(policy, |tx, attempt| {
            tx.query_drop("insert into t values ('row')")?;
            if attempt == 1 {
                let _ = tx.query_drop("kill connection_id()");
                assert!(tx.query_drop("do 1").is_err());
            }
            Ok(attempt)
        })
    };
    let error = killed(RetryPolicy::none()).expect_err("it ended itself");
    assert_eq!(
        (error.kind(), error.fault().retry_safety()),
        (ErrorKind::Driver, RetrySafety::RolledBack)
    );
    assert_eq!(counted(&pool, "row"), 0);
    assert_eq!(killed(patient_web()).expect("the second does it"), 2);
    assert_eq!(counted(&pool, "row"), 1);
}

#[test]
fn a_connection_loss_during_commit_or_an_autocommitted_write_is_an_unknown_outcome() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    let pool = pool_with_tables(&My::new(database.url_via(proxy.port())));
    let cut = |policy| {
        pool.transaction_with(policy, |tx, attempt| {
            tx.query_drop("insert into t values ('row')")?;
            if attempt == 1 {
                proxy.apply(&Fault::CloseAfter(1));
            }
            Ok(attempt)
        })
    };
    let error = cut(RetryPolicy::script(Duration::from_secs(10))).expect_err("lost");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 1), "{error}");
    let identity = error.connection().expect("which one it was");
    assert!(identity.server_process.is_some(), "{identity}");
    assert_eq!(cut(patient_web().idempotent()).expect("retried"), 2);
    let write = match mariadb::product() {
        Product::MariaDb => pool.query_drop("insert into t values ('row'); kill connection_id()"),
        // The server answers the KILL before it ends the session.
        Product::MySql => {
            proxy.apply(&Fault::CloseAfter(1));
            pool.query_drop("insert into t values ('row')")
        }
    };
    let write = write.expect_err("it is lost");
    assert_eq!(write.kind(), ErrorKind::OutcomeUnknown, "{write}");
    let read = pool.query_drop("select 1 from t where kill_me()").expect_err("no such function");
    assert_eq!(read.kind(), ErrorKind::Driver);
}

#[test]
fn the_script_policy_retries_through_a_restart_and_the_web_policy_fails_early() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let pool = pool_with_tables(&My::new(database.url()));
    server.stop();
    let insert = |policy| {
        pool.transaction_with(policy, |tx, attempt| {
            tx.query_drop("insert into t values ('row')")?;
            Ok(attempt)
        })
    };
    let error: Error = insert(patient_web()).expect_err("the server is down");
    let class = error.fault().class();
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(matches!(class, FaultClass::Refused | FaultClass::TimedOut), "{class:?}, {error}");
    thread::scope(|scope| {
        let script = scope.spawn(|| insert(RetryPolicy::script(Duration::from_secs(60))));
        thread::sleep(Duration::from_millis(700));
        server.start_again();
        script.join().expect("no panic").expect("it waits and goes on");
    });
    assert_eq!(counted(&pool, "row"), 1);
}

#[test]
fn a_transaction_that_met_a_lock_timeout_is_retried() {
    let Some((variant, database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let mut checkout =
        Conn::new(mysql::Opts::from_url(&database.url()).expect("a URL")).expect("one");
    checkout.query_drop("start transaction").expect("a transaction");
    checkout.query_drop("update locks set m = 7 where id = 1").expect("a lock");
    let done =
        pool.transaction_with(RetryPolicy::script(Duration::from_secs(20)), |tx, attempt| {
            tx.query_drop("set innodb_lock_wait_timeout = 1")?;
            if attempt == 2 {
                checkout.query_drop("rollback")?;
            }
            tx.query_drop("update locks set m = m + 1 where id = 1")?;
            Ok(attempt)
        });
    assert_eq!(done.expect("in the end"), 2);
    let m: Option<i32> = pool.query_first("select m from locks where id = 1").expect("a row");
    assert_eq!(m, Some(1));
}
