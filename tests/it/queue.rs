//! The wait queue: order, timeouts, fairness.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Transport};
use crate::common::gate::Gate;
use crate::common::{
    Caller, LONG_TIMEOUT, pool, start_checkout, start_checkouts_that_time_out, until, until_waiting,
};
use poolwarden::{ErrorKind, FaultClass, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// More than the time for which newcomers may overtake the head of the queue.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

#[test]
fn a_waiter_gets_a_connection_as_soon_as_one_is_returned() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    let returned = Instant::now();
    drop(held);
    drop(waiter.connection());
    assert!(returned.elapsed() < Duration::from_secs(2), "{:?}", returned.elapsed());
    books(&pool);
}

#[test]
fn waiters_are_served_in_the_order_of_their_arrival() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for position in 0..12 {
            let (pool, sender) = (&pool, sender.clone());
            scope.spawn(move || {
                let conn = pool.get().expect("its configure comes");
                sender.send(position).expect("the test receives");
                drop(conn);
            });
            until_waiting(pool, position + 1);
        }
        thread::sleep(LONG_ENOUGH);
        drop(held);
    });
    drop(sender);
    let served: Vec<_> = receiver.iter().collect();
    assert_eq!(served, (0..12).collect::<Vec<_>>());
    books(&pool);
}

#[test]
fn a_newcomer_does_not_overtake_one_that_has_waited_for_longer_than_a_millisecond() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    for _ in 0..20 {
        let held = pool.get().expect("it opens");
        let waiter = start_checkout(&pool, LONG_TIMEOUT);
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
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let last = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    for millis in [1, 20, 150] {
        let timeout = Duration::from_millis(millis);
        let (outcome, took) = start_checkout(&pool, timeout).outcome();
        let error = outcome.expect_err("no connection is free");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
        assert!(took >= timeout && error.waited().expect("it waited") >= timeout);
        assert!(took < timeout + Duration::from_secs(2), "{took:?} instead of {timeout:?}");
    }
    drop(held);
    drop(last.connection());
    assert_eq!(pool.snapshot().timeouts, 3);
    books(&pool);
}

#[test]
fn a_waiter_that_times_out_leaves_no_trace() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let leaving = start_checkouts_that_time_out(&pool, 8);
    let last = start_checkout(&pool, LONG_TIMEOUT);
    leaving.into_iter().for_each(|caller| drop(caller.error()));
    until_waiting(&pool, 1);
    drop(held);
    assert_eq!(last.connection().number, 1);
    books(&pool);
}

/// A check-in and a timeout meet at the same instant, many times.
#[test]
fn a_connection_returned_just_when_its_waiter_leaves_is_not_lost() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    for round in 0..150 {
        let timeout = Duration::from_millis(2);
        let held = pool.get().expect("the connection is still open");
        let waiter = start_checkout(&pool, timeout);
        until!(pool, pool.snapshot().levels.waiting == 1 || waiter.is_finished());
        thread::sleep(Duration::from_micros(1_700 + 5 * (round % 100)));
        drop(held);
        drop(waiter.outcome());
    }
    assert_eq!(script.calls(At::Connect), 1);
    books(&pool);
}

#[test]
fn a_caller_beyond_max_waiting_fails_immediately() {
    let (pool, _) =
        pool(Transport::Tcp, |options| options.max_size(1).max_waiting(2).name("narrow"));
    let held = pool.get().expect("it opens");
    let mut waiters = Vec::new();
    for position in 1..=2 {
        waiters.push(start_checkout(&pool, LONG_TIMEOUT));
        until_waiting(&pool, position);
    }
    let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT).outcome();
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
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1).max_waiting(1));
    let held = pool.get().expect("it opens");
    let first = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    // The server closes it when it was handed over; while the first waiter checks it, a second
    // one queues.
    let (gate, number) = (Gate::shut(), held.number);
    script.once(At::SocketAccess, Act::Hang(gate.clone()));
    thread::sleep(LONG_ENOUGH);
    drop(held);
    gate.wait_for_arrivals(1);
    script.server().close(number);
    let second = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    // It may be served before the first one is back in the queue.
    let second = thread::spawn(|| drop(second.connection()));
    gate.open();
    let conn = first.connection();
    assert_eq!(conn.number, 2);
    drop(conn);
    second.join().expect("it is served");
    books(&pool);
}

#[test]
fn no_thread_gets_less_than_half_of_its_fair_share() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(4));
    let over = AtomicBool::new(false);
    let work = || {
        let mut checkouts = 0u32;
        while !over.load(Relaxed) {
            let conn = pool.get().expect("its configure comes");
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

/// One connection stays in use, so that only one permit is left; the first
/// waiter's attempt fails.
fn one_attempt_fails(fault: FaultClass) -> (Pool<Fake>, Vec<Caller>, PooledConnection<Fake>) {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    let (long, short) = (pool.get().expect("it opens"), pool.get().expect("it opens"));
    let mut waiters = Vec::new();
    for position in 1..=2 {
        waiters.push(start_checkout(&pool, Duration::from_secs(4)));
        until_waiting(&pool, position);
    }
    script.once(At::Connect, Act::Fault(fault));
    PooledConnection::discard(short);
    (pool, waiters, long)
}

#[test]
fn a_waiter_whose_attempt_fails_while_a_connection_is_open_is_served_by_the_next_attempt() {
    for fault in [FaultClass::Refused, FaultClass::Saturated, FaultClass::Hangup] {
        let (pool, waiters, long) = one_attempt_fails(fault);
        for waiter in waiters {
            let (outcome, took) = waiter.outcome();
            assert!(outcome.is_ok(), "after {fault:?}: {outcome:?}");
            assert!(took < Duration::from_secs(3), "it waited for {took:?} after {fault:?}");
        }
        drop(long);
        books(&pool);
    }
}
