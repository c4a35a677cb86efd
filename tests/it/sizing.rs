//! Caps that change while the pool is in use, and connections that are all to go.

use crate::common::books::books;
use crate::common::fake::{Act, At, Wire};
use crate::common::{PATIENCE, ask, idle, pool, until, until_waiting};
use poolwarden::{CloseReason, ConnectFault, ErrorKind, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_lowered_cap_closes_idle_connections_at_once_and_busy_ones_when_they_come_back() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(5));
    let held: Vec<_> = (0..3).map(|_| pool.get().expect("it opens")).collect();
    idle(&pool, 2);
    pool.set_max_size(1).expect("one is enough");
    until(|| pool.snapshot().closed_by(CloseReason::Surplus) == 2);
    assert_eq!((pool.snapshot().open, pool.snapshot().max_size), (3, 1));
    drop(held);
    until(|| pool.snapshot().closed_by(CloseReason::Surplus) == 4);
    assert_eq!(pool.snapshot().idle, 1);
    until(|| script.server().live() == 1);
    pool.set_max_size(5).expect("five are possible again");
    books(&pool);
}

#[test]
fn a_raised_cap_serves_those_who_wait_at_once() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let waiters = [1, 2].map(|place| {
        let waiter = ask(&pool, PATIENCE);
        until_waiting(&pool, place);
        waiter
    });
    let began = Instant::now();
    pool.set_max_size(3).expect("three are possible");
    let served = waiters.map(|waiter| waiter.connection());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop((held, served));
    books(&pool);
}

#[test]
fn a_cap_of_nothing_or_below_min_idle_is_refused() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(4).min_idle(2));
    for count in [0, 1] {
        let error = pool.set_max_size(count).expect_err("too few");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    assert_eq!(pool.snapshot().max_size, 4);
    books(&pool);
}

#[test]
fn a_cap_that_changes_all_the_time_loses_nothing() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(6));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let mut conn = pool.get().expect("its turn comes");
                    conn.broken = fastrand::u8(..) < 30;
                }
            });
        }
        for _ in 0..60 {
            pool.set_max_size(fastrand::u32(1..=6)).expect("within bounds");
            thread::sleep(Duration::from_millis(5));
        }
        over.store(true, Relaxed);
    });
    pool.set_max_size(6).expect("within bounds");
    books(&pool);
}

#[test]
fn retiring_all_closes_idle_connections_at_once_and_busy_ones_when_they_come_back() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(4));
    let held = pool.get().expect("it opens");
    idle(&pool, 3);
    pool.retire_all();
    until(|| pool.snapshot().closed_by(CloseReason::Retired) == 3);
    assert_eq!((pool.snapshot().open, pool.snapshot().in_use), (1, 1));
    drop(held);
    until(|| pool.snapshot().closed_by(CloseReason::Retired) == 4);
    assert_eq!(pool.get().expect("a new one is opened").number, 5);
    drop(pool.get().expect("and kept"));
    assert_eq!(pool.snapshot().closed(), 4);
    books(&pool);
}

#[test]
fn a_connection_that_was_being_opened_when_all_were_retired_does_not_stay() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let gate = crate::common::gate::Gate::shut();
    script.set_password("old");
    script.once(At::Connect, Act::Hang(gate.clone()));
    let caller = ask(&pool, PATIENCE);
    gate.until_came(1);
    pool.retire_all();
    gate.open();
    drop(caller.outcome());
    until(|| pool.snapshot().closed_by(CloseReason::Retired) == 1);
    books(&pool);
}

#[test]
fn a_server_that_is_full_is_asked_for_no_more_than_it_gave() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(4));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("it opens")).collect();
    script.always(At::Connect, Act::Fault(ConnectFault::Saturated));
    let error = pool.get_timeout(Duration::from_millis(300)).expect_err("the server is full");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(error.to_string().contains("no connection left to give"), "{error}");
    assert_eq!(pool.snapshot().max_size, 2);
    // What is there is still shared.
    let waiter = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    let attempts = script.calls(At::Connect);
    assert!(attempts <= 2 + 3, "{attempts} attempts");
    drop(held);
    drop(waiter.connection());
    books(&pool);
}

#[test]
fn a_server_that_has_room_again_is_asked_for_one_more_each_second() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(2));
    let held = pool.get().expect("it opens");
    script.once(At::Connect, Act::Fault(ConnectFault::Saturated));
    let began = Instant::now();
    let waiter = ask(&pool, PATIENCE);
    let second = waiter.connection();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(script.calls(At::Connect), 3);
    PooledConnection::discard(second);
    drop(held);
    books(&pool);
}
