//! The answer for a readiness probe.

use poolwarden::{Health, Pool, Postgres};
use std::thread;
use std::time::Duration;
use support::wait::{eventually, within};

const READY: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(300);

fn pool_on(server: &support::postgres::Server, size: u32) -> Pool<Postgres> {
    let driver = Postgres::new(&server.url("postgres", "postgres")).expect("a driver");
    let builder = Pool::builder().max_size(size).ping_timeout(Duration::from_secs(10));
    builder.build_lazy(driver).expect("the options agree")
}

#[test]
fn a_pool_is_serving_with_and_without_an_idle_connection() {
    support::require!(postgres);
    let pool = pool_on(support::postgres::shared(), 1);
    assert_eq!(pool.health(READY), Health::Serving, "it opened a connection");
    let checkouts = pool.snapshot().checkouts;
    assert_eq!(pool.health(READY), Health::Serving, "it asked over the idle one");
    let now = pool.snapshot();
    assert_eq!((now.checkouts, now.pings), (checkouts, 1), "a probe is no check-out");
    let held = pool.get().expect("a connection");
    assert_eq!(pool.health(SHORT), Health::Serving, "it is in use, and no caller waits");
    drop(held);
    pool.close(READY);
    assert_eq!(pool.health(SHORT), Health::Closed);
    assert!(!Health::Closed.is_ready());
}

#[test]
fn a_pool_whose_callers_wait_in_vain_is_saturated() {
    support::require!(postgres);
    let pool = pool_on(support::postgres::shared(), 1);
    let held = pool.get().expect("a connection");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.get().map(drop));
        assert!(eventually(READY, || pool.snapshot().levels.waiting == 1));
        let health = pool.health(SHORT);
        let Health::Saturated { waiting: 1, longest_wait } = &health else { panic!("{health}") };
        assert!(*longest_wait >= SHORT && !health.is_ready(), "{health}");
        drop(held);
        waiting.join().expect("no panic").expect("a connection");
    });
    assert_eq!(pool.health(READY), Health::Serving);
}

#[test]
fn a_pool_whose_server_is_gone_is_down_and_says_since_when() {
    support::require!(postgres);
    let server = support::postgres::Server::start();
    let pool = pool_on(&server, 2);
    drop(pool.get().expect("a connection"));
    server.stop_fast();
    let is_down =
        || matches!(pool.health(SHORT), Health::Down { down_for, .. } if !down_for.is_zero());
    assert!(eventually(READY, is_down), "{}", pool.health(SHORT));
    let text = pool.health(SHORT).to_string();
    assert!(text.starts_with("down for ") && text.contains("connection refused"), "{text}");
    server.start_again();
    assert!(eventually(READY, || pool.health(SHORT) == Health::Serving));
}

#[test]
fn a_frozen_server_is_noticed_within_the_probes_timeout() {
    support::require!(postgres);
    let server = support::postgres::Server::start();
    let pool = pool_on(&server, 2);
    drop(pool.get().expect("a connection"));
    server.freeze();
    let (health, took) = within(READY, || pool.health(SHORT));
    assert!(matches!(health, Health::Down { .. }), "{health}");
    assert!(took < READY / 2, "{took:?}");
    server.thaw();
    assert!(eventually(READY, || pool.health(SHORT).is_ready()));
}

#[test]
fn a_pool_that_serves_while_no_connection_can_be_opened_is_degraded() {
    support::require!(postgres);
    let server = support::postgres::Server::start();
    server.sql("postgres", "create role limited login connection limit 1");
    let driver = Postgres::new(&server.url("limited", "postgres")).expect("a driver");
    // With the role's limit known the pool would never try a second connection.
    let builder = Pool::builder().max_size(2).read_server_limits(false);
    let pool = builder.build_lazy(driver).expect("the options agree");
    let held = pool.get().expect("a connection");
    let other = pool.get_timeout(SHORT).map(drop);
    assert!(other.is_err(), "the role may open no more connections");
    drop(held);
    // The attempt may end after its caller has left.
    let is_degraded = || pool.health(READY).to_string().starts_with("degraded: ");
    assert!(eventually(READY, is_degraded), "{}", pool.health(READY));
    let health = pool.health(READY);
    assert!(matches!(&health, Health::Degraded { cause } if !cause.is_empty()), "{health}");
    assert!(health.is_ready());
}
