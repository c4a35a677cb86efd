//! A connection that dies in its borrower's hands is closed for the cause, in the
//! server's words where there are any.

use crate::flavour::{fresh_name, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, MySql, Pool, Postgres};
use std::time::Duration;
use support::logs;
use support::proxy::{Fault, Proxy};
use support::wait::eventually;

const READY: Duration = Duration::from_secs(20);

#[test]
fn a_session_that_the_server_ends_in_mid_query_is_closed_in_the_servers_words() {
    let Some((_, database)) = shared_pg() else { return };
    let log = logs::mark();
    let name = fresh_name("mid-query");
    let driver = Postgres::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(1).name(&name).build(driver).expect("a server");
    let mut connection = pool.get().expect("a connection");
    let killed = std::thread::scope(|scope| {
        let query = scope.spawn(|| connection.batch_execute("select pg_sleep(60)").is_err());
        let active = || database.backends().iter().any(|backend| backend.state == "active");
        assert!(eventually(READY, active));
        database.terminate_all();
        query.join().expect("no panic")
    });
    assert!(killed);
    drop(connection);
    let closed = || pool.snapshot().closed_by(CloseReason::ServerShutdown) == 1;
    assert!(eventually(READY, closed), "{}", pool.snapshot());
    let told =
        || log.records_of("pool", &name).iter().any(|record| record.message.contains("57P01"));
    assert!(eventually(READY, told), "{:?}", log.records_of("pool", &name));
}

#[test]
fn a_session_that_is_killed_or_cut_in_mid_query_is_closed_as_ended_by_the_other_side() {
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
            assert!(eventually(READY, active));
            assert_eq!(end(), 1);
            assert!(query.join().expect("no panic"));
        });
        drop(connection);
        let closed = || pool.snapshot().closed_by(CloseReason::ServerClosed) == place as u64 + 1;
        assert!(eventually(READY, closed), "{}", pool.snapshot());
    }
}

/// The driver has taken the kernel's error by then; what it was still shows.
#[test]
fn a_reset_that_a_borrower_met_is_told_from_an_end_that_its_write_turned_into_one() {
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
        // What answers a write to a socket that is gone.
        std::thread::sleep(Duration::from_millis(50));
        drop(connection);
        assert_eq!(pool.snapshot().closed_by(reason), 1, "{fault:?}: {}", pool.snapshot());
    }
}
