//! Calls that need a descriptor or a thread while the process has none left.

use crate::variant::{My, Pg, Variant};
use poolwarden::driver::Driver;
use poolwarden::{ErrorKind, FaultClass, MySql, Pool, PooledConnection, Postgres};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};
use support::shortage::{Limits, in_child, in_child_with};
use support::wait::{eventually, within};
use support::{mariadb, postgres as pg};

const SOON: Duration = Duration::from_secs(20);

/// A call may end this much later than its deadline on a loaded computer.
const SLACK: Duration = Duration::from_secs(4);

fn pg_urls() -> String {
    let database = pg::shared().fresh_database();
    format!("{}\n{}", database.url(), database.unix_url())
}

fn my_urls() -> String {
    let database = mariadb::shared().fresh_database();
    format!("{}\n{}", database.url(), database.unix_url())
}

/// Dials with each number of descriptors to spare: the connection is as good as any, or
/// the attempt fails for want of descriptors; nothing panics, and nothing is printed.
fn dial_with_few_descriptors<D: Driver>(driver: impl Fn() -> D, limits: &Limits) {
    let panics = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&panics);
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        seen.fetch_add(1, SeqCst);
        print(info);
    }));
    // What the first dial of a process opens stays open.
    drop(Pool::builder().build(driver()).expect("the server is there"));
    let mut opened = 0;
    for spare in 0..14 {
        let pool = Pool::builder().max_size(1).build_lazy(driver()).expect("the options agree");
        let shortage = limits.descriptors(spare);
        match pool.get_timeout(SOON) {
            Ok(conn) => {
                opened += 1;
                drop(conn);
                drop(pool.get_timeout(SOON).expect("it is idle"));
                let now = pool.snapshot();
                assert!(now.peeks > 0 && now.pings == 0, "{spare} to spare: {now}");
            }
            Err(error) => {
                let fault = error.connect_error().map(|error| error.class());
                assert_eq!(fault, Some(FaultClass::LocalResource), "{spare}: {error}");
            }
        }
        drop(shortage);
        thread::sleep(Duration::from_millis(110));
        assert!(pool.get_timeout(SOON).is_ok(), "after {spare} to spare: {}", pool.snapshot());
    }
    assert!(opened > 0, "some of these are enough");
    assert_eq!(panics.load(SeqCst), 0);
}

#[test]
fn postgres_dials_with_too_few_descriptors_fail_as_a_local_resource() {
    support::require!(postgres);
    in_child_with(pg_urls, |limits, urls| {
        for url in urls.lines() {
            dial_with_few_descriptors(|| Pg::new(url.into()).driver(), limits);
        }
    });
}

#[test]
fn mariadb_dials_with_too_few_descriptors_fail_as_a_local_resource() {
    support::require!(mariadb);
    in_child_with(my_urls, |limits, urls| {
        for url in urls.lines() {
            dial_with_few_descriptors(|| My::new(url.into()).driver(), limits);
        }
    });
}

/// Pings and resets a connection to a frozen server without a descriptor to spare.
fn stay_bounded<D: Driver>(
    driver: impl Fn() -> D,
    limits: &Limits,
    freeze: &dyn Fn(),
    thaw: &dyn Fn(),
    dirty: impl Fn(&mut D::Connection),
) {
    let bound = Duration::from_millis(300);
    let builder = Pool::builder().max_size(2).ping_after(Duration::from_millis(500));
    let pool = builder.ping_timeout(bound).build(driver()).expect("the server is there");
    let mut used = pool.get_timeout(SOON).expect("a connection");
    drop(pool.get_timeout(SOON).expect("a connection"));
    dirty(&mut used);
    thread::sleep(Duration::from_millis(600));
    freeze();
    let shortage = limits.descriptors(0);
    let (_, took) = within(SOON, || pool.get_timeout(Duration::from_secs(1)).map(drop));
    assert!(took < Duration::from_secs(1) + SLACK, "a ping took {took:?}");
    let ((), took) = within(SOON, || drop(used));
    assert!(took < bound + SLACK, "a reset took {took:?}");
    drop(shortage);
    thaw();
    thread::sleep(Duration::from_millis(110));
    let (outcome, _) = within(SOON, || pool.get_timeout(SOON).map(drop));
    assert!(outcome.is_ok(), "{outcome:?}, {}", pool.snapshot());
}

#[test]
fn pings_and_resets_of_a_frozen_postgres_are_bounded_without_a_descriptor() {
    support::require!(postgres);
    in_child(|limits| {
        let server = pg::Server::start();
        for url in [server.url("postgres", "postgres"), server.unix_url("postgres", "postgres")] {
            let driver = || Postgres::new(&url).expect("a driver");
            let dirty = |client: &mut postgres::Client| {
                client.batch_execute("begin").expect("a transaction");
            };
            stay_bounded(driver, limits, &|| server.freeze(), &|| server.thaw(), dirty);
        }
    });
}

#[test]
fn pings_and_resets_of_a_frozen_mariadb_are_bounded_without_a_descriptor() {
    support::require!(mariadb);
    in_child(|limits| {
        let server = mariadb::Server::start();
        let url = server.fresh_database().url();
        let driver = || MySql::new(&url).expect("a driver");
        let dirty = |connection: &mut mysql::Conn| {
            use mysql::prelude::Queryable;
            connection.query_drop("set @a = 1").expect("a variable");
        };
        stay_bounded(driver, limits, &|| server.freeze(), &|| server.thaw(), dirty);
    });
}

#[test]
fn a_statement_timeout_of_postgres_holds_while_no_thread_can_start() {
    support::require!(postgres);
    in_child_with(pg_urls, |limits, urls| {
        for url in urls.lines() {
            let (timeout, cancel) = (Duration::from_millis(500), Duration::from_millis(500));
            let builder = Pool::builder().max_size(2).statement_timeout(timeout);
            let builder = builder.cancel_timeout(cancel);
            let pool = builder.build(Pg::new(url.into()).driver()).expect("the server is there");
            // Longer than a thread without work stays.
            thread::sleep(Duration::from_secs(1));
            let shortage = limits.threads();
            let began = Instant::now();
            let error = pool.query("select pg_sleep(30)", &[]).map(drop).expect_err("too long");
            let took = began.elapsed();
            drop(shortage);
            let kinds = [ErrorKind::StatementTimeout, ErrorKind::StatementAbandoned];
            assert!(kinds.contains(&error.kind()), "{error:?}");
            assert!(took < timeout + cancel + SLACK, "{took:?}");
        }
    });
}

#[test]
fn a_statement_is_cancelled_without_a_descriptor_to_spare() {
    support::require!(postgres);
    in_child_with(pg_urls, |limits, urls| {
        for url in urls.lines() {
            let pool = Pool::builder().max_size(1).build(Pg::new(url.into()).driver());
            let pool = pool.expect("the server is there");
            let mut conn = pool.get_timeout(SOON).expect("a connection");
            let handle = PooledConnection::cancel_handle(&conn);
            let shortage = limits.descriptors(0);
            thread::scope(|scope| {
                let sleeper = scope.spawn(|| conn.batch_execute("select pg_sleep(60)"));
                thread::sleep(Duration::from_millis(200));
                // A request that overtakes the statement cancels nothing.
                let is_cancelled = eventually(SOON, || {
                    let outcome = handle.cancel();
                    assert!(outcome.is_ok(), "{outcome:?}");
                    thread::sleep(Duration::from_millis(50));
                    sleeper.is_finished()
                });
                assert!(is_cancelled);
                let slept = sleeper.join().expect("no panic");
                assert!(slept.is_err(), "{slept:?}");
            });
            drop(shortage);
        }
    });
}
