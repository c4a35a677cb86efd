//! What the keeper does while nobody asks.

use crate::common::books::books;
use crate::common::fake::{Act, At, Script, Wire};
use crate::common::{idle, pool, pool_with, until};
use poolwarden::{CloseReason, ConnectFault};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn min_idle_connections_are_opened_without_a_caller() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(5).min_idle(3));
    until(|| pool.snapshot().idle == 3);
    assert_eq!((script.calls(At::Connect), pool.snapshot().checkouts), (3, 0));
    books(&pool);
}

#[test]
fn min_idle_is_kept_while_connections_are_in_use() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(4).min_idle(2));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("it opens")).collect();
    until(|| pool.snapshot().idle == 2);
    drop(held);
    books(&pool);
}

#[test]
fn idle_timeout_closes_what_is_beyond_min_idle_and_nothing_else() {
    let timeout = Duration::from_millis(150);
    let (pool, script) =
        pool(Wire::Tcp, |knobs| knobs.max_size(5).min_idle(2).idle_timeout(timeout));
    let began = Instant::now();
    idle(&pool, 5);
    until(|| pool.snapshot().idle == 2);
    assert!(began.elapsed() >= timeout);
    let kept = script.server().numbers();
    thread::sleep(2 * timeout);
    let now = pool.snapshot();
    assert_eq!((now.idle, now.closed_by(CloseReason::IdleTimeout)), (2, 3));
    until(|| script.server().live() == 2);
    assert!(script.server().numbers().iter().all(|number| kept.contains(number)));
    books(&pool);
}

#[test]
fn with_partial_use_one_connection_stays_busy_and_the_others_expire() {
    let timeout = Duration::from_millis(400);
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(3).idle_timeout(timeout));
    idle(&pool, 3);
    let busy = pool.get().expect("one is idle").number;
    until(|| {
        assert_eq!(pool.get().expect("it is idle").number, busy);
        pool.snapshot().open == 1
    });
    assert_eq!(pool.snapshot().closed_by(CloseReason::IdleTimeout), 2);
    books(&pool);
}

#[test]
fn expired_min_idle_connections_are_replaced_without_a_caller() {
    for max_size in [2, 4] {
        let life = Duration::from_millis(100);
        let (pool, _) =
            pool(Wire::Tcp, |knobs| knobs.max_size(max_size).min_idle(2).max_lifetime(life));
        // Three generations.
        until(|| pool.snapshot().opened >= 6);
        until(|| pool.snapshot().idle == 2);
        assert_eq!(pool.snapshot().checkouts, 0);
        books(&pool);
    }
}

#[test]
fn the_keeper_finds_a_dead_idle_connection_by_itself() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    let number = idle(&pool, 1)[0];
    script.server().close(number);
    // The levels and the totals are not changed in one step.
    until(|| pool.snapshot().closed_by(CloseReason::ServerClosed) == 1);
    assert_eq!(pool.snapshot().open, 0);
    assert_eq!(script.calls(At::Connect), 1, "nobody asked for another");
    books(&pool);
}

#[test]
fn a_dead_min_idle_connection_is_replaced_before_a_caller_comes() {
    for max_size in [2, 4] {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(max_size).min_idle(2));
        until(|| pool.snapshot().idle == 2);
        end_all(&script);
        until(|| pool.snapshot().closed() == 2 && pool.snapshot().idle == 2);
        assert_eq!(pool.snapshot().checkouts, 0);
        books(&pool);
    }
}

fn end_all(script: &Script) {
    script.server().numbers().into_iter().for_each(|number| script.server().close(number));
}

#[test]
fn min_idle_is_filled_again_after_an_outage_that_a_caller_met_first() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.min_idle(2));
    until(|| pool.snapshot().idle == 2);
    script.always(At::Connect, Act::Fault(ConnectFault::Refused));
    end_all(&script);
    pool.get().expect_err("the server is down");
    script.heal();
    until(|| pool.snapshot().idle == 2);
    books(&pool);
}

#[test]
fn attempts_that_nobody_asked_for_are_spaced_and_end_with_the_outage() {
    let down = |script: &Script| script.always(At::Connect, Act::Fault(ConnectFault::Refused));
    let (pool, script) = pool_with(Wire::Tcp, down, |knobs| knobs.min_idle(1));
    until(|| script.calls(At::Connect) >= 5);
    // How far beyond this they are apart is a matter of chance, and of its bound.
    let least = Duration::from_millis(90);
    for pair in script.times(At::Connect).windows(2) {
        assert!(pair[1] - pair[0] >= least, "{:?} after {least:?}", pair[1] - pair[0]);
    }
    script.heal();
    until(|| pool.snapshot().idle == 1);
    books(&pool);
}

#[test]
fn nothing_is_opened_while_nobody_asks_and_min_idle_is_zero() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    thread::sleep(Duration::from_millis(200));
    assert_eq!(script.calls(At::Connect), 0);
    books(&pool);
}

#[test]
fn a_look_at_many_idle_connections_finds_the_dead_and_keeps_the_order_of_the_rest() {
    let (pool, script) = pool(Wire::Unix, |knobs| knobs.max_size(50));
    let mut order = idle(&pool, 50);
    let dead: Vec<u64> = order.extract_if(.., |number| *number % 7 == 0).collect();
    dead.iter().for_each(|number| script.server().close(*number));
    until(|| pool.snapshot().idle == 50 - 7);
    // What came back first lies lowest.
    let held: Vec<_> = order.iter().map(|_| pool.get().expect("it is idle")).collect();
    let got: Vec<u64> = held.iter().rev().map(|conn| conn.number).collect();
    assert_eq!(got, order);
    drop(held);
    books(&pool);
}

#[test]
fn what_grows_too_old_soon_after_its_check_in_is_not_kept_until_the_next_leisurely_visit() {
    let life = Duration::from_millis(300);
    // A loaded computer only ever adds to it: the best of three counts.
    let took = (0..3).map(|_| {
        let (pool, _) =
            pool(Wire::Tcp, |knobs| knobs.max_size(1).max_lifetime(life).lifetime_jitter(0.0));
        let began = Instant::now();
        let held = pool.get().expect("it opens");
        // The visit at its opening sees nothing idle.
        thread::sleep(life / 3);
        drop(held);
        until(|| pool.snapshot().closed_by(CloseReason::MaxLifetime) == 1);
        began.elapsed()
    });
    let best = took.min().expect("three tries");
    assert!((life..2 * life).contains(&best), "closed after {best:?}");
}
