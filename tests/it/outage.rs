//! The server is down, saturated or starting: which callers fail, when, and how
//! often the pool tries to connect meanwhile.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Script, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until, until_waiting};
use poolwarden::{ErrorKind, FaultClass, Pool, PooledConnection};
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_refused_connect_is_reported_immediately_with_its_cause() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT).outcome();
    let error = outcome.expect_err("the connection is refused");
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let cause = error.connect_error().expect("a cause");
    assert_eq!((cause.class(), cause.code()), (FaultClass::Refused, Some("F0000")));
    assert!(error.to_string().contains("fake:1: connection refused"), "{error}");
    assert_eq!(error.source().expect("the driver's error").to_string(), "a scripted fault");
    books(&pool);
}

#[test]
fn every_cause_that_waiting_cannot_cure_is_reported_immediately() {
    let faults = [
        FaultClass::UnknownHost,
        FaultClass::Unreachable,
        FaultClass::Hangup,
        FaultClass::Authentication,
        FaultClass::UnknownDatabase,
        FaultClass::Tls,
        FaultClass::SelfConnected,
        FaultClass::LocalResource,
        FaultClass::Configuration,
        FaultClass::Other,
    ];
    for fault in faults {
        let (pool, script) = pool(Transport::InProcess, |options| options);
        script.once(At::Connect, Act::Fault(fault));
        let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT).outcome();
        let error = outcome.expect_err("it cannot be opened");
        assert_eq!(error.connect_error().map(|cause| cause.class()), Some(fault));
        assert!(took < Duration::from_secs(2), "{fault:?}: {took:?}");
        books(&pool);
    }
}

#[test]
fn with_a_temporary_cause_a_caller_waits_until_its_deadline_and_the_error_names_the_cause() {
    for fault in [FaultClass::Starting, FaultClass::Saturated] {
        let (pool, script) = pool(Transport::Tcp, |options| options);
        script.always(At::Connect, Act::Fault(fault));
        let timeout = Duration::from_secs(1);
        let (outcome, took) = start_checkout(&pool, timeout).outcome();
        let error = outcome.expect_err("the cause remained");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
        assert!(took >= timeout);
        assert!(error.to_string().contains("last connect error: cannot connect to"), "{error}");
        assert_eq!(error.connect_error().map(|cause| cause.class()), Some(fault));
        assert!(script.calls(At::Connect) >= 2, "the pool retried meanwhile");
        books(&pool);
    }
}

#[test]
fn a_temporary_cause_that_ends_in_time_is_not_reported() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    (0..3).for_each(|_| script.once(At::Connect, Act::Fault(FaultClass::Starting)));
    let (outcome, took) = start_checkout(&pool, LONG_TIMEOUT).outcome();
    drop(outcome.expect("the server has started"));
    // Three failures, three gaps of 40 ms.
    assert!(took >= Duration::from_millis(120), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    books(&pool);
}

#[test]
fn build_fails_fast_if_the_server_is_down_and_build_lazy_does_not_connect() {
    let (driver, script) = Fake::new(Transport::Tcp);
    script.always(At::Connect, Act::Fault(FaultClass::Authentication));
    let began = Instant::now();
    let error = Pool::builder().build(driver).expect_err("the password is wrong");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(error.connect_error().map(|e| e.class()), Some(FaultClass::Authentication));
    let (lazy, script) = pool(Transport::Tcp, |options| options);
    assert_eq!(script.calls(At::Connect), 0);
    books(&lazy);
}

#[test]
fn build_opens_the_first_connection_and_keeps_it() {
    let (driver, script) = Fake::new(Transport::Tcp);
    let pool = Pool::builder().build(driver).expect("the server is up");
    assert_eq!((pool.snapshot().levels.idle, script.calls(At::Connect)), (1, 1));
    books(&pool);
}

/// Checks out repeatedly on many threads while a closure runs; returns when the
/// first of them got a connection.
fn while_many_check_out(pool: &Pool<Fake>, work: impl FnOnce()) -> Option<Instant> {
    let over = AtomicBool::new(false);
    let check_out = || {
        let mut first = None;
        while !over.load(Relaxed) {
            if pool.get_timeout(Duration::from_millis(300)).is_ok() {
                first = first.or_else(|| Some(Instant::now()));
            }
            // A caller that failed does something else first.
            thread::sleep(Duration::from_millis(1));
        }
        first
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..32).map(|_| scope.spawn(check_out)).collect();
        work();
        over.store(true, Relaxed);
        callers.into_iter().filter_map(|caller| caller.join().expect("no panic")).min()
    })
}

#[test]
fn a_server_that_is_down_gets_ten_attempts_a_second_at_most_for_any_number_of_callers() {
    // The first attempts of an outage in which nothing listens, or a server is starting up,
    // follow each other closely.
    for (fault, close, millis) in [
        (FaultClass::Hangup, 0, 1_200),
        (FaultClass::Saturated, 0, 1_200),
        (FaultClass::Starting, 11, 1_700),
        (FaultClass::Refused, 101, 4_500),
    ] {
        let (pool, script) = pool(Transport::Tcp, |options| options);
        script.always(At::Connect, Act::Fault(fault));
        while_many_check_out(&pool, || thread::sleep(Duration::from_millis(millis)));
        let times = script.times(At::Connect);
        let (close, slow) = times.split_at(close.min(times.len()));
        assert_never_more_than(40, close);
        assert_never_more_than(12, slow);
        assert!(script.calls(At::Connect) >= 4, "the pool retries while callers wait");
        books(&pool);
    }
}

#[track_caller]
fn assert_never_more_than(most: usize, attempts: &[Instant]) {
    for (place, first) in attempts.iter().enumerate() {
        let count = attempts[place..].iter().filter(|at| **at - *first < SECOND).count();
        // Each attempt begins on a thread of its own, some time after it was ordered.
        assert!(count <= most, "{count} attempts within a second");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_server_that_is_down_gets_no_attempts_while_no_caller_waits() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    pool.get().expect_err("the connection is refused");
    let attempts = script.calls(At::Connect);
    thread::sleep(Duration::from_millis(500));
    assert_eq!((script.calls(At::Connect), pool.snapshot().levels.pending), (attempts, 0));
    books(&pool);
}

#[test]
fn the_first_success_follows_the_servers_return_within_150_milliseconds() {
    for fault in [FaultClass::Refused, FaultClass::Starting] {
        // Several tries: the computer may be busy.
        let mut tries = (0..6).map(|_| time_to_recover(fault));
        assert!(tries.any(|took| took < Duration::from_millis(150)), "{fault:?}");
    }
}

fn time_to_recover(fault: FaultClass) -> Duration {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    script.always(At::Connect, Act::Fault(fault));
    let mut back = None;
    let first = while_many_check_out(&pool, || {
        thread::sleep(Duration::from_millis(250));
        back = Some(Instant::now());
        script.clear();
        until!(pool, pool.snapshot().opened > 0);
        thread::sleep(Duration::from_millis(20));
    });
    books(&pool);
    first.expect("a caller got a connection") - back.expect("the server was restarted")
}

#[test]
fn a_waiter_outlives_the_servers_restart() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let waiter = start_checkout(&pool, Duration::from_secs(4));
    until!(pool, pool.snapshot().levels.waiting == 1);
    restart(&script);
    PooledConnection::discard(held);
    let (outcome, took) = waiter.outcome();
    assert!(outcome.is_ok() && took < Duration::from_secs(3), "{outcome:?} after {took:?}");
    drop(outcome);
    books(&pool);
}

fn restart(script: &Script) {
    script.server().numbers().into_iter().for_each(|number| script.server().close(number));
    (0..3).for_each(|_| script.once(At::Connect, Act::Fault(FaultClass::Starting)));
}

#[test]
fn all_waiters_fail_when_no_connection_is_open_or_being_opened() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let gate = Gate::shut();
    let down = gate.clone();
    script.once(At::Connect, Act::Hang(gate.clone()));
    script.server().freeze();
    let callers: Vec<_> = (0..6).map(|_| start_checkout(&pool, LONG_TIMEOUT)).collect();
    until!(pool, pool.snapshot().levels.waiting == 6);
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    // The running attempt fails: its session ends in the handshake.
    down.open();
    until!(pool, script.server().live() == 1);
    script.server().close(1);
    let began = Instant::now();
    callers.into_iter().for_each(|caller| assert_eq!(caller.error().kind(), ErrorKind::Connect));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(script.calls(At::Connect), 1, "one attempt failed them all");
    books(&pool);
}

#[test]
fn a_server_that_accepts_and_closes_gets_spaced_attempts() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    script.server().hang_up();
    let timeout = Duration::from_millis(900);
    let (outcome, took) = start_checkout(&pool, timeout).outcome();
    let error = outcome.expect_err("no connection lives for long enough");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(took >= timeout && took < timeout + Duration::from_secs(2), "{took:?}");
    let attempts = script.calls(At::Connect);
    assert!((3..=20).contains(&attempts), "{attempts} attempts");
    books(&pool);
}

#[test]
fn a_failed_attempt_is_the_source_of_a_timeout_while_a_connection_is_open() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    let number = idle(&pool, 1)[0];
    let held = pool.get().expect("one is idle");
    script.always(At::Connect, Act::Fault(FaultClass::Refused));
    let error = pool.get_timeout(Duration::from_secs(1)).expect_err("none is free");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "waiting could have helped: {error}");
    let cause = error.connect_error().expect("the attempt failed");
    assert_eq!(cause.class(), FaultClass::Refused);
    drop(held);
    assert_eq!(pool.get().expect("the first one is still open").number, number);
    books(&pool);
}

/// Returns the number of attempts after `find` noticed the loss of four connections.
fn after_a_loss_of_all(find: impl FnOnce(&Pool<Fake>)) -> u32 {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(8));
    let numbers = idle(&pool, 4);
    let gate = Gate::shut();
    (0..8).for_each(|_| script.once(At::Connect, Act::Hang(gate.clone())));
    numbers.into_iter().for_each(|number| script.server().close(number));
    find(&pool);
    let began = Instant::now();
    let callers: Vec<_> = (1..=4)
        .map(|waiting| {
            let caller = start_checkout(&pool, LONG_TIMEOUT);
            until_waiting(&pool, waiting);
            caller
        })
        .collect();
    let attempts = pool.snapshot().levels.pending;
    // Waiters start one attempt more every 100 ms.
    let due = 1 + began.elapsed().as_millis() / 100;
    gate.open();
    callers.into_iter().for_each(|caller| drop(caller.connection()));
    books(&pool);
    attempts - u32::try_from(due - 1).expect("a few").min(attempts - 1)
}

#[test]
fn after_a_loss_of_connections_one_attempt_runs_before_the_others() {
    let by_a_caller = |pool: &Pool<Fake>| assert!(pool.try_get().is_none(), "all are dead");
    let by_the_housekeeper = |pool: &Pool<Fake>| until!(pool, pool.snapshot().levels.idle == 0);
    assert_eq!(after_a_loss_of_all(by_a_caller), 1);
    assert_eq!(after_a_loss_of_all(by_the_housekeeper), 1);
}
