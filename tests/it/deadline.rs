//! A deadline is a deadline, whatever hangs; and never early.

use crate::common::books::books;
use crate::common::fake::{Act, At, Wire};
use crate::common::gate::Gate;
use crate::common::{PATIENCE, ask, idle, pool, until};
use poolwarden::{CloseReason, ConnectFault, ErrorKind, Phase, PooledConnection};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::within;

/// What a loaded computer may add.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn a_connect_that_hangs_holds_no_caller_beyond_its_deadline_and_the_late_one_serves_the_next() {
    for wire in [Wire::Hidden, Wire::Tcp] {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(1));
        let gate = Gate::shut();
        script.once(At::Connect, Act::Hang(gate.clone()));
        let timeout = Duration::from_millis(120);
        let (outcome, took) = ask(&pool, timeout).outcome();
        let error = outcome.expect_err("the server does not answer");
        assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
        let text = error.to_string();
        assert!(text.contains("waiting for the server in the handshake"), "{text}");
        assert_eq!(pool.snapshot().pending, 1);
        let next = ask(&pool, PATIENCE);
        gate.open();
        assert_eq!(next.connection().number, 1);
        assert_eq!(script.calls(At::Connect), 1);
        books(&pool);
    }
}

#[test]
fn a_connect_that_comes_while_nobody_waits_any_more_is_kept_for_the_next_caller() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    pool.get_timeout(Duration::from_millis(1)).expect_err("it takes longer");
    gate.open();
    until(|| pool.snapshot().idle == 1);
    assert_eq!((pool.get().expect("it is idle").number, script.calls(At::Connect)), (1, 1));
    books(&pool);
}

#[test]
fn the_whole_connect_has_one_deadline_and_its_error_says_how_far_it_had_come() {
    let bound = Duration::from_millis(150);
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.connect_timeout(bound));
    script.server().freeze();
    let (outcome, took) = ask(&pool, PATIENCE).outcome();
    let error = outcome.expect_err("the server does not answer");
    assert!(took >= bound && took < bound + SLACK, "{took:?}");
    let cause = error.connect_error().expect("a cause");
    assert_eq!((cause.fault(), cause.phase()), (ConnectFault::TimedOut, Some(Phase::Handshaking)));
    assert!(cause.to_string().contains("timed out while waiting for the server"), "{cause}");
    books(&pool);
}

#[test]
fn a_driver_that_cannot_be_stopped_keeps_its_place_and_no_caller() {
    let (pool, script) =
        pool(Wire::Hidden, |knobs| knobs.max_size(1).connect_timeout(Duration::from_millis(20)));
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let timeout = Duration::from_millis(60);
    let (outcome, took) = ask(&pool, timeout).outcome();
    assert_eq!(outcome.expect_err("it hangs").kind(), ErrorKind::CheckoutTimeout);
    assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
    gate.open();
    // What came after its time is not used.
    until(|| pool.snapshot().connect_failures == 1);
    assert_eq!(pool.snapshot().opened, 0);
    books(&pool);
}

#[test]
fn a_row_of_frozen_idle_connections_costs_one_ping_timeout() {
    // So long that the new connection is not due for a ping on its way to us.
    let bound = Duration::from_millis(250);
    for wire in [Wire::Hidden, Wire::Unix, Wire::Tcp] {
        let (pool, script) =
            pool(wire, |knobs| knobs.max_size(12).ping_after(bound).ping_timeout(bound));
        idle(&pool, 6);
        thread::sleep(bound);
        let gate = Gate::shut();
        match wire {
            Wire::Hidden => script.always(At::Ping, Act::Hang(gate.clone())),
            _ => script.server().mute(),
        }
        let (outcome, took) = ask(&pool, PATIENCE).outcome();
        assert_eq!(outcome.expect("a new one is opened").number, 7, "{wire:?}");
        assert_eq!(script.calls(At::Ping), 1, "{wire:?}");
        assert!(took >= bound && took < bound + SLACK, "{took:?}");
        let now = pool.snapshot();
        let ends = (now.closed_by(CloseReason::PingTimeout), now.closed_by(CloseReason::Condemned));
        assert_eq!(ends.1, 5, "{wire:?}");
        gate.open();
        books(&pool);
        assert_eq!(pool.snapshot().closed_by(CloseReason::PingTimeout), 1, "{wire:?}");
    }
}

#[test]
fn a_ping_cut_off_at_the_callers_own_deadline_condemns_nobody() {
    let timeout = Duration::from_millis(60);
    for wire in [Wire::Hidden, Wire::Tcp] {
        let (pool, script) = pool(wire, |knobs| {
            knobs.max_size(3).ping_after(Duration::from_millis(1)).ping_timeout(PATIENCE)
        });
        idle(&pool, 3);
        thread::sleep(Duration::from_millis(2));
        let gate = Gate::shut();
        match wire {
            Wire::Hidden => script.once(At::Ping, Act::Hang(gate.clone())),
            _ => script.server().mute(),
        }
        let (outcome, took) = ask(&pool, timeout).outcome();
        let error = outcome.expect_err("the ping takes all its time");
        assert!(took >= timeout && took < timeout + SLACK, "{took:?}");
        assert!(error.to_string().contains("did not answer its ping"), "{error}");
        gate.open();
        script.heal();
        assert!(pool.get().expect("a sibling is idle").number <= 3);
        assert_eq!(pool.snapshot().closed_by(CloseReason::Condemned), 0);
        books(&pool);
    }
}

#[test]
fn a_ping_answered_after_its_deadline_does_not_count() {
    let bound = Duration::from_millis(50);
    let (pool, script) =
        pool(Wire::Tcp, |knobs| knobs.ping_after(Duration::from_millis(1)).ping_timeout(bound));
    idle(&pool, 1);
    thread::sleep(Duration::from_millis(2));
    script.once(At::Ping, Act::Dawdle(4 * bound));
    // Its socket was shut down at the deadline.
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingTimeout), 1);
    books(&pool);
}

#[test]
fn a_suspicion_ends_with_the_first_answer() {
    let (pool, script) = pool(Wire::Tcp, |knobs| {
        knobs.ping_after(Duration::from_millis(1)).ping_timeout(Duration::from_millis(50))
    });
    let held = pool.get().expect("it opens");
    idle(&pool, 1);
    thread::sleep(Duration::from_millis(2));
    script.server().mute();
    let new = pool.get().expect("a new one is opened");
    script.heal();
    // In use while its sibling was found silent: pinged, not condemned.
    let number = held.number;
    drop(held);
    let before = script.calls(At::Ping);
    assert_eq!(pool.get().expect("it answers").number, number);
    assert_eq!(script.calls(At::Ping), before + 1);
    drop(new);
    books(&pool);
}

#[test]
fn a_drop_that_hangs_holds_up_neither_its_owner_nor_another_pool() {
    let (frozen, script) = pool(Wire::Tcp, |knobs| knobs.max_size(10));
    let (sound, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held: Vec<_> = (0..10).map(|_| frozen.get().expect("it opens")).collect();
    script.always(At::Drop, Act::Farewell);
    script.server().freeze();
    let give_up = || held.into_iter().for_each(PooledConnection::discard);
    within(SLACK, give_up);
    for _ in 0..3 {
        PooledConnection::discard(sound.get_timeout(SLACK).expect("its place is free at once"));
    }
    books(&sound);
    books(&frozen);
}

#[test]
fn a_drop_that_cannot_be_cut_holds_up_nobody_elses_closing() {
    for wire in [Wire::InProcess, Wire::Hidden] {
        let (stuck, script) = pool(wire, |knobs| knobs.max_size(2));
        let (sound, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
        let gate = Gate::shut();
        script.once(At::Drop, Act::Hang(gate.clone()));
        PooledConnection::discard(stuck.get().expect("it opens"));
        gate.until_came(1);
        for _ in 0..3 {
            let conn = sound.get_timeout(SLACK).expect("its place is free at once");
            PooledConnection::discard(conn);
        }
        drop(stuck.get_timeout(SLACK).expect("there is a second place"));
        assert_eq!(stuck.snapshot().closing, 1);
        gate.open();
        books(&sound);
        books(&stuck);
    }
}

#[test]
fn a_drop_that_hangs_although_it_was_cut_is_left_behind() {
    let (stuck, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let (sound, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let gate = Gate::shut();
    script.always(At::Drop, Act::Hang(gate.clone()));
    for hung in 1..4 {
        // The server has let go of the one before, so that there is a place.
        PooledConnection::discard(stuck.get_timeout(SLACK).expect("its place is free"));
        gate.until_came(hung);
        let conn = sound.get_timeout(SLACK).expect("its place is free at once");
        PooledConnection::discard(conn);
    }
    gate.open();
    books(&sound);
    books(&stuck);
}

#[test]
fn a_time_out_of_nothing_comes_back_at_once_and_one_without_end_waits() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let (outcome, took) = ask(&pool, Duration::ZERO).outcome();
    assert_eq!(outcome.expect_err("none is idle").kind(), ErrorKind::CheckoutTimeout);
    assert!(took < SLACK, "{took:?}");
    let endless = ask(&pool, Duration::MAX);
    until(|| pool.snapshot().waiting == 1);
    drop(held);
    drop(endless.connection());
    books(&pool);
}

#[test]
fn no_time_out_is_early_under_load() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
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
