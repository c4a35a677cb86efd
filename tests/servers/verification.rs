//! One dead connection costs one failed check: the others are pinged
//! once, and no further caller meets a dead one.

use crate::variant::{My, Pg, Variant, fill, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, ErrorKind, FaultClass, MySql, Pool, Postgres};
use std::time::{Duration, Instant};
use support::proxy::{Fault, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// Eight idle connections, one of them closed by the peer.
fn seven_are_pinged_once<F: Variant>(variant: &F, proxy: &Proxy) {
    let pool = Pool::builder().max_size(8).build(variant.driver()).expect("a pool");
    fill(&pool);
    assert!(eventually(Duration::from_secs(5), || proxy.live() == 8), "{}", pool.snapshot());
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

/// Eight idle connections that are all unresponsive: one caller waits for one ping timeout.
fn one_ping_times_out<F: Variant>(variant: &F, proxy: &Proxy) {
    // A loaded computer opens eight connections in less than eight ping timeouts.
    let bound = Duration::from_secs(1);
    let options = Pool::builder().max_size(8).ping_timeout(bound).ping_after(bound / 10);
    // A stalled proxy never confirms a close.
    let options = options.close_grace(bound / 10);
    let pool = options.build(variant.driver()).expect("a pool");
    fill(&pool);
    std::thread::sleep(bound / 5);
    assert_eq!(proxy.apply(&Fault::Stall), 8);
    let began = Instant::now();
    let mut served = pool.get().expect("a new one is opened");
    F::ask(&mut served).expect("it works");
    assert!(began.elapsed() >= bound, "the ping of the first one times out");
    fill_beside(&pool, served);
    assert!(began.elapsed() < 7 * bound, "took {:?}", began.elapsed());
    let books = pool.snapshot();
    assert_eq!(books.closed_by(CloseReason::PingTimeout), 1, "{books}");
    assert_eq!(books.closed_by(CloseReason::SiblingPingTimeout), 7, "{books}");
}

fn fill_beside<D: poolwarden::driver::Driver>(
    pool: &Pool<D>,
    held: poolwarden::PooledConnection<D>,
) {
    let others =
        (1..pool.snapshot().levels.max_size).map(|_| pool.get().expect("the server accepts"));
    let others: Vec<_> = others.collect();
    drop((held, others));
}

#[test]
fn the_other_connections_are_pinged_once_after_a_lost_postgres_connection() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let variant = Pg::new(database.url_via(proxy.port()));
    seven_are_pinged_once(&variant, &proxy);
    let proxy = Proxy::to_port(pg::shared().port());
    one_ping_times_out(&Pg::new(database.url_via(proxy.port())), &proxy);
}

#[test]
fn the_other_connections_are_pinged_once_after_a_lost_mariadb_connection() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    let variant = My::new(database.url_via(proxy.port()));
    seven_are_pinged_once(&variant, &proxy);
    let proxy = Proxy::to_port(mariadb::shared().port());
    one_ping_times_out(&My::new(database.url_via(proxy.port())), &proxy);
}

#[test]
fn a_connection_lost_during_a_query_has_the_others_pinged() {
    if let Some((variant, _database)) = shared_pg() {
        let pool = Pool::builder().max_size(4).build(variant.driver()).expect("a pool");
        fill(&pool);
        let lost = pool.query("select pg_terminate_backend(pg_backend_pid())", &[]);
        assert_eq!(lost.expect_err("it ended itself").fault().class(), FaultClass::Starting);
        fill(&pool);
        assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (3, 1));
        // A loss that the driver's own methods met is noticed at check-in.
        let mut guard = pool.get().expect("a connection");
        let ended = guard.batch_execute("select pg_terminate_backend(pg_backend_pid())");
        assert!(ended.is_err());
        drop(guard);
        fill(&pool);
        assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (6, 2));
    }
    if let Some((variant, _database)) = shared_my() {
        let pool = Pool::builder().max_size(4).build(variant.driver()).expect("a pool");
        fill(&pool);
        pool.query_drop("kill connection_id()").expect_err("it ended itself");
        fill(&pool);
        assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (3, 1));
    }
}

#[test]
fn connections_to_a_standby_are_closed_after_a_refused_write_but_not_repeatedly() {
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
    // Newer connections lead to the same server: opening others would not help.
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
fn a_write_in_a_callers_read_only_transaction_closes_no_connection() {
    if let Some((variant, _database)) = shared_pg() {
        let pool = Pool::builder().max_size(2).build(variant.driver()).expect("a pool");
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
