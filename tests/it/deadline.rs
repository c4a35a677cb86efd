//! Every call returns by its deadline, whatever hangs, and no timeout is early.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until};
use poolwarden::driver::Phase;
use poolwarden::{CloseReason, ErrorKind, FaultClass, PooledConnection};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::within;

/// The delay that a loaded computer may add.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn a_hanging_connect_holds_no_caller_beyond_its_deadline_and_its_connection_serves_the_next() {
    for transport in [Transport::Hidden, Transport::Tcp] {
        let (pool, script) = pool(transport, |options| options.max_size(1));
        let gate = Gate::shut();
        script.once(At::Connect, Act::Hang(gate.clone()));
        let timeout = Duration::from_millis(120);
        let (outcome, took) = start_checkout(&pool, timeout).outcome();
        let error = outcome.expect_err("the server does not answer");
        assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
        let text = error.to_string();
        assert!(text.contains("during the handshake"), "{text}");
        assert_eq!(pool.snapshot().levels.pending, 1);
        let next = start_checkout(&pool, LONG_TIMEOUT);
        gate.open();
        assert_eq!(next.connection().number, 1);
        assert_eq!(script.calls(At::Connect), 1);
        books(&pool);
    }
}

#[test]
fn a_connect_that_succeeds_after_its_caller_left_is_kept_for_the_next_caller() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    pool.get_timeout(Duration::from_millis(1)).expect_err("it takes longer");
    gate.open();
    until!(pool, pool.snapshot().levels.idle == 1);
    assert_eq!((pool.get().expect("it is idle").number, script.calls(At::Connect)), (1, 1));
    books(&pool);
}

#[test]
fn the_whole_connect_has_one_deadline_and_its_error_names_the_phase() {
    let bound = Duration::from_millis(150);
    let (pool, script) = pool(Transport::Tcp, |options| options.connect_timeout(bound));
    script.server().freeze();
    let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT).outcome();
    let error = outcome.expect_err("the server does not answer");
    assert!(took >= bound && took < bound + SLACK, "{took:?}");
    let cause = error.connect_error().expect("a cause");
    assert_eq!((cause.class(), cause.phase()), (FaultClass::TimedOut, Some(Phase::Handshaking)));
    assert!(cause.to_string().contains("timed out (during the handshake, after "), "{cause}");
    books(&pool);
}

#[test]
fn a_connect_that_cannot_be_aborted_keeps_its_permit_but_delays_no_caller() {
    let (pool, script) = pool(Transport::Hidden, |options| {
        options.max_size(1).connect_timeout(Duration::from_millis(20))
    });
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let timeout = Duration::from_millis(60);
    let (outcome, took) = start_checkout(&pool, timeout).outcome();
    assert_eq!(outcome.expect_err("it hangs").kind(), ErrorKind::CheckoutTimeout);
    assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
    gate.open();
    // A connection that came after its deadline is not used.
    until!(pool, pool.snapshot().connect_failures == 1);
    assert_eq!(pool.snapshot().opened, 0);
    books(&pool);
}

#[test]
fn a_row_of_frozen_idle_connections_costs_one_ping_timeout() {
    // So long that the new connection is not due for a ping before its hand-over.
    let bound = Duration::from_millis(250);
    for transport in [Transport::Hidden, Transport::Unix, Transport::Tcp] {
        let (pool, script) =
            pool(transport, |options| options.max_size(12).ping_after(bound).ping_timeout(bound));
        idle(&pool, 6);
        thread::sleep(bound);
        let gate = Gate::shut();
        match transport {
            Transport::Hidden => script.always(At::Ping, Act::Hang(gate.clone())),
            _ => script.server().mute(),
        }
        let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT).outcome();
        assert_eq!(outcome.expect("a new one is opened").number, 7, "{transport:?}");
        assert_eq!(script.calls(At::Ping), 1, "{transport:?}");
        assert!(took >= bound && took < bound + SLACK, "{took:?}");
        until!(pool, pool.snapshot().closed_by(CloseReason::SiblingPingTimeout) == 5);
        gate.open();
        books(&pool);
        assert_eq!(pool.snapshot().closed_by(CloseReason::PingTimeout), 1, "{transport:?}");
    }
}

#[test]
fn a_ping_ended_by_the_callers_own_deadline_rules_out_no_other_connection() {
    let timeout = Duration::from_millis(60);
    for transport in [Transport::Hidden, Transport::Tcp] {
        let (pool, script) = pool(transport, |options| {
            options.max_size(3).ping_after(Duration::from_millis(1)).ping_timeout(LONG_TIMEOUT)
        });
        idle(&pool, 3);
        thread::sleep(Duration::from_millis(2));
        let gate = Gate::shut();
        match transport {
            Transport::Hidden => script.once(At::Ping, Act::Hang(gate.clone())),
            _ => script.server().mute(),
        }
        let (outcome, took) = start_checkout(&pool, timeout).outcome();
        let error = outcome.expect_err("the ping uses up the timeout");
        assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
        assert!(error.to_string().contains("did not answer its ping"), "{error}");
        gate.open();
        script.clear();
        assert!(pool.get().expect("another one is idle").number <= 3);
        assert_eq!(pool.snapshot().closed_by(CloseReason::SiblingPingTimeout), 0);
        books(&pool);
    }
}

#[test]
fn a_ping_answered_after_its_deadline_does_not_count() {
    let bound = Duration::from_millis(50);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.ping_after(Duration::from_millis(1)).ping_timeout(bound)
    });
    idle(&pool, 1);
    thread::sleep(Duration::from_millis(2));
    script.once(At::Ping, Act::ReturnLate(4 * bound));
    // Its socket was shut down at the deadline.
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingTimeout), 1);
    books(&pool);
}

#[test]
fn a_connection_in_use_during_a_ping_timeout_is_pinged_before_its_next_use_and_kept() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.ping_after(Duration::from_millis(1)).ping_timeout(Duration::from_millis(50))
    });
    let held = pool.get().expect("it opens");
    idle(&pool, 1);
    thread::sleep(Duration::from_millis(2));
    script.server().mute();
    let new = pool.get().expect("a new one is opened");
    script.clear();
    // In use while the ping of another timed out: pinged, not closed.
    let number = held.number;
    drop(held);
    let before = script.calls(At::Ping);
    assert_eq!(pool.get().expect("it answers").number, number);
    assert_eq!(script.calls(At::Ping), before + 1);
    drop(new);
    books(&pool);
}

#[test]
fn a_hanging_drop_delays_neither_its_caller_nor_another_pool() {
    let (frozen, script) = pool(Transport::Tcp, |options| options.max_size(10));
    let (other, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held: Vec<_> = (0..10).map(|_| frozen.get().expect("it opens")).collect();
    script.always(At::Drop, Act::GracefulClose);
    script.server().freeze();
    let discard_all = || held.into_iter().for_each(PooledConnection::discard);
    within(SLACK, discard_all);
    for _ in 0..3 {
        PooledConnection::discard(
            other.get_timeout(SLACK).expect("its permit is released immediately"),
        );
    }
    books(&other);
    books(&frozen);
}

#[test]
fn a_drop_that_cannot_be_aborted_delays_no_other_close() {
    for transport in [Transport::InProcess, Transport::Hidden] {
        let (stuck, script) = pool(transport, |options| options.max_size(2));
        let (other, _) = pool(Transport::Tcp, |options| options.max_size(1));
        let gate = Gate::shut();
        script.once(At::Drop, Act::Hang(gate.clone()));
        PooledConnection::discard(stuck.get().expect("it opens"));
        gate.wait_for_arrivals(1);
        for _ in 0..3 {
            let conn = other.get_timeout(SLACK).expect("its permit is released immediately");
            PooledConnection::discard(conn);
        }
        drop(stuck.get_timeout(SLACK).expect("there is a second permit"));
        assert_eq!(stuck.snapshot().levels.closing, 1);
        gate.open();
        books(&other);
        books(&stuck);
    }
}

#[test]
fn a_drop_that_hangs_after_the_socket_was_shut_down_is_left_behind() {
    let (stuck, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let (other, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let gate = Gate::shut();
    script.always(At::Drop, Act::Hang(gate.clone()));
    for hung in 1..4 {
        // The server has closed the previous one, so that a permit is free.
        PooledConnection::discard(stuck.get_timeout(SLACK).expect("its permit is released"));
        gate.wait_for_arrivals(hung);
        let conn = other.get_timeout(SLACK).expect("its permit is released immediately");
        PooledConnection::discard(conn);
    }
    gate.open();
    books(&other);
    books(&stuck);
}

#[test]
fn a_zero_timeout_returns_immediately_and_an_infinite_one_waits() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let (outcome, took) = start_checkout(&pool, Duration::ZERO).outcome();
    assert_eq!(outcome.expect_err("none is idle").kind(), ErrorKind::CheckoutTimeout);
    assert!(took < SLACK, "{took:?}");
    let infinite = start_checkout(&pool, Duration::MAX);
    until!(pool, pool.snapshot().levels.waiting == 1);
    drop(held);
    drop(infinite.connection());
    books(&pool);
}

#[test]
fn no_timeout_is_early_under_load() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    script.server().freeze();
    let timeout = Duration::from_millis(35);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..4 {
                    let began = Instant::now();
                    let error = pool.get_timeout(timeout).expect_err("the server is frozen");
                    assert!(began.elapsed() >= timeout, "{error}");
                }
            });
        }
    });
    books(&pool);
}
