//! A statement that does not end holds nobody: it is cancelled, and where nothing
//! answers, its connection is shut down.

use crate::flavour::{Flavour, My, Ours, Pg, Subject, fill, shared_my, shared_pg};
use crate::sleeper::{Ended, Sleeper};
use poolwarden::{Builder, CloseReason, Driver, Error, ErrorKind, Pool, PooledConnection, Stopped};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::{eventually, within};
use support::{mariadb, postgres as pg};

const TIMEOUT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(20);
/// When what was stopped must have ended at the latest, on a busy computer.
const SOON: Duration = Duration::from_secs(10);

/// The pool's own queries of both servers, by one name.
trait Own: Sleeper {
    fn sleep_in(pool: &Pool<Self::Driver>, time: Duration) -> Result<(), Error>;
}

impl Own for Pg {
    fn sleep_in(pool: &Pool<poolwarden::Postgres>, time: Duration) -> Result<(), Error> {
        let seconds = time.as_secs_f64();
        pool.query("select pg_sleep($1)", &[&seconds]).map(drop)
    }
}

impl Own for My {
    fn sleep_in(pool: &Pool<poolwarden::MySql>, time: Duration) -> Result<(), Error> {
        pool.exec::<i64, _>("select sleep(?)", (time.as_secs_f64(),)).map(drop)
    }
}

/// One connection for work, and for MariaDB the one that is kept. Nothing here may fail
/// because this computer is busy with other things.
fn builder<D: Driver>() -> Builder<D> {
    let builder = Pool::builder().max_size(2).statement_timeout(TIMEOUT);
    builder.cancel_timeout(SOON).ping_timeout(SOON)
}

fn assert_timed_out(error: &Error, took: Duration) {
    assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
    assert!(error.to_string().contains("cancelled by the pool's statement_timeout"), "{error}");
    assert!(std::error::Error::source(error).is_some(), "the driver's own words");
    assert_eq!(error.fault().class(), poolwarden::FaultClass::TimedOut);
    assert!(took >= TIMEOUT, "after {took:?}");
}

/// A query past its time-out fails with its own kind, and the connection lives on.
fn cancels<F: Own>(flavour: &F, is_kept: bool) {
    let pool = builder().build(flavour.driver()).expect("the server is there");
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
    assert_eq!((books.in_use, books.abandoned), (0, 0), "{books}");
    assert_eq!(books.closed_by(CloseReason::StatementTimeout), 0, "{books}");
}

#[test]
fn a_postgres_query_past_its_time_out_is_cancelled() {
    support::require!(postgres);
    cancels(&shared_pg().expect("it is there").0, true);
    let database = pg::shared().fresh_database();
    cancels(&Pg::new(database.unix_url()), false);
}

#[test]
fn a_mariadb_query_past_its_time_out_is_cancelled() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    cancels(&My::new(database.url()), true);
    cancels(&My::new(database.unix_url()), true);
}

/// Freezes the server under a query: it ends all the same, and no place is lost.
fn is_cut<F: Own>(flavour: &F, freeze: impl Fn() + Sync, thaw: impl Fn()) {
    let patience = Duration::from_millis(500);
    let pool = builder().cancel_timeout(patience).build(flavour.driver()).expect("a pool");
    fill_for_work(&pool);
    let (error, took) = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(TIMEOUT / 2);
            freeze();
        });
        within(SOON, || F::sleep_in(&pool, LONG).expect_err("nobody answers"))
    });
    assert_eq!(error.kind(), ErrorKind::StatementAbandoned, "{error:?}");
    assert!(error.to_string().contains("was shut down after"), "{error}");
    assert_eq!(error.fault().repeat(), poolwarden::Repeat::OutcomeUnknown);
    assert!(took >= TIMEOUT + patience, "after {took:?}");
    thaw();
    let cut = || pool.snapshot().closed_by(CloseReason::StatementTimeout) == 1;
    assert!(eventually(SOON, cut), "{}", pool.snapshot());
    let ours: Ours<F> = Ours(pool);
    assert!(eventually(SOON, || ours.work().is_ok()), "{}", ours.0.snapshot());
    let settled = || ours.0.snapshot().closing + ours.0.snapshot().abandoned == 0;
    assert!(eventually(SOON, settled), "{}", ours.0.snapshot());
}

fn fill_for_work<D: Driver>(pool: &Pool<D>) {
    drop(pool.get().expect("the server is there"));
}

#[test]
fn a_query_on_a_frozen_postgres_ends_at_the_hard_bound() {
    support::require!(postgres);
    let server = pg::Server::start();
    for url in [server.url("postgres", "postgres"), server.unix_url("postgres", "postgres")] {
        is_cut(&Pg::new(url), || server.freeze(), || server.thaw());
    }
}

#[test]
fn a_query_on_a_frozen_mariadb_ends_at_the_hard_bound() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    for url in [database.url(), database.unix_url()] {
        is_cut(&My::new(url), || server.freeze(), || server.thaw());
    }
}

#[test]
fn with_a_single_connection_mariadb_has_no_kill_and_is_shut_down() {
    support::require!(mariadb);
    let (flavour, _database) = shared_my().expect("it is there");
    let builder = builder().max_size(1).cancel_timeout(Duration::from_millis(300));
    let pool = builder.build(flavour.driver()).expect("a pool");
    let error = My::sleep_in(&pool, Duration::from_secs(2)).expect_err("it sleeps too long");
    assert_eq!(error.kind(), ErrorKind::StatementAbandoned, "{error:?}");
    // The server works on until the statement ends, and holds the only place so long.
    My::sleep_in(&pool, Duration::ZERO).expect("the place came back");
}

/// Ends at about the time-out, over and over: whoever comes next is never stopped.
fn nobody_else_is_hit<F: Own>(flavour: &F, rounds: u32) {
    let short = Duration::from_millis(10);
    let pool = builder().max_size(3).statement_timeout(short).build(flavour.driver());
    let pool = pool.expect("the server is there");
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
            F::ask(&mut next).expect("nobody has cancelled this one");
        }
    }
    let books = pool.snapshot();
    println!("cancelled {cancelled}, ended by themselves {ended}: {books}");
    assert!(cancelled > 0 && ended > 0, "cancelled {cancelled}, ended {ended}");
    assert_eq!(books.closed_by(CloseReason::Dirty), 0, "{books}");
}

#[test]
fn a_postgres_time_out_at_the_end_of_a_query_hits_no_other() {
    support::require!(postgres);
    nobody_else_is_hit(&shared_pg().expect("it is there").0, 300);
}

#[test]
fn a_mariadb_time_out_at_the_end_of_a_query_hits_no_other() {
    support::require!(mariadb);
    nobody_else_is_hit(&shared_my().expect("it is there").0, 300);
}

#[test]
fn kills_under_load_never_exceed_the_cap_as_the_server_sees_it() {
    support::require!(mariadb);
    let (flavour, database) = shared_my().expect("it is there");
    let cap = 4;
    let pool = builder().max_size(cap).statement_timeout(Duration::from_millis(30));
    let pool = pool.build(flavour.driver()).expect("the server is there");
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
        let looker = scope.spawn(|| {
            let mut most = 0;
            while !done.load(Relaxed) {
                most = most.max(database.processlist().len());
            }
            most
        });
        let kills: usize = workers.into_iter().map(|worker| worker.join().expect("ends")).sum();
        done.store(true, Relaxed);
        (looker.join().expect("no panic"), kills)
    });
    println!("{kills} of 120 killed, at most {most} connections: {}", pool.snapshot());
    assert!(most <= cap as usize, "{most} connections of {cap}");
    assert_eq!(kills, 120, "{}", pool.snapshot());
    let books = pool.snapshot();
    assert_eq!((books.in_use, books.abandoned), (0, 0), "{books}");
    assert!(books.open < cap, "{books}");
}

#[test]
fn the_connection_that_is_kept_is_told_of() {
    support::require!(mariadb);
    let (flavour, _database) = shared_my().expect("it is there");
    let pool = builder().build(flavour.driver()).expect("the server is there");
    let _held = pool.get().expect("the only one for work");
    let error = pool.get_timeout(Duration::from_millis(50)).map(drop).expect_err("full");
    let told = "all 1 connections are in use, and one is kept for KILL QUERY";
    assert!(error.to_string().contains(told), "{error}");
    let refused = builder().min_idle(2).build_lazy(flavour.driver()).expect_err("too many");
    assert!(refused.to_string().contains("keeps for KILL QUERY"), "{refused}");
}

#[test]
fn a_cancel_by_somebody_else_is_not_taken_for_the_time_out() {
    support::require!(postgres);
    let (flavour, database) = shared_pg().expect("it is there");
    let pool = builder().statement_timeout(LONG).build(flavour.driver()).expect("a pool");
    let error = thread::scope(|scope| {
        scope.spawn(|| {
            let cancel = "select pg_cancel_backend(pid) from pg_stat_activity
                          where datname = current_database() and query like '%pg_sleep%'
                          and pid <> pg_backend_pid() and state = 'active'";
            let hit = || database.sql(cancel).iter().any(|row| row[0] == "t");
            assert!(eventually(SOON, hit));
        });
        Pg::sleep_in(&pool, LONG).expect_err("somebody cancels it")
    });
    assert_eq!(error.kind(), ErrorKind::Driver, "{error:?}");
    assert!(error.to_string().contains("57014"), "{error}");
}

#[test]
fn every_raw_postgres_statement_is_bounded_by_itself() {
    support::require!(postgres);
    let (flavour, _database) = shared_pg().expect("it is there");
    let pool = builder().build(flavour.driver()).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    for _ in 0..3 {
        Pg::sleep(&mut guard, TIMEOUT / 2).expect("each is short");
    }
    thread::sleep(TIMEOUT * 2);
    Pg::ask(&mut guard).expect("to hold a guard is no statement");
    assert_eq!(PooledConnection::stopped(&guard), None);
    let (ended, took) = within(SOON, || Pg::sleep(&mut guard, LONG));
    assert_eq!(ended, Err(Ended::Cancelled));
    assert!(took >= TIMEOUT, "after {took:?}");
    let told = PooledConnection::stopped(&guard);
    assert!(matches!(told, Some(Stopped::Cancelled(after)) if after >= TIMEOUT), "{told:?}");
    PooledConnection::set_statement_timeout(&mut guard, None);
    Pg::sleep(&mut guard, TIMEOUT * 2).expect("no limit now");
    drop(guard);
    let mut next = pool.get().expect("a connection");
    assert_eq!(PooledConnection::stopped(&next), None);
    assert_eq!(Pg::sleep(&mut next, LONG), Err(Ended::Cancelled), "the pool's time-out again");
}

/// Where the stream does not tell, the time counts from the call to the guard's end.
fn counts_from_the_call<F: Sleeper>(flavour: &F) {
    let builder = Pool::builder().max_size(2).cancel_timeout(SOON).ping_timeout(SOON);
    let pool = builder.build(flavour.driver()).expect("a pool");
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
fn a_raw_mariadb_statement_is_bounded_from_the_call_on() {
    support::require!(mariadb);
    counts_from_the_call(&shared_my().expect("it is there").0);
}

#[test]
fn a_raw_postgres_statement_over_a_unix_socket_is_bounded_from_the_call_on() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    counts_from_the_call(&Pg::new(database.unix_url()));
}

#[test]
fn in_a_postgres_transaction_each_statement_is_bounded_and_the_commit_too() {
    support::require!(postgres);
    let (flavour, database) = shared_pg().expect("it is there");
    let pool = builder().build(flavour.driver()).expect("a pool");
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
    pool.batch_execute(&at_commit).expect("a trigger that dozes at COMMIT");
    let (error, took) = within(SOON, || add(3, Duration::ZERO).expect_err("it dozes"));
    assert_timed_out(&error, took);
    assert_eq!(database.sql("select n from t"), [["1"]]);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 0, "{}", pool.snapshot());
}

#[test]
fn a_mariadb_transaction_is_bounded_as_a_whole() {
    support::require!(mariadb);
    use mysql::prelude::Queryable;
    let (flavour, database) = shared_my().expect("it is there");
    let pool = builder().build(flavour.driver()).expect("a pool");
    pool.query_drop("create table t (n int)").expect("a table");
    let add = |n: i32, times: u32| {
        pool.transaction(|tx| {
            tx.exec_drop("insert into t values (?)", (n,))?;
            for _ in 0..times {
                let sleep = format!("select sleep({})", TIMEOUT.as_secs_f64() / 2.0);
                let _: Vec<i64> = tx.query(sleep)?;
            }
            Ok(())
        })
    };
    add(1, 1).expect("it is short");
    let (error, took) = within(SOON, || add(2, 50).expect_err("too long"));
    assert_timed_out(&error, took);
    assert_eq!(database.sql("select n from t"), [["1"]]);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 0, "{}", pool.snapshot());
}

#[test]
fn a_commit_that_is_cut_off_has_an_unknown_outcome() {
    support::require!(postgres);
    let server = pg::Server::start();
    let flavour = Pg::new(server.url("postgres", "postgres"));
    let pool = builder().cancel_timeout(Duration::from_millis(300));
    let pool = pool.build(flavour.driver()).expect("a pool");
    let outcome = pool.transaction(|tx| {
        tx.batch_execute("create table t (n int)")?;
        server.freeze();
        Ok(())
    });
    let error = outcome.expect_err("nobody answers the COMMIT");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error:?}");
    server.thaw();
}

#[test]
fn many_statements_at_a_time_are_bounded_by_one_thread() {
    support::require!(postgres);
    let (flavour, _database) = shared_pg().expect("it is there");
    let pool = builder().max_size(16).build(flavour.driver()).expect("a pool");
    fill(&pool);
    let began = Instant::now();
    thread::scope(|scope| {
        let sleepers: Vec<_> = (0..16).map(|_| scope.spawn(|| Pg::sleep_in(&pool, LONG))).collect();
        thread::sleep(TIMEOUT / 2);
        let watchers = support::wait::threads_named("poolwarden-watchdog");
        assert_eq!(watchers.len(), 1, "{watchers:?}");
        for sleeper in sleepers {
            let error = sleeper.join().expect("no panic").expect_err("too long");
            assert_eq!(error.kind(), ErrorKind::StatementTimeout, "{error:?}");
        }
    });
    assert!(began.elapsed() < SOON, "after {:?}", began.elapsed());
    assert_eq!(pool.snapshot().idle, 16, "{}", pool.snapshot());
}
