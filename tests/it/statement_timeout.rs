//! SQLite: a statement past its timeout is interrupted, and no other one.

use poolwarden::query::Stopped;
use poolwarden::{Error, ErrorKind, Pool, PooledConnection, Sqlite};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::within;

const TIMEOUT: Duration = Duration::from_millis(100);
/// The time by which an interrupted statement must have ended on a busy computer.
const SOON: Duration = Duration::from_secs(10);

const ENDLESS: &str =
    "with recursive t(n) as (select 1 union all select n + 1 from t) select count(*) from t";

fn pool() -> Pool<Sqlite> {
    let builder = Pool::builder().max_size(2).statement_timeout(TIMEOUT);
    builder.build(Sqlite::memory()).expect("a database in memory")
}

fn count(pool: &Pool<Sqlite>) -> i64 {
    let rows = pool.query("select count(*) from t", [], |row| row.get(0));
    rows.expect("a short statement")[0]
}

fn assert_timed_out(error: &Error, took: Duration) {
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
    assert!(error.to_string().contains("cancelled by the pool's statement_timeout"), "{error}");
    assert!(took >= TIMEOUT, "after {took:?}");
}

#[test]
fn each_of_the_pools_queries_is_interrupted_and_its_connection_stays_open() {
    let pool = pool();
    pool.execute_batch("create table t (n integer)").expect("a table");
    let query = || pool.query(ENDLESS, [], |row| row.get::<_, i64>(0)).map(drop);
    let execute = || pool.execute(&format!("insert into t {ENDLESS}"), []).map(drop);
    // The timeout may come between two statements of one text.
    let batch = || pool.execute_batch(&format!("select 1; {ENDLESS}; select 2"));
    let all: [&dyn Fn() -> Result<(), Error>; 3] = [&query, &execute, &batch];
    for run in all {
        let (outcome, took) = within(SOON, run);
        assert_timed_out(&outcome.expect_err("it has no end"), took);
        assert_eq!(count(&pool), 0);
    }
    let books = pool.snapshot();
    assert_eq!((books.opened, books.levels.idle, books.levels.in_use), (1, 1, 0), "{books}");
}

#[test]
fn a_transaction_is_bounded_as_a_whole_and_rolled_back() {
    let pool = pool();
    pool.execute_batch("create table t (n integer)").expect("a table");
    let (error, took) = within(SOON, || {
        let outcome = pool.transaction(|tx| {
            tx.execute("insert into t values (1)", [])?;
            Ok(tx.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)
        });
        outcome.expect_err("it has no end")
    });
    assert_timed_out(&error, took);
    assert!(error.to_string().contains("rolled back"), "{error}");
    let outcome = pool.transaction(|tx| {
        tx.execute("insert into t values (2)", [])?;
        thread::sleep(TIMEOUT * 3);
        Ok(())
    });
    // No statement runs while the closure sleeps: the timeout may hit either of its neighbours.
    let rows = count(&pool);
    assert_eq!(rows, i64::from(outcome.is_ok()), "{outcome:?}");
    assert_eq!(pool.snapshot().levels.in_use, 0);
}

#[test]
fn a_guards_statement_timeout_interrupts_its_statement_and_not_the_next_guards() {
    let pool = Pool::builder().max_size(1).build(Sqlite::memory()).expect("a database");
    let mut guard = pool.get().expect("a connection");
    PooledConnection::set_statement_timeout(&mut guard, TIMEOUT);
    let endless =
        |conn: &rusqlite::Connection| conn.query_row(ENDLESS, [], |row| row.get::<_, i64>(0));
    within(SOON, || endless(&guard).expect_err("it has no end"));
    assert!(matches!(PooledConnection::stopped(&guard), Some(Stopped::Cancelled(_))));
    PooledConnection::set_statement_timeout(&mut guard, TIMEOUT);
    drop(guard);
    let next = pool.get().expect("the same connection");
    let until = Instant::now() + TIMEOUT * 3;
    while Instant::now() < until {
        next.query_row("select 1", [], |row| row.get::<_, i64>(0)).expect("no timeout applies");
    }
    assert_eq!(PooledConnection::stopped(&next), None);
}

#[test]
fn a_cancel_handle_works_from_another_thread_and_has_no_effect_after_check_in() {
    let pool = Pool::builder().max_size(1).build(Sqlite::memory()).expect("a database");
    let guard = pool.get().expect("a connection");
    let handle = PooledConnection::cancel_handle(&guard);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(TIMEOUT);
            assert!(handle.cancel().expect("it cannot fail"));
        });
        let ended = within(SOON, || guard.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))).0;
        ended.expect_err("it was interrupted");
    });
    drop(guard);
    assert!(!handle.cancel().expect("it cannot fail"));
}

#[test]
fn one_of_the_pools_queries_that_takes_long_is_reported_with_the_place_of_its_check_out() {
    #[derive(Clone, Default)]
    struct Slow(std::sync::Arc<std::sync::Mutex<Vec<(u64, Duration, u32)>>>);
    impl poolwarden::Observer for Slow {
        fn slow_statement(&self, event: &poolwarden::observe::SlowStatement<'_>) {
            let line = event.site.expect("it is known").line();
            let mut list = self.0.lock().expect("no panic");
            list.push((event.connection, event.took, line));
        }
    }
    const MANY: &str =
        "with recursive t(n) as (select 1 union all select n + 1 from t limit 500000)
                        select count(*) from t";
    let query = |pool: &Pool<Sqlite>| {
        let line = line!() + 1;
        pool.query(MANY, [], |row| row.get::<_, i64>(0)).expect("it ends");
        line
    };
    let open = |limit: Duration, observer: &Slow| {
        let builder = Pool::builder().name("a slow statement").observer(observer.clone());
        builder.slow_statement(limit).build(Sqlite::memory()).expect("a database")
    };
    let (slow, fast, log) = (Slow::default(), Slow::default(), support::logs::mark());
    let limit = Duration::from_millis(1);
    let pool = open(limit, &slow);
    let line = query(&pool);
    let reported = slow.0.lock().expect("no panic").clone();
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert!(reported[0].1 >= limit && reported[0].2 == line, "{reported:?}");
    assert_eq!(pool.snapshot().slow_statements, 1);
    let is_line = |record: &support::logs::Record| record.message.contains("a statement on");
    let lines = log.records_of("pool", "a slow statement");
    let text = &lines.iter().find(|record| is_line(record)).expect("a line").message;
    assert!(text.contains(&format!(".rs:{line},")) && !text.contains("select"), "{text}");
    assert!(text.ends_with("(slow_statement 1 ms)"), "{text}");
    query(&open(Duration::from_secs(3_600), &fast));
    assert!(fast.0.lock().expect("no panic").is_empty());
}
