//! Closing connections and pools, and when a permit is released.

use crate::common::books::{books, closed_books};
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until, until_waiting};
use poolwarden::observe::Closed;
use poolwarden::{CloseReason, Error, ErrorKind, Observer, PooledConnection, Validation};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::within;

const TRANSPORTS: [Transport; 4] =
    [Transport::InProcess, Transport::Hidden, Transport::Unix, Transport::Tcp];

/// The delay that a loaded computer may add.
const SLACK: Duration = Duration::from_secs(5);

#[test]
fn a_closed_pool_refuses_check_outs_and_wakes_its_waiters() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).name("shut"));
    let held = pool.get().expect("it opens");
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    let began = Instant::now();
    pool.close(Duration::from_millis(1));
    let woken = waiter.error();
    assert_eq!(
        (woken.kind(), &*woken.to_string()),
        (ErrorKind::Closed, "pool shut: the pool is closed")
    );
    assert!(began.elapsed() < SLACK);
    assert_eq!(pool.get().expect_err("it is closed").kind(), ErrorKind::Closed);
    assert!(pool.try_get().is_none());
    drop(held);
    closed_books(&pool);
}

#[test]
fn slow_drops_of_one_pool_delay_no_other_pools_permit() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let grace = Duration::from_secs(1);
        let (slow, script) = pool(transport, |options| options.max_size(60).close_grace(grace));
        let (other, _) = pool(transport, |options| options.max_size(1));
        let held: Vec<_> = (0..60).map(|_| slow.get().expect("it opens")).collect();
        let conn = other.get().expect("it opens");
        // Three at a time: two seconds for all.
        script.always(At::Drop, Act::Sleep(Duration::from_millis(100)));
        held.into_iter().for_each(PooledConnection::discard);
        PooledConnection::discard(conn);
        until!(other, other.snapshot().levels.closing == 0);
        let behind = slow.snapshot().levels.closing;
        assert!(behind > 0, "{transport:?}: the other pool's connection was closed last");
        books(&slow);
        books(&other);
    }
}

/// An observer that takes its time for each close.
struct SlowObserver;

impl Observer for SlowObserver {
    fn closed(&self, _: &Closed<'_>) {
        thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn close_returns_at_its_deadline_though_an_observer_is_slow() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(20).observer(SlowObserver));
    idle(&pool, 20);
    let (_, took) = within(LONG_TIMEOUT, || pool.close(Duration::from_millis(100)));
    // All calls of the observer take six seconds.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(pool.get().expect_err("it is closed").kind(), ErrorKind::Closed);
    closed_books(&pool);
}

#[test]
fn connections_that_were_swapped_between_guards_are_closed_by_their_own_sockets() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    let mut one = pool.get().expect("it opens");
    let mut two = pool.get().expect("it opens");
    std::mem::swap(&mut *one, &mut *two);
    let number = one.number;
    PooledConnection::discard(one);
    until!(pool, pool.snapshot().levels.closing == 0);
    assert!(!script.server().numbers().contains(&number));
    assert!(script.server().numbers().contains(&two.number));
    drop(two);
    books(&pool);
}

#[test]
fn closing_a_pool_closes_idle_connections_immediately_and_the_others_at_check_in() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.max_size(4));
        let held = pool.get().expect("it opens");
        idle(&pool, 3);
        let timeout = Duration::from_millis(50);
        let (after, took) = within(LONG_TIMEOUT, || pool.close(timeout));
        assert!(took >= timeout && took < SLACK, "{took:?}");
        assert_eq!((after.levels.in_use, after.levels.idle), (1, 0), "{transport:?}");
        until!(pool, script.server().live() == 1);
        assert_eq!(script.server().numbers(), [held.number]);
        drop(held);
        assert_eq!(pool.close(LONG_TIMEOUT).closed_by(CloseReason::PoolClosed), 4);
        closed_books(&pool);
    }
}

#[test]
fn closing_a_pool_waits_until_its_last_connection_is_returned() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let is_closed = |error: Error| error.kind() == ErrorKind::Closed;
    thread::scope(|scope| {
        let closer = scope.spawn(|| within(LONG_TIMEOUT / 2, || pool.close(LONG_TIMEOUT)).0);
        until!(pool, pool.get_timeout(Duration::ZERO).is_err_and(is_closed));
        drop(held);
        let end = closer.join().expect("no panic");
        assert_eq!((end.levels.open, end.levels.closing, end.closed()), (0, 0, 1));
    });
    closed_books(&pool);
}

#[test]
fn closing_a_pool_waits_for_the_servers_fin_but_not_beyond_the_timeout() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(3).close_grace(LONG_TIMEOUT));
    idle(&pool, 3);
    script.server().freeze();
    let end = pool.close(Duration::from_millis(50));
    assert_eq!((end.levels.open, end.levels.closing), (0, 3));
    script.server().thaw();
    assert_eq!(pool.close(LONG_TIMEOUT).levels.closing, 0);
    closed_books(&pool);
}

#[test]
fn a_connection_that_was_being_opened_when_the_pool_closed_is_closed() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let caller = start_checkout(&pool, LONG_TIMEOUT);
    gate.wait_for_arrivals(1);
    assert_eq!(pool.close(Duration::from_millis(20)).levels.pending, 1);
    assert_eq!(caller.error().kind(), ErrorKind::Closed);
    gate.open();
    assert_eq!(pool.close(LONG_TIMEOUT).levels.pending, 0);
    closed_books(&pool);
}

#[test]
fn dropping_the_last_handle_closes_the_pool_and_a_checked_out_guard_still_works() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.max_size(3));
        let held = pool.get().expect("it opens");
        idle(&pool, 2);
        let other = pool.clone();
        drop(pool);
        assert_eq!(other.snapshot().levels.open, 3);
        drop(other);
        until!(script.server().live() == 1);
        assert_eq!(script.server().numbers(), [held.number]);
        drop(held);
        until!(script.server().live() == 0);
    }
}

#[test]
fn dropping_the_last_handle_during_a_connect_leaves_no_connection() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    pool.get_timeout(Duration::from_millis(1)).expect_err("it takes longer");
    drop(pool);
    gate.open();
    until!(script.calls(At::Drop) == 1 && script.server().live() == 0);
}

#[test]
fn connections_are_dropped_on_a_thread_of_the_closer() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3));
    let mut broken = pool.get().expect("it opens");
    broken.broken = true;
    drop(broken);
    PooledConnection::discard(pool.get().expect("it opens"));
    idle(&pool, 2);
    drop(pool);
    until!(script.calls(At::Drop) == 4);
    assert_eq!(script.threads(At::Drop), ["poolwarden-drop"; 4]);
}

#[test]
fn connections_that_are_closed_together_do_not_wait_for_one_another() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(8));
    let mut times = Vec::new();
    for _ in 0..20 {
        let held: Vec<_> = (0..8).map(|_| pool.get().expect("its permit is released")).collect();
        let began = Instant::now();
        held.into_iter().for_each(PooledConnection::discard);
        until!(pool, pool.snapshot().levels.closing == 0);
        times.push(began.elapsed());
    }
    times.sort();
    // The closer's thread waits up to 400 ms for a further job. A loaded computer may delay
    // some rounds for as long.
    assert!(times[5] < Duration::from_millis(350), "{times:?}");
    books(&pool);
}

#[test]
fn a_permit_is_released_by_the_servers_fin_and_not_by_our_close() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let (pool, script) =
            pool(transport, |options| options.max_size(1).close_grace(LONG_TIMEOUT));
        let conn = pool.get().expect("it opens");
        script.server().freeze();
        PooledConnection::discard(conn);
        let error = pool.get_timeout(Duration::from_millis(60)).expect_err("no permit is free");
        assert_eq!(error.levels().expect("levels").closing, 1, "{transport:?}");
        let awaited = "waiting for the server to confirm the close of 1 connection";
        assert!(error.to_string().contains(awaited), "{error}");
        assert_eq!((script.calls(At::Connect), pool.snapshot().levels.pending), (1, 0));
        script.server().thaw();
        drop(pool.get().expect("the server has closed"));
        books(&pool);
    }
}

#[test]
fn a_close_that_the_server_never_confirms_counts_as_abandoned_after_close_grace() {
    let grace = Duration::from_millis(120);
    for transport in [Transport::Unix, Transport::Tcp] {
        let (pool, script) = pool(transport, |options| options.max_size(2).close_grace(grace));
        let conn = pool.get().expect("it opens");
        script.server().freeze();
        let began = Instant::now();
        PooledConnection::discard(conn);
        until!(pool, pool.snapshot().abandoned == 1);
        assert!(began.elapsed() >= grace);
        assert_eq!(pool.snapshot().levels.closing, 0);
        assert!(pool.snapshot().to_string().contains("abandoned 1"));
        script.server().thaw();
        until!(pool, pool.snapshot().abandoned == 0);
        books(&pool);
    }
}

#[test]
fn a_connection_closed_after_a_ping_timeout_counts_until_the_servers_fin() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        let options = options.max_size(2).close_grace(SLACK);
        options.validation(Validation::AlwaysPing).ping_timeout(Duration::from_millis(30))
    });
    idle(&pool, 1);
    script.server().freeze();
    pool.get_timeout(Duration::from_secs(1)).expect_err("the server is frozen");
    let now = pool.snapshot();
    assert_eq!((now.levels.closing, now.closed_by(CloseReason::PingTimeout)), (1, 1));
    until!(pool, pool.snapshot().abandoned == 1);
    script.server().thaw();
    until!(pool, pool.snapshot().abandoned == 0);
    books(&pool);
}

#[test]
fn the_permit_of_a_dead_connection_is_released_immediately() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let (pool, script) =
            pool(transport, |options| options.max_size(1).close_grace(LONG_TIMEOUT));
        for _ in 0..3 {
            let number = idle(&pool, 1)[0];
            script.server().close(number);
            let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT / 2).outcome();
            drop(outcome.expect("the server closed it before"));
            assert!(took < SLACK, "{transport:?}: {took:?}");
        }
        books(&pool);
    }
}

#[test]
fn many_connections_are_closed_concurrently() {
    let grace = Duration::from_secs(1);
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(100).close_grace(grace));
    idle(&pool, 100);
    script.always(At::Drop, Act::GracefulClose);
    script.server().freeze();
    let (end, took) = within(LONG_TIMEOUT, || pool.close(LONG_TIMEOUT));
    assert_eq!((end.levels.closing, end.abandoned), (0, 100));
    // The grace period passes once, not a hundred times.
    assert!(took < LONG_TIMEOUT / 2, "{took:?}");
    script.server().thaw();
    until!(pool, pool.snapshot().abandoned == 0);
    closed_books(&pool);
}
