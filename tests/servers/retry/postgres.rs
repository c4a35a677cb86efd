//! On PostgreSQL.

use crate::flavour::{Flavour, Pg, shared_pg};
use ::postgres::IsolationLevel;
use poolwarden::{
    Error, ErrorKind, FaultClass, Pool, Postgres, Repeat, RetryPolicy, Usability, Validation,
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

/// A pool of one behind a proxy, and its table.
fn behind_a_proxy(database: &pg::Database<'_>) -> (Pool<Postgres>, Proxy) {
    let proxy = Proxy::to_port(pg::shared().port());
    let driver = Pg::new(database.url_via(proxy.port())).driver();
    let pool = Pool::builder().max_size(1).validation(Validation::Off).build(driver);
    let pool = pool.expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    (pool, proxy)
}

#[test]
fn transactions_that_collide_are_all_done_exactly_once() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(8).build(flavour.driver()).expect("a pool");
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
    assert!(again.into_inner() > 0, "nothing collided");
}

/// Runs a closure whose transaction fails to serialize at its first attempt.
fn collide(pool: &Pool<Postgres>, policy: RetryPolicy, overlook: bool) -> (Result<(), Error>, u32) {
    let mut last = 0;
    let outcome = pool.transaction_with(policy, |tx, attempt| {
        last = attempt;
        if attempt == 1 {
            tx.batch_execute("set transaction isolation level repeatable read")?;
            tx.query("select n from t", &[])?;
            pool.batch_execute("update t set n = n + 1")?;
        }
        let updated = tx.batch_execute("update t set n = 100");
        if overlook {
            drop(updated)
        } else {
            updated?
        }
        if overlook && attempt == 1 {
            let refused = tx.batch_execute(INSERT).expect_err("it has failed");
            assert_eq!(poolwarden::fault_of(&refused).class(), FaultClass::Doomed);
        }
        Ok(())
    });
    (outcome, last)
}

#[test]
fn a_failure_that_the_closure_overlooked_is_found_at_the_commit_with_its_cause() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(2).build(flavour.driver()).expect("a pool");
    pool.batch_execute("create table t (n int); insert into t values (1)").expect("a table");
    for overlook in [false, true] {
        let (outcome, attempts) = collide(&pool, RetryPolicy::none(), overlook);
        let error = outcome.expect_err("it collided");
        assert_eq!((error.kind(), attempts), (ErrorKind::Driver, 1));
        assert_eq!(error.fault().class(), FaultClass::Conflict, "{error}");
        assert_eq!(error.fault().repeat(), Repeat::RolledBack);
        assert!(!overlook || error.to_string().contains("40001"), "the first cause: {error}");
        let (outcome, attempts) = collide(&pool, RetryPolicy::web(), overlook);
        assert_eq!((outcome.is_ok(), attempts), (true, 2));
        assert_eq!(counted(&pool), 1);
    }
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_transaction_lost_before_its_commit_is_done_again_and_once() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(2).build(flavour.driver()).expect("a pool");
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
    let said = (error.fault().connection(), error.fault().repeat());
    assert_eq!(said, (Usability::Broken, Repeat::RolledBack));
    assert_eq!(counted(&pool), 0);
    assert_eq!(killed(RetryPolicy::web()).expect("the second does it"), 2);
    assert_eq!(counted(&pool), 1);
}

#[test]
fn a_loss_during_commit_is_repeated_on_the_callers_word_alone() {
    let Some((_, database)) = shared_pg() else { return };
    let (pool, proxy) = behind_a_proxy(&database);
    let cut = |policy| {
        pool.transaction_with(policy, |tx, attempt| {
            tx.execute(INSERT, &[])?;
            if attempt == 1 {
                proxy.apply(&Fault::CutAfter(1));
            }
            Ok(attempt)
        })
    };
    for policy in [RetryPolicy::web(), RetryPolicy::script(Duration::from_secs(10))] {
        let error = cut(policy).expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert_eq!((error.attempts(), error.fault().repeat()), (1, Repeat::OutcomeUnknown));
        let identity = error.connection().expect("which one it was");
        assert_eq!(identity.pool, pool.name());
        assert!(identity.server_process.is_some_and(|process| process > 0), "{identity}");
        assert!(error.to_string().contains("during COMMIT"), "{error}");
    }
    let before = counted(&pool);
    assert!(before <= 2);
    assert_eq!(cut(RetryPolicy::web().idempotent()).expect("done again"), 2);
    assert!(counted(&pool) > before);
}

#[test]
fn work_that_was_in_doubt_once_is_not_called_failed_later() {
    let Some((_, database)) = shared_pg() else { return };
    let (pool, proxy) = behind_a_proxy(&database);
    let outcome = pool.transaction_with(RetryPolicy::web().idempotent(), |tx, attempt| {
        if attempt == 1 {
            tx.execute(INSERT, &[])?;
            proxy.apply(&Fault::CutAfter(1));
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
fn a_lone_write_that_is_lost_is_an_unknown_outcome_and_a_read_is_not() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let suicide = "select pg_terminate_backend(pg_backend_pid())";
    let write = format!("insert into t {suicide}::int");
    let lost = pool.execute(&write, &[]).expect_err("it ended itself");
    assert_eq!(lost.kind(), ErrorKind::OutcomeUnknown, "{lost}");
    assert!(lost.to_string().contains("57P01"), "{lost}");
    assert!(lost.connection().is_some());
    let source = lost.source().and_then(|source| source.downcast_ref::<::postgres::Error>());
    assert!(source.is_some(), "the driver's own error");
    let read = pool.query(suicide, &[]).expect_err("it ended itself");
    assert_eq!((read.kind(), read.fault().repeat()), (ErrorKind::Driver, Repeat::OutcomeUnknown));
}

#[test]
fn work_that_met_a_dead_connection_is_done_again_since_nothing_was_sent() {
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
    assert_eq!(error.fault().repeat(), Repeat::NothingSent, "{error}");
    assert_eq!(insert(RetryPolicy::web()).expect("done again"), 2);
    assert_eq!(counted(&pool), 1);
}

#[test]
fn what_ran_before_a_collision_forbids_to_run_it_again() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let collision = "do $$ begin raise sqlstate '40001'; end $$";
    let run = |before: Option<&str>, policy| {
        pool.run(policy, |conn, attempt| {
            before.map_or(Ok(()), |before| conn.batch_execute(before))?;
            if attempt == 1 {
                conn.batch_execute(collision)?;
            }
            Ok(attempt)
        })
    };
    assert_eq!(run(None, RetryPolicy::web()).expect("rolled back, done again"), 2);
    let error = run(Some(INSERT), RetryPolicy::web()).expect_err("the row stands");
    assert_eq!(error.fault().repeat(), Repeat::OutcomeUnknown, "{error}");
    assert_eq!(counted(&pool), 1);
    let rolled_back = pool.run(RetryPolicy::web(), |conn, attempt| {
        let mut tx = conn.build_transaction().isolation_level(IsolationLevel::Serializable);
        tx = tx.read_only(false);
        let mut tx = tx.start()?;
        tx.execute(INSERT, &[])?;
        if attempt == 1 {
            tx.batch_execute(collision)?;
        }
        tx.commit()?;
        Ok(attempt)
    });
    assert_eq!((rolled_back.expect("done again"), counted(&pool)), (2, 2));
    assert_eq!(run(Some(INSERT), RetryPolicy::web().idempotent()).expect("by his word"), 2);
}

#[test]
fn a_script_goes_on_through_a_restart_and_a_request_fails_early() {
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
    let (refused, _) = insert(RetryPolicy::web());
    let error = refused.expect_err("the server is down");
    assert_eq!(
        (error.kind(), error.fault().class()),
        (ErrorKind::Connect, FaultClass::Unreachable)
    );
    assert!(began.elapsed() < Duration::from_secs(1), "after {:?}", began.elapsed());
    let (short, _) = insert(RetryPolicy::script(Duration::from_millis(400)));
    let error = short.expect_err("the server is still down");
    assert_eq!(error.kind(), ErrorKind::RetriesExhausted, "{error}");
    assert!(error.attempts() > 1 && error.to_string().contains("gave up after"), "{error}");
    let last = error.source().and_then(|source| source.downcast_ref::<Error>());
    assert_eq!(last.expect("the last error").kind(), ErrorKind::Connect);
    thread::scope(|scope| {
        let script = scope.spawn(|| insert(RetryPolicy::script(Duration::from_secs(60))).0);
        thread::sleep(Duration::from_millis(700));
        server.start_again();
        script.join().expect("no panic").expect("it waits and goes on");
    });
    assert_eq!(counted(&pool), 1);
}

#[test]
fn a_panic_passes_through_and_the_callers_own_error_is_not_repeated() {
    let Some((flavour, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(flavour.driver()).expect("a pool");
    let count = Cell::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pool.run(RetryPolicy::web(), |_, attempt| -> Result<(), Error> {
            count.set(attempt);
            panic!("in the closure")
        })
    }));
    assert_eq!(panicked.expect_err("it goes on").downcast_ref::<&str>(), Some(&"in the closure"));
    let own: Result<(), Error> = pool.transaction_with(RetryPolicy::web(), |_, attempt| {
        count.set(attempt);
        Err(Error::caller("no"))
    });
    assert_eq!((own.expect_err("his own").kind(), count.get()), (ErrorKind::Caller, 1));
    assert!(pool.query("select 1", &[]).is_ok());
}
