//! `keepalive_ping` keeps the connections of a quiet pool open behind a proxy that closes
//! those without traffic.

use super::SOON;
use crate::variant::{My, Ours, Pg, Subject, Variant, fill};
use poolwarden::Pool;
use std::thread;
use std::time::Duration;
use support::haproxy::Haproxy;
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const SIZE: u32 = 4;
/// The time without traffic after which the proxy closes a connection.
const LIMIT: Duration = Duration::from_secs(6);

/// A pool without pings loses all its connections, and then some time passes: pools with
/// pings, which were filled at the same time, have lost none.
fn kept_open<F: Variant>(server: u16, via: impl Fn(u16) -> F) {
    let haproxy = Haproxy::with(server, |conf| {
        let limit = LIMIT.as_secs();
        conf.set(&format!("timeout client {limit}s")).set(&format!("timeout server {limit}s"));
    });
    let variant = via(haproxy.port());
    let builder = || {
        let patient = Pool::builder().max_size(SIZE).ping_timeout(Duration::from_secs(20));
        patient.min_idle(SIZE)
    };
    let build = |builder: poolwarden::Builder<F::Driver>| {
        let pool = builder.build(variant.driver()).expect("the server accepts");
        fill(&pool);
        pool
    };
    let unknown = build(builder().keepalive_ping(Duration::from_secs(1)));
    let known = builder().keepalive_ping(Duration::from_secs(1)).proxy_idle_timeout(LIMIT);
    let pools = [unknown, build(known)];
    let control = build(builder());
    let lost = || control.snapshot().closed() >= u64::from(SIZE);
    assert!(eventually(LIMIT + SOON, lost), "{}", control.snapshot());
    thread::sleep(Duration::from_secs(2));
    for pool in pools {
        let books = pool.snapshot();
        assert_eq!((books.opened, books.closed()), (u64::from(SIZE), 0), "{books}");
        assert!(books.keepalive_pings >= u64::from(SIZE), "{books}");
        let ours: Ours<F> = Ours(pool);
        assert_eq!(ours.work(), Ok(()));
    }
}

#[test]
fn a_quiet_pool_keeps_its_postgres_connections_behind_haproxy() {
    support::require!(haproxy);
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    kept_open(pg::shared().port(), |port| Pg::new(database.url_via(port)));
}

#[test]
fn a_quiet_pool_keeps_its_mariadb_connections_behind_haproxy() {
    support::require!(haproxy);
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    kept_open(mariadb::shared().port(), |port| My::new(database.url_via(port)));
}
