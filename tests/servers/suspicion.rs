//! One dead connection costs one discovery: what may have met the others is asked
//! about once, and not found out by one caller after the other.

use crate::flavour::{Flavour, My, Pg, fill, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, ErrorKind, FaultClass, MySql, Pool, Postgres};
use std::time::{Duration, Instant};
use support::proxy::{Fault, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// Eight idle, one of them ended by the other side while nobody looks.
fn seven_are_asked_once<F: Flavour>(flavour: &F, proxy: &Proxy) {
    let pool = Pool::builder().max_size(8).build(flavour.driver()).expect("a pool");
    fill(&pool);
    assert!(eventually(Duration::from_secs(5), || proxy.live() == 8));
    assert!(proxy.apply_to(4, &Fault::Fin));
    let found = || pool.snapshot().closed_by(CloseReason::ServerClosed) == 1;
    assert!(eventually(Duration::from_secs(5), found), "{}", pool.snapshot());
    assert_eq!(pool.snapshot().pings, 0);
    for _ in 0..3 {
        fill(&pool);
        let books = pool.snapshot();
        assert_eq!((books.pings, books.closed(), books.opened), (7, 1, 9), "{books}");
    }
}

/// Eight idle, all of them cut off without a sign: one caller waits for one ping.
fn one_ping_times_out<F: Flavour>(flavour: &F, proxy: &Proxy) {
    let bound = Duration::from_millis(400);
    let knobs = Pool::builder().max_size(8).ping_timeout(bound).ping_after(bound / 4);
    // A stalled proxy never confirms a close.
    let knobs = knobs.close_grace(bound / 4);
    let pool = knobs.build(flavour.driver()).expect("a pool");
    fill(&pool);
    std::thread::sleep(bound / 2);
    assert_eq!(proxy.apply(&Fault::Stall), 8);
    let began = Instant::now();
    let mut served = pool.get().expect("a new one is opened");
    F::ask(&mut served).expect("it works");
    assert!(began.elapsed() >= bound, "the first one is pinged in vain");
    fill_beside(&pool, served);
    assert!(began.elapsed() < 4 * bound, "took {:?}", began.elapsed());
    let books = pool.snapshot();
    assert_eq!(books.closed_by(CloseReason::PingTimeout), 1, "{books}");
    assert_eq!(books.closed_by(CloseReason::Condemned), 7, "{books}");
}

fn fill_beside<D: poolwarden::Driver>(pool: &Pool<D>, held: poolwarden::PooledConnection<D>) {
    let others = (1..pool.snapshot().max_size).map(|_| pool.get().expect("the server is there"));
    let others: Vec<_> = others.collect();
    drop((held, others));
}

#[test]
fn the_siblings_of_a_lost_postgres_connection_are_asked_once() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let flavour = Pg::new(database.url_via(proxy.port()));
    seven_are_asked_once(&flavour, &proxy);
    let proxy = Proxy::to_port(pg::shared().port());
    one_ping_times_out(&Pg::new(database.url_via(proxy.port())), &proxy);
}

#[test]
fn the_siblings_of_a_lost_mariadb_connection_are_asked_once() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    let flavour = My::new(database.url_via(proxy.port()));
    seven_are_asked_once(&flavour, &proxy);
    let proxy = Proxy::to_port(mariadb::shared().port());
    one_ping_times_out(&My::new(database.url_via(proxy.port())), &proxy);
}

#[test]
fn a_loss_in_the_middle_of_a_query_has_the_siblings_asked() {
    if let Some((flavour, _database)) = shared_pg() {
        let pool = Pool::builder().max_size(4).build(flavour.driver()).expect("a pool");
        fill(&pool);
        let lost = pool.query("select pg_terminate_backend(pg_backend_pid())", &[]);
        assert_eq!(lost.expect_err("it ended itself").fault().class(), FaultClass::Starting);
        fill(&pool);
        assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (3, 1));
        // A loss that the driver's own methods met is seen when the guard comes back.
        let mut guard = pool.get().expect("a connection");
        let ended = guard.batch_execute("select pg_terminate_backend(pg_backend_pid())");
        assert!(ended.is_err());
        drop(guard);
        fill(&pool);
        assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (6, 2));
    }
    if let Some((flavour, _database)) = shared_my() {
        let pool = Pool::builder().max_size(4).build(flavour.driver()).expect("a pool");
        fill(&pool);
        pool.query_drop("kill connection_id()").expect_err("it ended itself");
        fill(&pool);
        assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (3, 1));
    }
}

#[test]
fn connections_to_a_standby_that_is_written_to_are_closed_but_not_over_and_over() {
    support::require!(postgres);
    let primary = pg::Server::start();
    primary.sql("postgres", "create table t (n int)");
    let standby = primary.standby();
    let driver = Postgres::new(&standby.url("postgres", "postgres")).expect("a driver");
    let pool = Pool::builder().max_size(4).build(driver).expect("a pool");
    fill(&pool);
    let write = || pool.execute("insert into t values (1)", &[]).expect_err("a standby");
    assert_eq!(write().fault().class(), FaultClass::ReadOnly);
    fill(&pool);
    let closed = || pool.snapshot().closed_by(CloseReason::ReadOnly);
    assert_eq!((closed(), pool.snapshot().opened), (4, 8), "{}", pool.snapshot());
    // Those opened since lead to the same server: to open again would not help.
    let began = Instant::now();
    (0..20).for_each(|_| drop(write()));
    fill(&pool);
    if began.elapsed() < Duration::from_millis(500) {
        assert_eq!(closed(), 4, "{}", pool.snapshot());
    }
    standby.promote();
    pool.execute("insert into t values (1)", &[]).expect("it takes writes now");
}

#[test]
fn a_transaction_that_the_caller_opened_for_reading_closes_nothing() {
    if let Some((flavour, _database)) = shared_pg() {
        let pool = Pool::builder().max_size(2).build(flavour.driver()).expect("a pool");
        pool.batch_execute("create table t (n int)").expect("a table");
        fill(&pool);
        let own = pool.batch_execute("begin read only; insert into t values (1)");
        assert_eq!(own.expect_err("for reading").fault().class(), FaultClass::ReadOnly);
        let own = pool.transaction(|tx| {
            tx.batch_execute("set transaction read only; insert into t values (1)")?;
            Ok(())
        });
        assert_eq!(own.expect_err("for reading").kind(), ErrorKind::Driver);
        fill(&pool);
        assert_eq!((pool.snapshot().closed(), pool.snapshot().opened), (0, 2));
    }
}

#[test]
fn connections_to_a_mariadb_that_was_made_read_only_are_closed() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let driver = MySql::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(4).build(driver).expect("a pool");
    pool.query_drop("create table t (n int)").expect("a table");
    fill(&pool);
    server.set_global("read_only", 1);
    let error = pool.query_drop("insert into t values (1)").expect_err("read only");
    assert_eq!(error.fault().class(), FaultClass::ReadOnly);
    fill(&pool);
    let books = pool.snapshot();
    assert_eq!((books.closed_by(CloseReason::ReadOnly), books.opened), (4, 8), "{books}");
    let _ = pool.get().expect("a connection").query_drop("do 1");
}
