//! On PostgreSQL.

use crate::patience::patient_web;
use crate::variant::{Pg, Variant, shared_pg};
use ::postgres::IsolationLevel;
use poolwarden::{
    Error, ErrorKind, FaultClass, Pool, Postgres, RetryPolicy, RetrySafety, Usability, Validation,
};
use std::cell::Cell;
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};
use support::postgres as pg;
use support::proxy::{Fault, Proxy};

const INSERT: &str = "insert into t values (1)";

fn counted(pool: &Pool<Postgres>) -> i64 {
    pool.query_one("select count(*) from t", &[]).expect("a count").get(0)
}

/// Returns a pool of one connection behind a proxy, with its table.
fn behind_a_proxy(database: &pg::Database<'_>) -> (Pool<Postgres>, Proxy) {
    let proxy = Proxy::to_port(pg::shared().port());
    let driver = Pg::new(database.url_via(proxy.port())).driver();
    let pool = Pool::builder().max_size(1).validation(Validation::Off).build(driver);
    let pool = pool.expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    (pool, proxy)
}

#[test]
fn transactions_with_conflicts_all_take_effect_exactly_once() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(8).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table sums (n int); insert into sums values (0)").expect("a table");
    let policy = RetryPolicy::script(Duration::from_secs(60));
    let again = std::sync::atomic::AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let added = pool.transaction_with(policy, |tx, attempt| {
                        tx.batch_execute("set transaction isolation level serializable")?;
                        let n: i32 = tx.query_one("select n from sums", &[])?.get(0);
                        tx.execute("update sums set n = $1", &[&(n + 1)])?;
                        again.fetch_add(attempt - 1, std::sync::atomic::Ordering::Relaxed);
                        Ok(())
                    });
                    added.expect("it is done in the end");
                }
            });
        }
    });
    let sum: i32 = pool.query_one("select n from sums", &[]).expect("a sum").get(0);
    assert_eq!((sum, pool.snapshot().closed()), (160, 0));
    assert!(again.into_inner() > 0, "there was no conflict");
}

/// Runs a closure whose transaction fails with a serialization failure at its first attempt.
fn with_conflict(
    pool: &Pool<Postgres>,
    policy: RetryPolicy,
    ignore_error: bool,
) -> (Result<(), Error>, u32) {
    let mut last = 0;
    let outcome = pool.transaction_with(policy, |tx, attempt| {
        last = attempt;
        if attempt == 1 {
            tx.batch_execute("set transaction isolation level repeatable read")?;
            tx.query("select n from t", &[])?;
            pool.batch_execute("update t set n = n + 1")?;
        }
        let updated = tx.batch_execute("update t set n = 100");
        if ignore_error {
            drop(updated)
        } else {
            updated?
        }
        if ignore_error && attempt == 1 {
            let refused = tx.batch_execute(INSERT).expect_err("it has failed");
            assert_eq!(poolwarden::fault_of(&refused).class(), FaultClass::TransactionAborted);
        }
        Ok(())
    });
    (outcome, last)
}

#[test]
fn a_failure_that_the_closure_ignored_is_reported_at_commit_with_its_cause() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(2).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int); insert into t values (1)").expect("a table");
    for ignore_error in [false, true] {
        let (outcome, attempts) = with_conflict(&pool, RetryPolicy::none(), ignore_error);
        let error = outcome.expect_err("it met a conflict");
        assert_eq!((error.kind(), attempts), (ErrorKind::Driver, 1));
        assert_eq!(error.fault().class(), FaultClass::Conflict, "{error}");
        assert_eq!(error.fault().retry_safety(), RetrySafety::RolledBack);
        assert!(!ignore_error || error.to_string().contains("40001"), "the first cause: {error}");
        let (outcome, attempts) = with_conflict(&pool, patient_web(), ignore_error);
        assert_eq!((outcome.is_ok(), attempts), (true, 2));
        assert_eq!(counted(&pool), 1);
    }
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_transaction_lost_before_its_commit_is_retried_and_takes_effect_once() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(2).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let killed = |policy| {
        pool.transaction_with(policy, |tx, attempt| {
            tx.execute(INSERT, &[])?;
            if attempt == 1 {
                tx.batch_execute("select pg_terminate_backend(pg_backend_pid())")?;
            }
            Ok(attempt)
        })
    };
    let error = killed(RetryPolicy::none()).expect_err("it ended itself");
    assert_eq!(error.kind(), ErrorKind::Driver, "nothing was committed: {error}");
    assert!(error.to_string().contains("57P01"), "{error}");
    let said = (error.fault().connection(), error.fault().retry_safety());
    assert_eq!(said, (Usability::Broken, RetrySafety::RolledBack));
    assert_eq!(counted(&pool), 0);
    assert_eq!(killed(patient_web()).expect("the second does it"), 2);
    assert_eq!(counted(&pool), 1);
}

#[test]
fn a_connection_loss_during_commit_is_retried_only_if_the_caller_declared_the_work_idempotent() {
    let Some((_, database)) = shared_pg() else { return };
    let (pool, proxy) = behind_a_proxy(&database);
    let cut = |policy| {
        pool.transaction_with(policy, |tx, attempt| {
            tx.execute(INSERT, &[])?;
            if attempt == 1 {
                proxy.apply(&Fault::CloseAfter(1));
            }
            Ok(attempt)
        })
    };
    for policy in [patient_web(), RetryPolicy::script(Duration::from_secs(10))] {
        let error = cut(policy).expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!(
            (error.attempts(), error.fault().retry_safety()),
            (1, RetrySafety::OutcomeUnknown)
        );
        let identity = error.connection().expect("which one it was");
        assert_eq!(identity.pool, pool.name());
        assert!(identity.server_process.is_some_and(|process| process > 0), "{identity}");
        assert!(error.to_string().contains("during COMMIT"), "{error}");
    }
    let before = counted(&pool);
    assert!(before <= 2);
    assert_eq!(cut(patient_web().idempotent()).expect("retried"), 2);
    assert!(counted(&pool) > before);
}

#[test]
fn work_with_an_unknown_outcome_is_not_reported_as_failed_later() {
    let Some((_, database)) = shared_pg() else { return };
    let (pool, proxy) = behind_a_proxy(&database);
    let outcome = pool.transaction_with(patient_web().idempotent(), |tx, attempt| {
        if attempt == 1 {
            tx.execute(INSERT, &[])?;
            proxy.apply(&Fault::CloseAfter(1));
            return Ok(());
        }
        tx.batch_execute("select * from no_such_table")?;
        Ok(())
    });
    let error = outcome.expect_err("the second attempt fails");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::OutcomeUnknown, 2), "{error}");
    assert!(error.to_string().contains("attempt 1 may or may not"), "{error}");
}

#[test]
fn a_connection_lost_during_an_autocommitted_write_or_function_call_is_an_unknown_outcome() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let self_kill = "select pg_terminate_backend(pg_backend_pid())";
    let write = format!("insert into t {self_kill}::int");
    let lost = pool.execute(&write, &[]).expect_err("it ended itself");
    assert_eq!(lost.kind(), ErrorKind::OutcomeUnknown, "{lost}");
    assert!(lost.to_string().contains("57P01"), "{lost}");
    assert!(lost.connection().is_some());
    let source = lost.source().and_then(|source| source.downcast_ref::<::postgres::Error>());
    assert!(source.is_some(), "the driver's own error");
    let call = pool.query(self_kill, &[]).expect_err("it ended itself");
    assert_eq!(
        (call.kind(), call.fault().retry_safety()),
        (ErrorKind::OutcomeUnknown, RetrySafety::OutcomeUnknown)
    );
}

#[test]
fn work_on_a_dead_connection_is_retried_because_nothing_was_sent() {
    let Some((_, database)) = shared_pg() else { return };
    let (pool, proxy) = behind_a_proxy(&database);
    let insert = |policy| {
        pool.query("select 1", &[]).expect("it is alive");
        assert_eq!(proxy.apply(&Fault::Fin), 1);
        pool.run(policy, |conn, attempt| {
            conn.execute(INSERT, &[])?;
            Ok(attempt)
        })
    };
    let error = insert(RetryPolicy::none()).expect_err("the connection was dead");
    assert_eq!(error.fault().retry_safety(), RetrySafety::NothingSent, "{error}");
    assert_eq!(insert(patient_web()).expect("retried"), 2);
    assert_eq!(counted(&pool), 1);
}

#[test]
fn work_with_a_write_committed_before_a_conflict_is_not_retried() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let conflict = "do $$ begin raise sqlstate '40001'; end $$";
    let run = |before: Option<&str>, policy| {
        pool.run(policy, |conn, attempt| {
            before.map_or(Ok(()), |before| conn.batch_execute(before))?;
            if attempt == 1 {
                conn.batch_execute(conflict)?;
            }
            Ok(attempt)
        })
    };
    assert_eq!(run(None, patient_web()).expect("rolled back, done again"), 2);
    let error = run(Some(INSERT), patient_web()).expect_err("the row stands");
    assert_eq!(error.fault().retry_safety(), RetrySafety::OutcomeUnknown, "{error}");
    assert_eq!(counted(&pool), 1);
    let rolled_back = pool.run(patient_web(), |conn, attempt| {
        let mut tx = conn.build_transaction().isolation_level(IsolationLevel::Serializable);
        tx = tx.read_only(false);
        let mut tx = tx.start()?;
        tx.execute(INSERT, &[])?;
        if attempt == 1 {
            tx.batch_execute(conflict)?;
        }
        tx.commit()?;
        Ok(attempt)
    });
    assert_eq!((rolled_back.expect("retried"), counted(&pool)), (2, 2));
    assert_eq!(run(Some(INSERT), patient_web().idempotent()).expect("declared idempotent"), 2);
}

#[test]
fn the_script_policy_retries_through_a_restart_and_the_web_policy_fails_early() {
    support::require!(postgres);
    let server = pg::Server::start();
    let driver = Postgres::new(&server.url("postgres", "postgres")).expect("a driver");
    let pool = Pool::builder().max_size(2).build(driver).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    server.stop_fast();
    let insert = |policy| {
        let count = Cell::new(0);
        let outcome = pool.transaction_with(policy, |tx, attempt| {
            count.set(attempt);
            tx.execute(INSERT, &[])?;
            Ok(attempt)
        });
        (outcome, count.get())
    };
    let began = Instant::now();
    let (refused, _) = insert(patient_web());
    let error = refused.expect_err("the server is down");
    let class = error.fault().class();
    assert!(
        error.kind() == ErrorKind::Connect
            && matches!(class, FaultClass::Refused | FaultClass::TimedOut),
        "{class:?}, {error}: {}",
        pool.snapshot()
    );
    assert!(began.elapsed() < Duration::from_secs(10), "after {:?}", began.elapsed());
    let (short, _) = insert(RetryPolicy::script(Duration::from_secs(2)));
    let error = short.expect_err("the server is still down");
    assert_eq!(error.kind(), ErrorKind::RetriesExhausted, "{error}");
    assert!(error.attempts() > 1 && error.to_string().contains("gave up after"), "{error}");
    let last = error.source().and_then(|source| source.downcast_ref::<Error>());
    // Its last attempt may have had no time left for a dial of its own.
    let cause = last.and_then(Error::connect_error).expect("the last error");
    assert_eq!(cause.class(), FaultClass::Refused, "{error}");
    thread::scope(|scope| {
        let script = scope.spawn(|| insert(RetryPolicy::script(Duration::from_secs(60))).0);
        thread::sleep(Duration::from_millis(700));
        server.start_again();
        script.join().expect("no panic").expect("it waits and goes on");
    });
    assert_eq!(counted(&pool), 1);
}

#[test]
fn a_panic_passes_through_and_the_callers_own_error_is_not_retried() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let count = Cell::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.run(patient_web(), |_, attempt| -> Result<(), Error> {
            count.set(attempt);
            panic!("in the closure")
        })
    }));
    assert_eq!(
        panicked.expect_err("the pool stays usable").downcast_ref::<&str>(),
        Some(&"in the closure")
    );
    let own: Result<(), Error> = pool.transaction_with(patient_web(), |_, attempt| {
        count.set(attempt);
        Err(Error::caller("no"))
    });
    assert_eq!(
        (own.expect_err("the caller's own error").kind(), count.get()),
        (ErrorKind::Caller, 1)
    );
    assert!(pool.query("select 1", &[]).is_ok());
}
