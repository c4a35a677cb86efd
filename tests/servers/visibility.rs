//! The pool finds the socket of each kind of connection, and one check-out of a healthy
//! one costs one system call.

use crate::variant::{My, Pg, Variant, fill};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, ErrorKind, Pool};
use std::time::Duration;
use support::{mariadb, postgres as pg};

/// Healthy check-outs peek and never ping: the socket was found. Should a driver
/// ever hide it in another way, this test fails.
fn peeks_and_never_pings<F: Variant>(variant: &F) {
    let pool = Pool::builder().max_size(2).build(variant.driver()).expect("a pool");
    fill(&pool);
    std::thread::sleep(Duration::from_millis(1_100));
    let before = pool.snapshot();
    for _ in 0..20 {
        F::ask(&mut pool.get().expect("a connection")).expect("it works");
    }
    let books = pool.snapshot();
    assert!(books.peeks - before.peeks >= 20, "{books}");
    assert_eq!(books.pings, 0, "{books}");
}

#[test]
fn postgres_sockets_are_visible_over_tcp_and_over_unix() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    peeks_and_never_pings(&Pg::new(server.url("postgres", "postgres")));
    peeks_and_never_pings(&Pg::new(server.unix_url("postgres", "postgres")));
    let by_name = server.url("postgres", "postgres").replace("127.0.0.1", "localhost");
    peeks_and_never_pings(&Pg::new(by_name));
}

#[test]
fn mariadb_sockets_are_visible_over_tcp_and_over_unix() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    peeks_and_never_pings(&My::new(database.url()));
    peeks_and_never_pings(&My::new(database.unix_url()));
    peeks_and_never_pings(&My::new(database.url().replace("127.0.0.1", "localhost")));
}

#[test]
fn an_idle_connection_is_pinged_only_after_ping_after() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let builder = Pool::builder().max_size(1).ping_after(Duration::from_millis(300));
    let pool = builder.build(Pg::new(database.url()).driver()).expect("a pool");
    drop(pool.get().expect("used just now"));
    assert_eq!(pool.snapshot().pings, 0);
    std::thread::sleep(Duration::from_millis(350));
    drop(pool.get().expect("pinged"));
    drop(pool.get().expect("used just now"));
    assert_eq!(pool.snapshot().pings, 1);
}

#[test]
fn an_error_of_a_statement_closes_no_connection() {
    if pg::available() {
        let database = pg::shared().fresh_database();
        let pool = Pool::builder().max_size(1).build(Pg::new(database.url()).driver());
        let pool = pool.expect("a pool");
        let error = pool.query("select nonsense", &[]).map(drop).expect_err("no such column");
        assert_eq!(error.kind(), ErrorKind::Driver);
        assert!(error.to_string().contains("42703"), "{error}");
        assert!(pool.get().expect("a connection").query("select 1 / 0", &[]).is_err());
        assert_eq!((pool.snapshot().closed(), pool.snapshot().levels.idle), (0, 1));
    }
    if mariadb::available() {
        let database = mariadb::shared().fresh_database();
        let pool = Pool::builder().max_size(1).build(My::new(database.url()).driver());
        let pool = pool.expect("a pool");
        let error = pool.query_drop("select nonsense").expect_err("no such column");
        assert!(error.to_string().contains("1054"), "{error}");
        assert!(pool.get().expect("a connection").query_drop("select nonsense").is_err());
        assert_eq!((pool.snapshot().closed(), pool.snapshot().levels.idle), (0, 1));
    }
}

#[test]
fn a_connection_that_broke_in_use_is_discarded_and_replaced() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = Pool::builder().max_size(1).build(Pg::new(database.url()).driver());
    let pool = pool.expect("a pool");
    let mut busy = pool.get().expect("a connection");
    database.terminate_all();
    assert!(busy.execute("select 1", &[]).is_err());
    drop(busy);
    assert!(pool.query("select 1", &[]).is_ok());
    let books = pool.snapshot();
    assert_eq!((books.closed(), books.opened, books.levels.open), (1, 2, 1), "{books}");
}

#[test]
fn a_mysql_connection_with_an_unexpected_reply_is_never_handed_out() {
    let server = support::script::mysql::FakeMysql::start();
    let pool = Pool::builder().max_size(1).build(My::new(server.url()).driver());
    let pool = pool.expect("the fake server accepts");
    server.inject(&support::script::mysql::STRAY_OK);
    std::thread::sleep(Duration::from_millis(50));
    let seven: Option<u64> = pool.query_first("select 7").expect("an answer");
    assert_eq!(seven, Some(7));
    assert_eq!(pool.snapshot().closed_by(CloseReason::Unsolicited), 1, "{}", pool.snapshot());
}
