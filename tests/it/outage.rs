//! The server is down, full or starting: who is told, when, and how often it is
//! asked meanwhile.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Script, Wire};
use crate::common::gate::Gate;
use crate::common::{PATIENCE, ask, idle, pool, until};
use poolwarden::{ConnectFault, ErrorKind, Pool, PooledConnection};
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_refused_connection_is_told_at_once_with_its_cause() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    script.always(At::Connect, Act::Fault(ConnectFault::Refused));
    let (outcome, took) = ask(&pool, PATIENCE).outcome();
    let error = outcome.expect_err("nobody listens");
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert!(took < Duration::from_secs(2), "{took:?}");
    let cause = error.connect_error().expect("a cause");
    assert_eq!((cause.fault(), cause.code()), (ConnectFault::Refused, Some("F0000")));
    assert!(error.to_string().contains("fake:1: connection refused"), "{error}");
    assert_eq!(error.source().expect("the driver's error").to_string(), "a scripted fault");
    books(&pool);
}

#[test]
fn every_cause_that_waiting_does_not_heal_is_told_at_once() {
    let told = [
        ConnectFault::UnknownHost,
        ConnectFault::Unreachable,
        ConnectFault::Hangup,
        ConnectFault::Authentication,
        ConnectFault::UnknownDatabase,
        ConnectFault::Tls,
        ConnectFault::SelfConnected,
        ConnectFault::LocalResource,
        ConnectFault::Config,
        ConnectFault::Other,
    ];
    for fault in told {
        let (pool, script) = pool(Wire::InProcess, |knobs| knobs);
        script.once(At::Connect, Act::Fault(fault));
        let (outcome, took) = ask(&pool, PATIENCE).outcome();
        let error = outcome.expect_err("it cannot be opened");
        assert_eq!(error.connect_error().map(|cause| cause.fault()), Some(fault));
        assert!(took < Duration::from_secs(2), "{fault:?}: {took:?}");
        books(&pool);
    }
}

#[test]
fn a_passing_cause_is_waited_for_until_the_deadline_and_named_then() {
    for fault in [ConnectFault::Starting, ConnectFault::Saturated] {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
        script.always(At::Connect, Act::Fault(fault));
        let timeout = Duration::from_millis(250);
        let (outcome, took) = ask(&pool, timeout).outcome();
        let error = outcome.expect_err("it did not pass");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
        assert!(took >= timeout);
        assert!(error.to_string().contains("last connect error: cannot open"), "{error}");
        assert_eq!(error.connect_error().map(|cause| cause.fault()), Some(fault));
        assert!(script.calls(At::Connect) >= 2, "it was tried again meanwhile");
        books(&pool);
    }
}

#[test]
fn a_passing_cause_that_passes_in_time_is_never_told() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    (0..3).for_each(|_| script.once(At::Connect, Act::Fault(ConnectFault::Starting)));
    let (outcome, took) = ask(&pool, PATIENCE).outcome();
    drop(outcome.expect("the server has started"));
    // Three failures, three gaps of 100 ms.
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    books(&pool);
}

#[test]
fn building_fails_fast_on_a_server_that_is_down_and_lazily_it_does_not() {
    let (driver, script) = Fake::new(Wire::Tcp);
    script.always(At::Connect, Act::Fault(ConnectFault::Authentication));
    let began = Instant::now();
    let error = Pool::builder().build(driver).expect_err("the password is wrong");
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(error.connect_error().map(|e| e.fault()), Some(ConnectFault::Authentication));
    let (lazy, script) = pool(Wire::Tcp, |knobs| knobs);
    assert_eq!(script.calls(At::Connect), 0);
    books(&lazy);
}

#[test]
fn building_opens_the_first_connection_and_keeps_it() {
    let (driver, script) = Fake::new(Wire::Tcp);
    let pool = Pool::builder().build(driver).expect("the server is up");
    assert_eq!((pool.snapshot().idle, script.calls(At::Connect)), (1, 1));
    books(&pool);
}

/// Asks again and again from many threads while a closure runs; returns when the
/// first of them had a connection.
fn while_many_ask(pool: &Pool<Fake>, work: impl FnOnce()) -> Option<Instant> {
    let over = AtomicBool::new(false);
    let ask = || {
        let mut first = None;
        while !over.load(Relaxed) {
            if pool.get_timeout(Duration::from_millis(300)).is_ok() {
                first = first.or_else(|| Some(Instant::now()));
            }
            // A caller that is refused does something else first.
            thread::sleep(Duration::from_millis(1));
        }
        first
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..32).map(|_| scope.spawn(ask)).collect();
        work();
        over.store(true, Relaxed);
        callers.into_iter().filter_map(|caller| caller.join().expect("no panic")).min()
    })
}

#[test]
fn a_server_that_is_down_is_asked_ten_times_a_second_at_most_however_many_ask() {
    for fault in [ConnectFault::Refused, ConnectFault::Starting] {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
        script.always(At::Connect, Act::Fault(fault));
        while_many_ask(&pool, || thread::sleep(Duration::from_millis(1_200)));
        assert_never_more_than_ten_a_second(&script.times(At::Connect));
        assert!(script.calls(At::Connect) >= 4, "those who ask are answered anew");
        books(&pool);
    }
}

#[track_caller]
fn assert_never_more_than_ten_a_second(attempts: &[Instant]) {
    for (place, first) in attempts.iter().enumerate() {
        let within = attempts[place..].iter().filter(|at| **at - *first < SECOND).count();
        // Each attempt begins on a thread of its own, some time after its order.
        assert!(within <= 12, "{within} attempts within a second");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_server_that_is_down_is_not_asked_while_nobody_asks() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    script.always(At::Connect, Act::Fault(ConnectFault::Refused));
    pool.get().expect_err("nobody listens");
    let attempts = script.calls(At::Connect);
    thread::sleep(Duration::from_millis(500));
    assert_eq!((script.calls(At::Connect), pool.snapshot().pending), (attempts, 0));
    books(&pool);
}

#[test]
fn the_first_success_follows_the_servers_return_within_150_milliseconds() {
    for fault in [ConnectFault::Refused, ConnectFault::Starting] {
        // A few tries: this computer may be busy, the pool is not.
        let mut tries = (0..6).map(|_| time_to_recover(fault));
        assert!(tries.any(|took| took < Duration::from_millis(150)), "{fault:?}");
    }
}

fn time_to_recover(fault: ConnectFault) -> Duration {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    script.always(At::Connect, Act::Fault(fault));
    let mut back = None;
    let first = while_many_ask(&pool, || {
        thread::sleep(Duration::from_millis(250));
        back = Some(Instant::now());
        script.heal();
        until(|| pool.snapshot().opened > 0);
        thread::sleep(Duration::from_millis(20));
    });
    books(&pool);
    first.expect("it is back") - back.expect("it came back")
}

#[test]
fn a_waiter_outlives_the_servers_restart() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let held = pool.get().expect("it opens");
    let waiter = ask(&pool, Duration::from_secs(4));
    until(|| pool.snapshot().waiting == 1);
    restart(&script);
    PooledConnection::discard(held);
    let (outcome, took) = waiter.outcome();
    assert!(outcome.is_ok() && took < Duration::from_secs(3), "{outcome:?} after {took:?}");
    drop(outcome);
    books(&pool);
}

fn restart(script: &Script) {
    script.server().numbers().into_iter().for_each(|number| script.server().close(number));
    (0..3).for_each(|_| script.once(At::Connect, Act::Fault(ConnectFault::Starting)));
}

#[test]
fn all_who_wait_are_told_when_nothing_is_open_or_being_opened_any_more() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let gate = Gate::shut();
    let down = gate.clone();
    script.once(At::Connect, Act::Hang(gate.clone()));
    script.server().freeze();
    let callers: Vec<_> = (0..6).map(|_| ask(&pool, PATIENCE)).collect();
    until(|| pool.snapshot().waiting == 6);
    script.always(At::Connect, Act::Fault(ConnectFault::Refused));
    // The attempt under way fails: its session ends in the handshake.
    down.open();
    until(|| script.server().live() == 1);
    script.server().close(1);
    let began = Instant::now();
    callers.into_iter().for_each(|caller| assert_eq!(caller.error().kind(), ErrorKind::Connect));
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(script.calls(At::Connect), 1, "one attempt told them all");
    books(&pool);
}

#[test]
fn a_server_that_accepts_and_hangs_up_is_not_stormed() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(2));
    script.server().hang_up();
    let timeout = Duration::from_millis(900);
    let (outcome, took) = ask(&pool, timeout).outcome();
    let error = outcome.expect_err("no connection lives for long enough");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(took >= timeout && took < timeout + Duration::from_secs(2), "{took:?}");
    let attempts = script.calls(At::Connect);
    assert!((3..=20).contains(&attempts), "{attempts} attempts");
    books(&pool);
}

#[test]
fn a_failed_attempt_does_not_disturb_what_is_open() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(2));
    let number = idle(&pool, 1)[0];
    let held = pool.get().expect("one is idle");
    script.once(At::Connect, Act::Fault(ConnectFault::Refused));
    let error = pool.get().expect_err("no second one can be opened");
    assert_eq!(error.kind(), ErrorKind::Connect);
    drop(held);
    assert_eq!(pool.get().expect("the first is still there").number, number);
    books(&pool);
}
