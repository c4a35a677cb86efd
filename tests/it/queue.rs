//! Who waits, in which order, for how long.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Wire};
use crate::common::gate::Gate;
use crate::common::{Caller, PATIENCE, ask, pool, until, until_waiting};
use poolwarden::{ConnectFault, ErrorKind, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// More than the time for which the head of the queue may be overtaken.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

#[test]
fn a_waiter_gets_a_connection_as_soon_as_one_comes_back() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let waiter = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    let returned = Instant::now();
    drop(held);
    drop(waiter.connection());
    assert!(returned.elapsed() < Duration::from_secs(2), "{:?}", returned.elapsed());
    books(&pool);
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let (say, said) = mpsc::channel();
    thread::scope(|scope| {
        for place in 0..12 {
            let (pool, say) = (&pool, say.clone());
            scope.spawn(move || {
                let conn = pool.get().expect("its turn comes");
                say.send(place).expect("the test listens");
                drop(conn);
            });
            until_waiting(pool, place + 1);
        }
        thread::sleep(LONG_ENOUGH);
        drop(held);
    });
    drop(say);
    let served: Vec<_> = said.iter().collect();
    assert_eq!(served, (0..12).collect::<Vec<_>>());
    books(&pool);
}

#[test]
fn a_newcomer_does_not_overtake_one_that_has_waited_for_longer_than_a_millisecond() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    for _ in 0..20 {
        let held = pool.get().expect("it opens");
        let waiter = ask(&pool, PATIENCE);
        until_waiting(&pool, 1);
        thread::sleep(LONG_ENOUGH);
        drop(held);
        assert!(pool.try_get().is_none(), "the waiter was there first");
        drop(waiter.connection());
    }
    books(&pool);
}

#[test]
fn a_waiter_times_out_at_its_own_deadline_and_never_early() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let patient = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    for millis in [1, 20, 150] {
        let timeout = Duration::from_millis(millis);
        let (outcome, took) = ask(&pool, timeout).outcome();
        let error = outcome.expect_err("there is none to have");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
        assert!(took >= timeout && error.waited().expect("it waited") >= timeout);
        assert!(took < timeout + Duration::from_secs(2), "{took:?} instead of {timeout:?}");
    }
    drop(held);
    drop(patient.connection());
    assert_eq!(pool.snapshot().timeouts, 3);
    books(&pool);
}

#[test]
fn a_waiter_that_times_out_leaves_no_trace() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let hasty: Vec<_> = (0..8).map(|_| ask(&pool, Duration::from_millis(40))).collect();
    until_waiting(&pool, 8);
    let patient = ask(&pool, PATIENCE);
    hasty.into_iter().for_each(|caller| drop(caller.error()));
    assert_eq!(pool.snapshot().waiting, 1);
    drop(held);
    assert_eq!(patient.connection().number, 1);
    books(&pool);
}

/// Leavers and givers meet at the same instant, again and again.
#[test]
fn a_connection_returned_just_when_its_waiter_leaves_is_not_lost() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    for round in 0..150 {
        let timeout = Duration::from_millis(2);
        let held = pool.get().expect("the connection is still there");
        let waiter = ask(&pool, timeout);
        until(|| pool.snapshot().waiting == 1 || waiter.is_finished());
        thread::sleep(Duration::from_micros(1_700 + 5 * (round % 100)));
        drop(held);
        drop(waiter.outcome());
    }
    assert_eq!(script.calls(At::Connect), 1);
    books(&pool);
}

#[test]
fn one_caller_more_than_max_waiting_is_told_so_at_once() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1).max_waiting(2).name("narrow"));
    let held = pool.get().expect("it opens");
    let mut waiters = Vec::new();
    for place in 1..=2 {
        waiters.push(ask(&pool, PATIENCE));
        until_waiting(&pool, place);
    }
    let (outcome, took) = ask(&pool, PATIENCE).outcome();
    let error = outcome.expect_err("the queue is full");
    assert_eq!(error.kind(), ErrorKind::QueueFull);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let text = error.to_string();
    assert!(text.contains("pool narrow") && text.contains("max_waiting 2"), "{text}");
    drop(held);
    waiters.into_iter().for_each(|waiter| drop(waiter.connection()));
    books(&pool);
}

#[test]
fn a_waiter_that_was_given_a_dead_connection_keeps_its_place_in_a_full_queue() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1).max_waiting(1));
    let held = pool.get().expect("it opens");
    let first = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    // It dies in use; while the first waiter looks at it, a second one queues.
    script.server().close(held.number);
    let gate = Gate::shut();
    script.once(At::Link, Act::Hang(gate.clone()));
    thread::sleep(LONG_ENOUGH);
    drop(held);
    gate.until_came(1);
    let second = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    gate.open();
    let conn = first.connection();
    assert_eq!(conn.number, 2);
    drop(conn);
    drop(second.connection());
    books(&pool);
}

#[test]
fn no_thread_of_many_gets_less_than_half_of_its_share() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(4));
    let over = AtomicBool::new(false);
    let work = || {
        let mut checkouts = 0u32;
        while !over.load(Relaxed) {
            let conn = pool.get().expect("its turn comes");
            thread::sleep(Duration::from_millis(1));
            drop(conn);
            checkouts += 1;
        }
        checkouts
    };
    let shares: Vec<u32> = thread::scope(|scope| {
        let workers: Vec<_> = (0..64).map(|_| scope.spawn(work)).collect();
        thread::sleep(Duration::from_secs(3));
        over.store(true, Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
    });
    let mean = shares.iter().sum::<u32>() / 64;
    let least = shares.iter().min().expect("64 of them");
    assert!(*least * 2 >= mean, "{least} check-outs, where the mean is {mean}");
    books(&pool);
}

/// One connection is in use for long, so that only one place is left; the first
/// waiter's attempt fails.
fn one_attempt_fails(fault: ConnectFault) -> (Pool<Fake>, Vec<Caller>, PooledConnection<Fake>) {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(2));
    let (long, short) = (pool.get().expect("it opens"), pool.get().expect("it opens"));
    let mut waiters = Vec::new();
    for place in 1..=2 {
        waiters.push(ask(&pool, Duration::from_secs(4)));
        until_waiting(&pool, place);
    }
    script.once(At::Connect, Act::Fault(fault));
    PooledConnection::discard(short);
    (pool, waiters, long)
}

#[test]
fn a_failed_attempt_gives_its_place_to_the_next_waiter() {
    let (pool, mut waiters, long) = one_attempt_fails(ConnectFault::Refused);
    let (next, first) = (waiters.pop().expect("two wait"), waiters.pop().expect("two wait"));
    assert_eq!(first.error().kind(), ErrorKind::Connect);
    let (outcome, took) = next.outcome();
    assert!(outcome.is_ok(), "the next one asks in its turn: {outcome:?}");
    assert!(took < Duration::from_secs(3), "it waited for {took:?}");
    drop((outcome, long));
    books(&pool);
}

#[test]
fn a_waiter_that_an_attempt_fails_for_a_passing_cause_is_served_by_the_next_attempt() {
    let (pool, waiters, long) = one_attempt_fails(ConnectFault::Saturated);
    for waiter in waiters {
        let (outcome, took) = waiter.outcome();
        assert!(outcome.is_ok(), "the server has a place again: {outcome:?}");
        assert!(took < Duration::from_secs(3), "it waited for {took:?}");
    }
    drop(long);
    books(&pool);
}
