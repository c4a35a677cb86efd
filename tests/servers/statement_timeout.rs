//! A statement that does not end delays no caller beyond its timeout: it is cancelled, and
//! without a reply its connection is shut down.

use crate::slow_statement::{Ended, SlowStatement, sleep_in_mysql};
use crate::variant::{My, Ours, Pg, Subject, Variant, fill, shared_my, shared_pg};
use poolwarden::driver::Driver;
use poolwarden::query::Stopped;
use poolwarden::{Builder, CloseReason, Error, ErrorKind, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::{eventually, within};
use support::{mariadb, postgres as pg};

const TIMEOUT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);
/// The time by which a cancelled statement must have ended on a busy computer.
const SOON: Duration = Duration::from_secs(30);

/// A sleep by the pool's own queries, for both servers.
trait PoolSleep: SlowStatement {
    fn sleep_in(pool: &Pool<Self::Driver>, time: Duration) -> Result<(), Error>;
}

impl PoolSleep for Pg {
    fn sleep_in(pool: &Pool<poolwarden::Postgres>, time: Duration) -> Result<(), Error> {
        let seconds = time.as_secs_f64();
        pool.query("select pg_sleep($1)", &[&seconds]).map(drop)
    }
}

impl PoolSleep for My {
    fn sleep_in(pool: &Pool<poolwarden::MySql>, time: Duration) -> Result<(), Error> {
        pool.exec::<i64, _>(&sleep_in_mysql("?"), (time.as_secs_f64(),)).map(drop)
    }
}

/// One connection for work, and for MariaDB the reserved one. No test here may fail
/// because the computer is busy.
fn builder<D: Driver>() -> Builder<D> {
    let builder = Pool::builder().max_size(2).statement_timeout(TIMEOUT);
    builder.cancel_timeout(SOON).ping_timeout(SOON)
}

fn assert_timed_out(error: &Error, took: Duration) {
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
    assert!(error.to_string().contains("cancelled by the pool's statement_timeout"), "{error}");
    assert!(std::error::Error::source(error).is_some(), "the driver's error");
    assert_eq!(error.fault().class(), poolwarden::FaultClass::TimedOut);
    assert!(took >= TIMEOUT, "after {took:?}");
}

/// A query past its timeout fails with its own kind, and the connection stays open.
fn cancels<F: PoolSleep>(variant: &F, is_kept: bool) {
    let pool = builder().build(variant.driver()).expect("the server accepts");
    let id = PooledConnection::id(&pool.get().expect("a connection"));
    for _ in 0..2 {
        let (error, took) =
            within(SOON, || F::sleep_in(&pool, LONG).expect_err("it does not sleep so long"));
        assert_timed_out(&error, took);
        F::sleep_in(&pool, Duration::from_millis(1)).expect("the next one is not hit");
    }
    let mut guard = pool.get().expect("a connection");
    assert_eq!(PooledConnection::id(&guard) == id, is_kept, "{}", pool.snapshot());
    F::ask(&mut guard).expect("it is clean");
    drop(guard);
    let books = pool.snapshot();
    assert_eq!((books.levels.in_use, books.abandoned), (0, 0), "{books}");
    assert_eq!(books.closed_by(CloseReason::StatementTimeout), 0, "{books}");
}

#[test]
fn a_postgres_query_past_its_timeout_is_cancelled() {
    support::require!(postgres);
    cancels(&shared_pg().expect("the server accepts").0, true);
    let database = pg::shared().fresh_database();
    cancels(&Pg::new(database.unix_url()), false);
}

#[test]
fn a_mariadb_query_past_its_timeout_is_cancelled() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    cancels(&My::new(database.url()), true);
    cancels(&My::new(database.unix_url()), true);
}

/// Freezes the server during a query: the query still ends, and no permit is lost.
fn is_aborted<F: PoolSleep>(variant: &F, freeze: impl Fn() + Sync, thaw: impl Fn()) {
    let timeout = Duration::from_millis(500);
    let pool = builder().cancel_timeout(timeout).build(variant.driver()).expect("a pool");
    fill_for_work(&pool);
    let (error, took) = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(TIMEOUT / 2);
            freeze();
        });
        within(SOON, || F::sleep_in(&pool, LONG).expect_err("the server does not answer"))
    });
    assert_eq!(error.kind(), ErrorKind::StatementAbandoned, "{error:?}");
    assert!(error.to_string().contains("was shut down after"), "{error}");
    assert_eq!(error.fault().retry_safety(), poolwarden::RetrySafety::OutcomeUnknown);
    assert!(took >= TIMEOUT + timeout, "after {took:?}");
    thaw();
    let cut = || pool.snapshot().closed_by(CloseReason::StatementTimeout) == 1;
    assert!(eventually(SOON, cut), "{}", pool.snapshot());
    let ours: Ours<F> = Ours(pool);
    assert!(eventually(SOON, || ours.work().is_ok()), "{}", ours.0.snapshot());
    let settled = || ours.0.snapshot().levels.closing + ours.0.snapshot().abandoned == 0;
    assert!(eventually(SOON, settled), "{}", ours.0.snapshot());
}

fn fill_for_work<D: Driver>(pool: &Pool<D>) {
    drop(pool.get().expect("the server accepts"));
}

#[test]
fn a_query_on_a_frozen_postgres_ends_at_statement_timeout_plus_cancel_timeout() {
    support::require!(postgres);
    let server = pg::Server::start();
    for url in [server.url("postgres", "postgres"), server.unix_url("postgres", "postgres")] {
        is_aborted(&Pg::new(url), || server.freeze(), || server.thaw());
    }
}

#[test]
fn a_query_on_a_frozen_mariadb_ends_at_statement_timeout_plus_cancel_timeout() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    for url in [database.url(), database.unix_url()] {
        is_aborted(&My::new(url), || server.freeze(), || server.thaw());
    }
}

#[test]
fn with_max_size_1_mariadb_cannot_be_sent_a_kill_and_the_socket_is_shut_down() {
    support::require!(mariadb);
    let (variant, _database) = shared_my().expect("the server accepts");
    let builder = builder().max_size(1).cancel_timeout(Duration::from_millis(300));
    let pool = builder.build(variant.driver()).expect("a pool");
    let error = My::sleep_in(&pool, Duration::from_secs(2)).expect_err("it sleeps too long");
    assert_eq!(error.kind(), ErrorKind::StatementAbandoned, "{error:?}");
    // The server continues until the statement ends, and holds the only permit until then.
    My::sleep_in(&pool, Duration::ZERO).expect("the permit was released");
}

/// Statements that end at about the timeout, many times: the next one is never cancelled.
fn no_other_statement_is_cancelled<F: PoolSleep>(variant: &F, rounds: u32) {
    let short = Duration::from_millis(10);
    let pool = builder().max_size(3).statement_timeout(short).build(variant.driver());
    let pool = pool.expect("the server accepts");
    let (mut cancelled, mut ended) = (0, 0);
    for round in 0..rounds {
        let time = Duration::from_micros(u64::from(6_000 + round * 97 % 6_000));
        match F::sleep_in(&pool, time) {
            Ok(()) => ended += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
                cancelled += 1;
            }
        }
        let mut next = pool.get().expect("a connection");
        PooledConnection::set_statement_timeout(&mut next, None);
        for _ in 0..3 {
            F::ask(&mut next).expect("this one was not cancelled");
        }
    }
    let books = pool.snapshot();
    println!("cancelled {cancelled}, ended by themselves {ended}: {books}");
    assert!(cancelled > 0 && ended > 0, "cancelled {cancelled}, ended {ended}");
    assert_eq!(books.closed_by(CloseReason::Dirty), 0, "{books}");
}

#[test]
fn a_postgres_timeout_at_the_end_of_a_query_cancels_no_other_statement() {
    support::require!(postgres);
    no_other_statement_is_cancelled(&shared_pg().expect("the server accepts").0, 300);
}

#[test]
fn a_mariadb_timeout_at_the_end_of_a_query_cancels_no_other_statement() {
    support::require!(mariadb);
    no_other_statement_is_cancelled(&shared_my().expect("the server accepts").0, 300);
}

#[test]
fn kills_under_load_never_exceed_max_size_as_the_server_sees_it() {
    support::require!(mariadb);
    let (variant, database) = shared_my().expect("the server accepts");
    let cap = 4;
    let pool = builder().max_size(cap).statement_timeout(Duration::from_millis(30));
    let pool = pool.build(variant.driver()).expect("the server accepts");
    let done = AtomicBool::new(false);
    let (most, kills) = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let ends = (0..15).map(|_| My::sleep_in(&pool, LONG).err());
                    let kinds = ends.map(|error| error.map(|error| error.kind()));
                    kinds.filter(|kind| *kind == Some(ErrorKind::StatementTimeout)).count()
                })
            })
            .collect();
        let observer = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Relaxed) {
                most = most.max(database.processlist().len());
            }
            most
        });
        let kills: usize = workers.into_iter().map(|worker| worker.join().expect("ends")).sum();
        done.store(true, Relaxed);
        (observer.join().expect("no panic"), kills)
    });
    println!("{kills} of 120 killed, at most {most} connections: {}", pool.snapshot());
    assert!(most <= cap as usize, "{most} connections of {cap}");
    assert_eq!(kills, 120, "{}", pool.snapshot());
    let books = pool.snapshot();
    assert_eq!((books.levels.in_use, books.abandoned), (0, 0), "{books}");
    assert!(books.levels.open < cap, "{books}");
}

#[test]
fn errors_name_the_connection_that_is_reserved_for_control() {
    support::require!(mariadb);
    let (variant, _database) = shared_my().expect("the server accepts");
    let pool = builder().build(variant.driver()).expect("the server accepts");
    let _held = pool.get().expect("the only one for work");
    let error = pool.get_timeout(Duration::from_millis(50)).map(drop).expect_err("full");
    let reported = "the only connection is in use, and one permit is reserved for KILL QUERY";
    assert!(error.to_string().contains(reported), "{error}");
    let refused = builder().min_idle(2).build_lazy(variant.driver()).expect_err("too many");
    assert!(refused.to_string().contains("reserves for KILL QUERY"), "{refused}");
}

#[test]
fn a_cancel_by_another_client_is_not_reported_as_a_statement_timeout() {
    support::require!(postgres);
    let (variant, database) = shared_pg().expect("the server accepts");
    let pool = builder().statement_timeout(LONG).build(variant.driver()).expect("a pool");
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            let cancel = "select pg_cancel_backend(pid) from pg_stat_activity
                          where datname = current_database() and query like '%pg_sleep%'
                          and pid <> pg_backend_pid() and state = 'active'";
            let hit = || database.sql(cancel).iter().any(|row| row[0] == "t");
            assert!(eventually(SOON, hit), "{}", pool.snapshot());
        });
        Pg::sleep_in(&pool, LONG).expect_err("another client cancels it")
    });
    assert_eq!(error.kind(), ErrorKind::Driver, "{error:?}");
    assert!(error.to_string().contains("57014"), "{error}");
}

#[test]
fn the_statement_timeout_bounds_each_raw_postgres_statement() {
    support::require!(postgres);
    let (variant, _database) = shared_pg().expect("the server accepts");
    // On a loaded computer a short statement may take half a second longer.
    let timeout = Duration::from_secs(1);
    let pool = builder().statement_timeout(timeout).build(variant.driver()).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    for _ in 0..4 {
        Pg::sleep(&mut guard, timeout / 3).expect("each is short");
    }
    thread::sleep(timeout + timeout / 10);
    Pg::ask(&mut guard).expect("holding a guard is not a statement");
    assert_eq!(PooledConnection::stopped(&guard), None);
    let (ended, took) = within(SOON, || Pg::sleep(&mut guard, LONG));
    assert_eq!(ended, Err(Ended::Cancelled));
    assert!(took >= timeout, "after {took:?}");
    let reported = PooledConnection::stopped(&guard);
    assert!(
        matches!(reported, Some(Stopped::Cancelled(after)) if after >= timeout),
        "{reported:?}"
    );
    PooledConnection::set_statement_timeout(&mut guard, None);
    Pg::sleep(&mut guard, timeout + timeout / 10).expect("no limit now");
    drop(guard);
    let mut next = pool.get().expect("a connection");
    assert_eq!(PooledConnection::stopped(&next), None);
    assert_eq!(Pg::sleep(&mut next, LONG), Err(Ended::Cancelled), "the pool's timeout again");
}

/// Where the stream does not show statements, the time counts from the call to the check-in.
fn counts_from_the_call<F: SlowStatement>(variant: &F) {
    let builder = Pool::builder().max_size(2).cancel_timeout(SOON).ping_timeout(SOON);
    let pool = builder.build(variant.driver()).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    PooledConnection::set_statement_timeout(&mut guard, TIMEOUT);
    assert_eq!(within(SOON, || F::sleep(&mut guard, LONG)).0, Err(Ended::Cancelled));
    assert!(PooledConnection::stopped(&guard).is_some());
    PooledConnection::set_statement_timeout(&mut guard, None);
    F::sleep(&mut guard, TIMEOUT * 2).expect("no limit now");
    PooledConnection::set_statement_timeout(&mut guard, TIMEOUT);
    drop(guard);
    let mut next = pool.get().expect("a connection");
    F::sleep(&mut next, TIMEOUT * 2).expect("it ended with its guard");
}

#[test]
fn a_guards_statement_timeout_on_mariadb_counts_from_its_call() {
    support::require!(mariadb);
    counts_from_the_call(&shared_my().expect("the server accepts").0);
}

#[test]
fn a_guards_statement_timeout_on_postgres_over_a_unix_socket_counts_from_its_call() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    counts_from_the_call(&Pg::new(database.unix_url()));
}

#[test]
fn the_statement_timeout_bounds_each_statement_and_the_commit_of_a_postgres_transaction() {
    support::require!(postgres);
    let (variant, database) = shared_pg().expect("the server accepts");
    let pool = builder().build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let add = |n: i32, sleep: Duration| {
        pool.transaction(|tx| {
            tx.execute("insert into t values ($1)", &[&n])?;
            for _ in 0..3 {
                tx.execute("select pg_sleep($1)", &[&sleep.as_secs_f64()])?;
            }
            Ok(())
        })
    };
    add(1, TIMEOUT / 2).expect("each of its statements is short");
    let (error, took) = within(SOON, || add(2, LONG).expect_err("too long"));
    assert_timed_out(&error, took);
    assert!(error.to_string().contains("was rolled back"), "{error}");
    let at_commit = format!(
        "create function doze() returns trigger language plpgsql as
           'begin perform pg_sleep({}); return null; end';
         create constraint trigger doze after insert on t deferrable initially deferred
           for each row execute function doze()",
        LONG.as_secs()
    );
    pool.batch_execute(&at_commit).expect("a trigger that sleeps at COMMIT");
    let (error, took) = within(SOON, || add(3, Duration::ZERO).expect_err("it sleeps"));
    assert_timed_out(&error, took);
    assert_eq!(database.sql("select n from t"), [["1"]]);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 0, "{}", pool.snapshot());
}

#[test]
fn the_statement_timeout_bounds_a_mariadb_transaction_as_a_whole() {
    support::require!(mariadb);
    use mysql::prelude::Queryable;
    let (variant, database) = shared_my().expect("the server accepts");
    let pool = builder().build(variant.driver()).expect("a pool");
    pool.query_drop("create table t (n int)").expect("a table");
    let add = |n: i32, times: u32| {
        pool.transaction(|tx| {
            tx.exec_drop("insert into t values (?)", (n,))?;
            for _ in 0..times {
                let _: Vec<i64> = tx.query(sleep_in_mysql(TIMEOUT.as_secs_f64() / 20.0))?;
                // A KILL QUERY between two statements has no effect, and is repeated.
                thread::sleep(TIMEOUT / 10);
            }
            Ok(())
        })
    };
    add(1, 0).expect("it is short");
    let (error, took) = within(SOON, || add(2, 400).expect_err("too long"));
    assert_timed_out(&error, took);
    assert_eq!(database.sql("select n from t"), [["1"]]);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 0, "{}", pool.snapshot());
}

#[test]
fn a_commit_that_the_timeout_aborts_has_an_unknown_outcome() {
    support::require!(postgres);
    let server = pg::Server::start();
    let variant = Pg::new(server.url("postgres", "postgres"));
    let pool = builder().cancel_timeout(Duration::from_millis(300));
    let pool = pool.build(variant.driver()).expect("a pool");
    let outcome = pool.transaction(|tx| {
        tx.batch_execute("create table t (n int)")?;
        server.freeze();
        Ok(())
    });
    let error = outcome.expect_err("the COMMIT gets no reply");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    server.thaw();
}

#[test]
fn one_thread_times_out_many_concurrent_statements() {
    support::require!(postgres);
    let (variant, _database) = shared_pg().expect("the server accepts");
    let builder = builder().max_size(16).statement_timeout(4 * TIMEOUT);
    let pool = builder.build(variant.driver()).expect("a pool");
    fill(&pool);
    let began = Instant::now();
    thread::scope(|scope| {
        let sleepers: Vec<_> = (0..16).map(|_| scope.spawn(|| Pg::sleep_in(&pool, LONG))).collect();
        thread::sleep(TIMEOUT);
        // The thread of an earlier test may still be ending, and a thread that it starts
        // has its name for a moment: a single look can see two.
        let is_one = || support::wait::threads_named("poolwarden-deadlines").len() == 1;
        while !is_one() {
            let all_ended = sleepers.iter().all(thread::ScopedJoinHandle::is_finished);
            assert!(!all_ended, "several threads timed the statements");
            thread::sleep(Duration::from_millis(5));
        }
        for sleeper in sleepers {
            let error = sleeper.join().expect("no panic").expect_err("too long");
            assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
        }
    });
    assert!(began.elapsed() < SOON, "after {:?}", began.elapsed());
    assert_eq!(pool.snapshot().levels.idle, 16, "{}", pool.snapshot());
}
