//! A connection that ends in use is closed with its actual cause, and with the
//! server's message where there is one.

use crate::variant::{Variant, fresh_name, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, MySql, Pool, PooledConnection, Postgres};
use std::time::Duration;
use support::logs;
use support::proxy::{Fault, Proxy};
use support::wait::eventually;

const READY: Duration = Duration::from_secs(20);

#[test]
fn a_session_that_the_server_ends_during_a_query_is_closed_with_the_servers_message() {
    let Some((_, database)) = shared_pg() else { return };
    let log = logs::mark();
    let name = fresh_name("mid-query");
    let driver = Postgres::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(1).name(&name).build(driver).expect("a server");
    let mut connection = pool.get().expect("a connection");
    let killed = std::thread::scope(|scope| {
        let query = scope.spawn(|| connection.batch_execute("select pg_sleep(60)").is_err());
        let active = || database.backends().iter().any(|backend| backend.state == "active");
        assert!(eventually(READY, active), "{}", pool.snapshot());
        database.terminate_all();
        query.join().expect("no panic")
    });
    assert!(killed);
    drop(connection);
    let closed = || pool.snapshot().closed_by(CloseReason::ServerShutdown) == 1;
    assert!(eventually(READY, closed), "{}", pool.snapshot());
    let reported =
        || log.records_of("pool", &name).iter().any(|record| record.message.contains("57P01"));
    assert!(eventually(READY, reported), "{:?}", log.records_of("pool", &name));
}

#[test]
fn a_session_that_ends_during_a_query_is_closed_as_ended_by_the_peer() {
    let Some((_, database)) = shared_my() else { return };
    let proxy = Proxy::to_port(database.server().port());
    let driver = MySql::new(&database.url_via(proxy.port())).expect("a driver");
    let pool = Pool::builder().max_size(1).build(driver).expect("a server");
    let ends: [&(dyn Fn() -> usize + Sync); 2] =
        [&|| database.kill_all(), &|| proxy.apply(&Fault::Fin)];
    for (place, end) in ends.into_iter().enumerate() {
        let mut connection = pool.get().expect("a connection");
        std::thread::scope(|scope| {
            let query = scope.spawn(|| connection.query_drop("do sleep(60)").is_err());
            let active = || database.processlist().iter().any(|one| one.command == "Query");
            assert!(eventually(READY, active), "{}", pool.snapshot());
            assert_eq!(end(), 1);
            assert!(query.join().expect("no panic"));
        });
        drop(connection);
        let closed = || pool.snapshot().closed_by(CloseReason::ServerClosed) == place as u64 + 1;
        assert!(eventually(READY, closed), "{}", pool.snapshot());
    }
}

#[test]
fn a_borrower_learns_that_the_server_has_closed_its_session_before_it_sends_a_statement() {
    let Some((variant, database)) = shared_pg() else { return };
    let tcp = variant.driver();
    let unix = Postgres::new(&database.unix_url()).expect("a driver");
    for driver in [tcp, unix] {
        let pool = Pool::builder().max_size(1).build(driver).expect("a server");
        let mut connection = pool.get().expect("a connection");
        connection.batch_execute("listen news; notify news").expect("it runs");
        assert!(!PooledConnection::is_closed_by_peer(&connection), "a notification is no end");
        database.terminate_all();
        assert!(eventually(READY, || PooledConnection::is_closed_by_peer(&connection)));
    }
    let Some((variant, database)) = shared_my() else { return };
    let unix = MySql::new(&database.unix_url()).expect("a driver");
    for driver in [variant.driver(), unix] {
        let pool = Pool::builder().max_size(1).build(driver).expect("a server");
        let connection = pool.get().expect("a connection");
        assert!(!PooledConnection::is_closed_by_peer(&connection));
        database.kill_all();
        assert!(eventually(READY, || PooledConnection::is_closed_by_peer(&connection)));
    }
}

/// The driver has consumed the kernel's error by then; the cause can still be read.
#[test]
fn a_rst_from_the_peer_and_one_in_answer_to_a_write_have_different_close_reasons() {
    let Some((_, database)) = shared_my() else { return };
    let proxy = Proxy::to_port(database.server().port());
    let driver = MySql::new(&database.url_via(proxy.port())).expect("a driver");
    let pool = Pool::builder().max_size(1).build(driver).expect("a server");
    let ends =
        [(Fault::Rst, CloseReason::ConnectionReset), (Fault::Fin, CloseReason::ServerClosed)];
    for (fault, reason) in ends {
        let mut connection = pool.get().expect("a connection");
        proxy.apply(&fault);
        std::thread::sleep(Duration::from_millis(50));
        assert!(connection.query_drop("do 0").is_err());
        // The kernel's answer to a write to a closed socket.
        std::thread::sleep(Duration::from_millis(50));
        drop(connection);
        assert_eq!(pool.snapshot().closed_by(reason), 1, "{fault:?}: {}", pool.snapshot());
    }
}
