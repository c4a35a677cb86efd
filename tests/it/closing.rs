//! Closing: connections, pools, and when a place is free again.

use crate::common::books::{books, closed_books};
use crate::common::fake::{Act, At, Wire};
use crate::common::gate::Gate;
use crate::common::{PATIENCE, ask, idle, pool, until, until_waiting};
use poolwarden::{CloseReason, Error, ErrorKind, PooledConnection, Validation};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::within;

const WIRES: [Wire; 4] = [Wire::InProcess, Wire::Hidden, Wire::Unix, Wire::Tcp];

/// What a loaded computer may add.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn a_closed_pool_refuses_everybody_and_wakes_those_who_wait() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1).name("shut"));
    let held = pool.get().expect("it opens");
    let waiter = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    let began = Instant::now();
    pool.close(Duration::from_millis(1));
    let woken = waiter.error();
    assert_eq!((woken.kind(), &*woken.to_string()), (ErrorKind::Closed, "pool shut is closed"));
    assert!(began.elapsed() < SLACK);
    assert_eq!(pool.get().expect_err("it is closed").kind(), ErrorKind::Closed);
    assert!(pool.try_get().is_none());
    drop(held);
    closed_books(&pool);
}

#[test]
fn closing_ends_idle_connections_at_once_and_each_other_when_it_comes_back() {
    for wire in WIRES {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(4));
        let held = pool.get().expect("it opens");
        idle(&pool, 3);
        let timeout = Duration::from_millis(50);
        let (after, took) = within(PATIENCE, || pool.close(timeout));
        assert!(took >= timeout && took < SLACK, "{took:?}");
        assert_eq!((after.in_use, after.idle), (1, 0), "{wire:?}");
        until(|| script.server().live() == 1);
        assert_eq!(script.server().numbers(), [held.number]);
        drop(held);
        assert_eq!(pool.close(PATIENCE).closed_by(CloseReason::PoolClosed), 4);
        closed_books(&pool);
    }
}

#[test]
fn closing_waits_for_the_last_connection_and_no_longer() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let is_closed = |error: Error| error.kind() == ErrorKind::Closed;
    thread::scope(|scope| {
        let closer = scope.spawn(|| within(PATIENCE / 2, || pool.close(PATIENCE)).0);
        until(|| pool.get_timeout(Duration::ZERO).is_err_and(is_closed));
        drop(held);
        let end = closer.join().expect("no panic");
        assert_eq!((end.open, end.closing, end.closed()), (0, 0, 1));
    });
    closed_books(&pool);
}

#[test]
fn closing_waits_until_the_server_has_let_go_but_not_beyond_its_time() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(3).close_grace(PATIENCE));
    idle(&pool, 3);
    script.server().freeze();
    let end = pool.close(Duration::from_millis(50));
    assert_eq!((end.open, end.closing), (0, 3));
    script.server().thaw();
    assert_eq!(pool.close(PATIENCE).closing, 0);
    closed_books(&pool);
}

#[test]
fn a_connection_that_was_being_opened_when_the_pool_closed_is_closed() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let caller = ask(&pool, PATIENCE);
    gate.until_came(1);
    assert_eq!(pool.close(Duration::from_millis(20)).pending, 1);
    assert_eq!(caller.error().kind(), ErrorKind::Closed);
    gate.open();
    assert_eq!(pool.close(PATIENCE).pending, 0);
    closed_books(&pool);
}

#[test]
fn the_last_handle_closes_the_pool_and_a_guard_that_is_still_out_works_until_it_comes_back() {
    for wire in WIRES {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(3));
        let held = pool.get().expect("it opens");
        idle(&pool, 2);
        let other = pool.clone();
        drop(pool);
        assert_eq!(other.snapshot().open, 3);
        drop(other);
        until(|| script.server().live() == 1);
        assert_eq!(script.server().numbers(), [held.number]);
        drop(held);
        until(|| script.server().live() == 0);
    }
}

#[test]
fn the_last_handle_dropped_while_a_connection_is_being_opened_leaves_nothing() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    pool.get_timeout(Duration::from_millis(1)).expect_err("it takes longer");
    drop(pool);
    gate.open();
    until(|| script.calls(At::Drop) == 1 && script.server().live() == 0);
}

#[test]
fn connections_are_dropped_on_a_thread_of_the_closers() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(3));
    let mut broken = pool.get().expect("it opens");
    broken.broken = true;
    drop(broken);
    PooledConnection::discard(pool.get().expect("it opens"));
    idle(&pool, 2);
    drop(pool);
    until(|| script.calls(At::Drop) == 4);
    assert_eq!(script.threads(At::Drop), ["poolwarden-drop"; 4]);
}

#[test]
fn a_place_is_free_when_the_server_has_let_go_and_not_when_we_closed() {
    for wire in [Wire::Unix, Wire::Tcp] {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(1).close_grace(PATIENCE));
        let conn = pool.get().expect("it opens");
        script.server().freeze();
        PooledConnection::discard(conn);
        let error = pool.get_timeout(Duration::from_millis(60)).expect_err("no place is free");
        assert_eq!(error.levels().expect("levels").closing, 1, "{wire:?}");
        assert!(error.to_string().contains("the server has not let go of them yet"), "{error}");
        assert_eq!((script.calls(At::Connect), pool.snapshot().pending), (1, 0));
        script.server().thaw();
        drop(pool.get().expect("the server has let go"));
        books(&pool);
    }
}

#[test]
fn what_the_server_never_confirms_is_free_after_the_grace_and_counted_as_abandoned() {
    let grace = Duration::from_millis(120);
    for wire in [Wire::Unix, Wire::Tcp] {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(2).close_grace(grace));
        let conn = pool.get().expect("it opens");
        script.server().freeze();
        let began = Instant::now();
        PooledConnection::discard(conn);
        until(|| pool.snapshot().abandoned == 1);
        assert!(began.elapsed() >= grace);
        assert_eq!(pool.snapshot().closing, 0);
        assert!(pool.snapshot().to_string().contains("abandoned 1"));
        script.server().thaw();
        until(|| pool.snapshot().abandoned == 0);
        books(&pool);
    }
}

#[test]
fn a_connection_cut_off_after_a_silent_ping_counts_until_the_server_lets_go() {
    let (pool, script) = pool(Wire::Tcp, |knobs| {
        let knobs = knobs.max_size(2).close_grace(Duration::from_millis(300));
        knobs.validation(Validation::AlwaysPing).ping_timeout(Duration::from_millis(30))
    });
    idle(&pool, 1);
    script.server().freeze();
    pool.get_timeout(Duration::from_millis(60)).expect_err("the server is frozen");
    let now = pool.snapshot();
    assert_eq!((now.closing, now.closed_by(CloseReason::PingTimeout)), (1, 1));
    until(|| pool.snapshot().abandoned == 1);
    script.server().thaw();
    until(|| pool.snapshot().abandoned == 0);
    books(&pool);
}

#[test]
fn a_dead_connections_place_is_free_at_once() {
    for wire in [Wire::Unix, Wire::Tcp] {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(1).close_grace(PATIENCE));
        for _ in 0..3 {
            let number = idle(&pool, 1)[0];
            script.server().close(number);
            let (outcome, took) = ask(&pool, PATIENCE / 2).outcome();
            drop(outcome.expect("the server has let go long ago"));
            assert!(took < SLACK, "{wire:?}: {took:?}");
        }
        books(&pool);
    }
}

#[test]
fn many_connections_are_closed_side_by_side() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(100));
    idle(&pool, 100);
    script.always(At::Drop, Act::Farewell);
    script.server().freeze();
    let (end, took) = within(PATIENCE, || pool.close(Duration::from_secs(4)));
    // The grace once, not a hundred times.
    assert_eq!((end.closing, end.abandoned), (0, 100));
    assert!(took < Duration::from_secs(4), "{took:?}");
    script.server().thaw();
    until(|| pool.snapshot().abandoned == 0);
    closed_books(&pool);
}
