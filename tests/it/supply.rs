//! Connections reach the waiters although attempts hang, fail or are refused.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until, until_waiting};
use poolwarden::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_hung_attempt_is_followed_by_another_for_the_same_waiter() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(10).connect_timeout(LONG_TIMEOUT));
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT / 2).outcome();
    assert!(took >= Duration::from_millis(500), "{took:?}: an attempt is given its time");
    drop(outcome.expect("the second attempt succeeds"));
    assert_eq!(script.calls(At::Connect), 2);
    gate.open();
    books(&pool);
}

#[test]
fn a_raised_maximum_size_serves_all_waiters_although_the_first_attempts_hang() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(1).connect_timeout(LONG_TIMEOUT));
    let held = pool.get().expect("it opens");
    let waiters: Vec<_> = (1..=12)
        .map(|waiting| {
            let waiter = start_checkout(&pool, LONG_TIMEOUT);
            until_waiting(&pool, waiting);
            waiter
        })
        .collect();
    let gate = Gate::shut();
    (0..2).for_each(|_| script.once(At::Connect, Act::Hang(gate.clone())));
    pool.set_max_size(13).expect("it is allowed");
    until!(&pool, pool.snapshot().levels.in_use == 11);
    gate.open();
    let connections: Vec<_> = waiters.into_iter().map(|waiter| waiter.connection()).collect();
    drop((held, connections));
    books(&pool);
}

#[test]
fn a_sweep_leaves_idle_connections_for_a_caller_that_does_not_wait() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(8).max_lifetime(Duration::from_secs(120)));
    idle(&pool, 8);
    // A sweep takes as long as its eight checks, and begins every second.
    script.always(At::SocketAccess, Act::Sleep(Duration::from_millis(20)));
    let over = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < over {
        assert!(pool.try_get().is_some(), "eight are idle: {}", pool.snapshot());
    }
    books(&pool);
}

#[test]
fn connections_that_are_lost_before_they_served_a_caller_are_opened_at_a_slow_pace() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
    let over = Instant::now() + Duration::from_secs(1);
    while Instant::now() < over {
        if let Ok(mut conn) = pool.get_timeout(Duration::from_millis(500)) {
            conn.broken = true;
        }
    }
    let attempts = script.calls(At::Connect);
    assert!((3..=16).contains(&attempts), "{attempts} attempts in a second");
    books(&pool);
}

/// An error whose destructor panics.
#[derive(Debug)]
struct PanicsOnDrop;

impl std::fmt::Display for PanicsOnDrop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it panics when it is dropped")
    }
}

impl std::error::Error for PanicsOnDrop {}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        panic!("scripted: an error panics when it is dropped");
    }
}

#[test]
fn an_error_that_panics_when_it_is_dropped_costs_no_slot() {
    let fail_first = |conn: &mut crate::common::fake::Conn| match conn.number {
        1 => Err(PanicsOnDrop.into()),
        _ => Ok(()),
    };
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).init(fail_first));
    let error = pool.get().expect_err("the hook fails");
    assert_eq!(error.kind(), ErrorKind::Connect);
    drop(error);
    thread::sleep(Duration::from_millis(100));
    drop(pool.get().expect("the second attempt succeeds"));
    until!(&pool, pool.snapshot().panics == 1);
    books(&pool);
}
