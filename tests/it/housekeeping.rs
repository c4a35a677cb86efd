//! What the housekeeper does while no caller waits.

use crate::common::books::books;
use crate::common::fake::{Act, At, Script, Transport};
use crate::common::gate::Gate;
use crate::common::{idle, pool, pool_with, until};
use poolwarden::observe::Closed;
use poolwarden::{CloseReason, FaultClass, Observer};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn min_idle_connections_are_opened_without_a_caller() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(5).min_idle(3));
    until!(pool, pool.snapshot().levels.idle == 3);
    assert_eq!((script.calls(At::Connect), pool.snapshot().checkouts), (3, 0));
    books(&pool);
}

/// Blocks in `closed`.
struct BlockedObserver(Gate);

impl Observer for BlockedObserver {
    fn closed(&self, _: &Closed<'_>) {
        self.0.pass();
    }
}

#[test]
fn an_observer_that_blocks_delays_the_housekeeping_of_no_other_pool_and_is_counted() {
    let (gate, timeout) = (Gate::shut(), Duration::from_millis(50));
    let (blocked, _) = pool(Transport::Tcp, |options| {
        options.max_size(1).idle_timeout(timeout).observer(BlockedObserver(gate.clone()))
    });
    let (other, _) = pool(Transport::Tcp, |options| options.max_size(1).idle_timeout(timeout));
    idle(&blocked, 1);
    gate.wait_for_arrivals(1);
    idle(&other, 1);
    until!(other, other.snapshot().closed_by(CloseReason::IdleTimeout) == 1);
    until!(blocked, blocked.snapshot().left_behind > 0);
    gate.open();
    idle(&blocked, 1);
    until!(blocked, blocked.snapshot().closed_by(CloseReason::IdleTimeout) == 2);
    books(&blocked);
    books(&other);
}

#[test]
fn min_idle_is_kept_while_connections_are_in_use() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(4).min_idle(2));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("it opens")).collect();
    until!(pool, pool.snapshot().levels.idle == 2);
    drop(held);
    books(&pool);
}

#[test]
fn idle_timeout_closes_only_connections_beyond_min_idle() {
    let timeout = Duration::from_millis(150);
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(5).min_idle(2).idle_timeout(timeout));
    let began = Instant::now();
    idle(&pool, 5);
    until!(pool, pool.snapshot().levels.idle == 2);
    assert!(began.elapsed() >= timeout);
    let kept = script.server().numbers();
    thread::sleep(2 * timeout);
    let now = pool.snapshot();
    assert_eq!((now.levels.idle, now.closed_by(CloseReason::IdleTimeout)), (2, 3));
    until!(pool, script.server().live() == 2);
    assert!(script.server().numbers().iter().all(|number| kept.contains(number)));
    books(&pool);
}

#[test]
fn with_partial_use_one_connection_stays_busy_and_the_others_expire() {
    let timeout = Duration::from_millis(400);
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(3).idle_timeout(timeout));
    idle(&pool, 3);
    let mut held = Some(pool.get().expect("one is idle"));
    let busy = held.as_ref().map(|conn| conn.number);
    // Idle for moments only, even if this thread is not scheduled in between.
    until!(pool, {
        drop(held.take());
        held = Some(pool.get().expect("it is idle"));
        assert_eq!(held.as_ref().map(|conn| conn.number), busy);
        pool.snapshot().levels.open == 1
    });
    drop(held);
    // A connection leaves the pool before its reason is counted.
    until!(pool, pool.snapshot().closed_by(CloseReason::IdleTimeout) == 2);
    books(&pool);
}

#[test]
fn expired_min_idle_connections_are_replaced_without_a_caller() {
    for max_size in [2, 4] {
        let life = Duration::from_millis(100);
        let (pool, _) = pool(Transport::Tcp, |options| {
            options.max_size(max_size).min_idle(2).max_lifetime(life)
        });
        // Three generations.
        until!(pool, pool.snapshot().opened >= 6);
        until!(pool, pool.snapshot().levels.idle == 2);
        assert_eq!(pool.snapshot().checkouts, 0);
        books(&pool);
    }
}

#[test]
fn the_housekeeper_finds_a_dead_idle_connection_by_itself() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    let number = idle(&pool, 1)[0];
    script.server().close(number);
    // The levels and the totals do not change in one step.
    until!(pool, pool.snapshot().closed_by(CloseReason::ServerClosed) == 1);
    assert_eq!(pool.snapshot().levels.open, 0);
    assert_eq!(script.calls(At::Connect), 1, "no caller needed another");
    books(&pool);
}

#[test]
fn a_dead_min_idle_connection_is_replaced_before_a_caller_comes() {
    for max_size in [2, 4] {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(max_size).min_idle(2));
        until!(pool, pool.snapshot().levels.idle == 2);
        close_all(&script);
        until!(pool, pool.snapshot().closed() == 2 && pool.snapshot().levels.idle == 2);
        assert_eq!(pool.snapshot().checkouts, 0);
        books(&pool);
    }
}

fn close_all(script: &Script) {
    script.server().numbers().into_iter().for_each(|number| script.server().close(number));
}

#[test]
fn min_idle_is_refilled_after_an_outage_that_a_caller_noticed_first() {
    let (pool, script) = pool(Transport::Tcp, |options| options.min_idle(2));
    until!(pool, pool.snapshot().levels.idle == 2);
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    close_all(&script);
    pool.get().expect_err("the server is down");
    script.clear();
    until!(pool, pool.snapshot().levels.idle == 2);
    books(&pool);
}

#[test]
fn attempts_for_min_idle_are_spaced_and_end_with_the_outage() {
    let down = |script: &Script| script.always(At::Connect, Act::Fault(FaultClass::Refused));
    let (pool, script) = pool_with(Transport::Tcp, down, |options| options.min_idle(1));
    until!(pool, script.calls(At::Connect) >= 5);
    // A random delay may add to this interval.
    let least = Duration::from_millis(90);
    for pair in script.times(At::Connect).windows(2) {
        assert!(pair[1] - pair[0] >= least, "{:?} after {least:?}", pair[1] - pair[0]);
    }
    script.clear();
    until!(pool, pool.snapshot().levels.idle == 1);
    books(&pool);
}

#[test]
fn no_connection_is_opened_without_a_caller_if_min_idle_is_zero() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(script.calls(At::Connect), 0);
    books(&pool);
}

#[test]
fn housekeeping_closes_dead_idle_connections_and_keeps_the_order_of_the_others() {
    // While they are taken out one may be out for the next check: one of several tries counts.
    assert!((0..10).any(|_| order_is_kept()));
}

fn order_is_kept() -> bool {
    let (pool, script) = pool(Transport::Unix, |options| options.max_size(50));
    let mut order = idle(&pool, 50);
    let dead: Vec<u64> = order.extract_if(.., |number| *number % 7 == 0).collect();
    dead.iter().for_each(|number| script.server().close(*number));
    until!(pool, pool.snapshot().levels.idle == 50 - 7);
    // The connection that was returned first lies lowest.
    let held: Vec<_> = order.iter().map(|_| pool.get().expect("it is idle")).collect();
    let got: Vec<u64> = held.iter().rev().map(|conn| conn.number).collect();
    drop(held);
    books(&pool);
    got == order
}

#[test]
fn a_connection_that_expires_soon_after_its_check_in_is_closed_on_time() {
    let life = Duration::from_millis(300);
    // A loaded computer only adds delay: one of several tries counts.
    let mut took = (0..12).map(|_| {
        let (pool, _) = pool(Transport::Tcp, |options| {
            options.max_size(1).max_lifetime(life).lifetime_jitter(0.0)
        });
        let began = Instant::now();
        let held = pool.get().expect("it opens");
        // The housekeeping after the connect finds no idle connection.
        thread::sleep(life / 3);
        drop(held);
        until!(pool, pool.snapshot().closed_by(CloseReason::MaxLifetime) == 1);
        let took = began.elapsed();
        assert!(took >= life, "closed after {took:?}");
        took
    });
    assert!(took.any(|took| took < 2 * life), "it was always closed later");
}
