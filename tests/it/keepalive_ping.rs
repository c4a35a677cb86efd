//! The pings of `keepalive_ping`, while no caller uses the connections.

use crate::common::books::{books, closed_books};
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, pool_with, until};
use poolwarden::{CloseReason, ErrorKind, Pool};
use std::thread;
use std::time::Duration;

/// Due at every look of the housekeeper.
const OFTEN: Duration = Duration::from_millis(20);

#[test]
fn an_idle_connection_is_pinged_again_and_again_on_a_thread_that_no_caller_waits_for() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(2).keepalive_ping(OFTEN).ping_timeout(LONG_TIMEOUT)
    });
    idle(&pool, 2);
    until!(pool, pool.snapshot().keepalive_pings >= 6);
    let threads = script.threads(At::Ping);
    assert!(threads.iter().all(|name| name == "poolwarden-keepalive"), "{threads:?}");
    let now = pool.snapshot();
    assert_eq!((now.levels.open, now.levels.idle, now.closed()), (2, 2, 0), "{now}");
    assert!(now.pings >= now.keepalive_pings && now.to_string().contains("keepalive pings"));
    books(&pool);
}

#[test]
fn without_the_option_no_idle_connection_is_pinged() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2).min_idle(2));
    until!(pool, pool.snapshot().levels.idle == 2);
    thread::sleep(Duration::from_millis(300));
    assert_eq!((script.calls(At::Ping), pool.snapshot().keepalive_pings), (0, 0));
    books(&pool);
}

#[test]
fn a_few_connections_are_out_for_pings_at_a_time_and_the_others_serve_callers() {
    let gate = Gate::shut();
    let hang = Act::Hang(gate.clone());
    let (pool, script) = pool_with(
        Transport::Tcp,
        |script| script.always(At::Ping, hang),
        |options| options.max_size(10).keepalive_ping(OFTEN).ping_timeout(LONG_TIMEOUT),
    );
    idle(&pool, 10);
    gate.wait_for_arrivals(4);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(script.calls(At::Ping), 4);
    let held: Vec<_> = (0..6).map(|_| pool.get().expect("it is idle")).collect();
    let now = pool.snapshot();
    assert_eq!((now.levels.in_use, now.levels.idle, now.levels.open), (6, 4, 10), "{now}");
    gate.open();
    let rest: Vec<_> = (0..4).map(|_| pool.get().expect("they return")).collect();
    assert_eq!(pool.snapshot().opened, 10);
    drop((held, rest));
    books(&pool);
}

#[test]
fn no_more_than_half_of_the_idle_connections_are_out_for_pings() {
    let gate = Gate::shut();
    let hang = Act::Hang(gate.clone());
    let (pool, script) = pool_with(
        Transport::Tcp,
        |script| script.always(At::Ping, hang),
        |options| options.max_size(3).keepalive_ping(OFTEN).ping_timeout(LONG_TIMEOUT),
    );
    idle(&pool, 3);
    gate.wait_for_arrivals(2);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(script.calls(At::Ping), 2);
    drop(pool.get().expect("one is left"));
    gate.open();
    books(&pool);
}

#[test]
fn one_ping_that_times_out_closes_all_idle_connections_and_a_new_one_is_opened() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(2).keepalive_ping(OFTEN).ping_timeout(Duration::from_millis(200))
    });
    idle(&pool, 2);
    script.server().freeze();
    until!(pool, pool.snapshot().closed() == 2);
    let now = pool.snapshot();
    let by = |reason| now.closed_by(reason);
    assert!(by(CloseReason::PingTimeout) >= 1, "{now}");
    assert_eq!(by(CloseReason::PingTimeout) + by(CloseReason::SiblingPingTimeout), 2, "{now}");
    script.server().thaw();
    drop(pool.get().expect("the server is back"));
    books(&pool);
}

#[test]
fn a_ping_that_fails_or_panics_costs_only_its_connection() {
    let (pool, script) = pool_with(
        Transport::Tcp,
        |script| script.once(At::Ping, Act::Panic),
        |options| options.max_size(2).min_idle(2).keepalive_ping(OFTEN),
    );
    until!(pool, pool.snapshot().closed_by(CloseReason::Panicked) == 1);
    script.once(At::Ping, Act::Unprintable);
    until!(pool, pool.snapshot().closed_by(CloseReason::PingFailed) == 1);
    until!(pool, pool.snapshot().levels.idle == 2);
    books(&pool);
}

#[test]
fn a_ping_that_nothing_can_end_is_left_behind_with_its_connection() {
    let gate = Gate::shut();
    let (pool, script) = pool(Transport::Hidden, |options| {
        options.max_size(2).keepalive_ping(OFTEN).ping_timeout(Duration::from_secs(1))
    });
    script.once(At::Ping, Act::Hang(gate.clone()));
    idle(&pool, 1);
    gate.wait_for_arrivals(1);
    until!(pool, pool.snapshot().levels.open == 0);
    drop(pool.get().expect("there is a second permit"));
    gate.open();
    until!(pool, pool.snapshot().closed_by(CloseReason::PingTimeout) >= 1);
    books(&pool);
}

#[test]
fn idle_timeout_still_closes_a_connection_that_pings_keep_alive() {
    let timeout = Duration::from_secs(3);
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(1).keepalive_ping(OFTEN).idle_timeout(timeout).ping_timeout(LONG_TIMEOUT)
    });
    idle(&pool, 1);
    until!(pool, pool.snapshot().closed_by(CloseReason::IdleTimeout) == 1);
    assert!(pool.snapshot().keepalive_pings >= 1, "{}", pool.snapshot());
    books(&pool);
}

#[test]
fn a_pool_that_is_closed_during_a_ping_closes_that_connection_too() {
    let gate = Gate::shut();
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).keepalive_ping(OFTEN).ping_timeout(LONG_TIMEOUT)
    });
    script.once(At::Ping, Act::Hang(gate.clone()));
    idle(&pool, 1);
    gate.wait_for_arrivals(1);
    assert_eq!(pool.close(Duration::ZERO).levels.idle, 1);
    gate.open();
    until!(pool, pool.snapshot().closed_by(CloseReason::PoolClosed) == 1);
    closed_books(&pool);
}

#[test]
fn a_bare_r2d2_pool_refuses_the_option() {
    let (driver, _) = crate::common::fake::Fake::new(Transport::Tcp);
    let builder = Pool::builder().keepalive_ping(Duration::from_secs(30));
    let error = builder.manager(driver).map(drop).expect_err("it has no background");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("keepalive_ping 30s: not supported"), "{error}");
}

#[cfg(feature = "sqlite")]
#[test]
fn an_idle_sqlite_connection_is_pinged_as_well() {
    let builder = Pool::builder().max_size(2).keepalive_ping(OFTEN).ping_timeout(LONG_TIMEOUT);
    let pool = builder.build(poolwarden::Sqlite::memory()).expect("the options agree");
    until!(pool, pool.snapshot().keepalive_pings >= 3);
    assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
}
