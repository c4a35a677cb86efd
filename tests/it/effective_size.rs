//! A maximum size that changes while the pool is in use, and `retire_all`.

use crate::common::books::books;
use crate::common::fake::{Act, At, Conn, Fake, Script, Transport};
use crate::common::{LONG_TIMEOUT, idle, pool, pool_with, start_checkout, until, until_waiting};
use poolwarden::{Builder, CloseReason, ErrorKind, FaultClass, Pool, PooledConnection};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn lowering_max_size_closes_idle_connections_immediately_and_busy_ones_at_check_in() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(5));
    let held: Vec<_> = (0..3).map(|_| pool.get().expect("it opens")).collect();
    idle(&pool, 2);
    pool.set_max_size(1).expect("one is enough");
    until!(pool, pool.snapshot().closed_by(CloseReason::Surplus) == 2);
    assert_eq!((pool.snapshot().levels.open, pool.snapshot().levels.max_size), (3, 1));
    drop(held);
    until!(pool, pool.snapshot().closed_by(CloseReason::Surplus) == 4);
    assert_eq!(pool.snapshot().levels.idle, 1);
    until!(pool, script.server().live() == 1);
    pool.set_max_size(5).expect("five are possible again");
    books(&pool);
}

#[test]
fn raising_max_size_serves_waiters_immediately() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let waiters = [1, 2].map(|place| {
        let waiter = start_checkout(&pool, LONG_TIMEOUT);
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
fn a_max_size_of_zero_or_below_min_idle_is_refused() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(4).min_idle(2));
    for count in [0, 1] {
        let error = pool.set_max_size(count).expect_err("too few");
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    assert_eq!(pool.snapshot().levels.max_size, 4);
    books(&pool);
}

#[test]
fn changing_max_size_under_load_loses_no_connection() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(6));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    let mut conn = pool.get().expect("its configure comes");
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
fn retire_all_closes_idle_connections_immediately_and_busy_ones_at_check_in() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(4));
    let held = pool.get().expect("it opens");
    idle(&pool, 3);
    pool.retire_all();
    until!(pool, pool.snapshot().closed_by(CloseReason::Retired) == 3);
    assert_eq!((pool.snapshot().levels.open, pool.snapshot().levels.in_use), (1, 1));
    drop(held);
    until!(pool, pool.snapshot().closed_by(CloseReason::Retired) == 4);
    assert_eq!(pool.get().expect("a new one is opened").number, 5);
    drop(pool.get().expect("it was kept"));
    assert_eq!(pool.snapshot().closed(), 4);
    books(&pool);
}

#[test]
fn a_connection_that_was_being_opened_during_retire_all_is_retired_too() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let gate = crate::common::gate::Gate::shut();
    script.set_password("old");
    script.once(At::Connect, Act::Hang(gate.clone()));
    let caller = start_checkout(&pool, LONG_TIMEOUT);
    gate.wait_for_arrivals(1);
    pool.retire_all();
    gate.open();
    drop(caller.outcome());
    until!(pool, pool.snapshot().closed_by(CloseReason::Retired) == 1);
    books(&pool);
}

#[test]
fn a_saturated_server_limits_the_pool_to_the_connections_it_has() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("it opens")).collect();
    script.always(At::Connect, Act::Fault(FaultClass::Saturated));
    let error = pool.get_timeout(Duration::from_millis(300)).expect_err("the server is full");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(error.to_string().contains("too many connections"), "{error}");
    assert_eq!(pool.snapshot().levels.max_size, 2);
    // The open connections are still shared.
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    let attempts = script.calls(At::Connect);
    assert!(attempts <= 2 + 3, "{attempts} attempts");
    drop(held);
    drop(waiter.connection());
    books(&pool);
}

#[test]
fn after_saturation_the_pool_grows_by_one_connection_per_second() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    let held = pool.get().expect("it opens");
    script.once(At::Connect, Act::Fault(FaultClass::Saturated));
    let began = Instant::now();
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    let second = waiter.connection();
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(script.calls(At::Connect), 3);
    PooledConnection::discard(second);
    drop(held);
    books(&pool);
}

#[test]
fn a_surplus_or_retired_connection_is_closed_by_its_check_in() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(2));
    let (one, two) = (pool.get().expect("it opens"), pool.get().expect("it opens"));
    pool.set_max_size(1).expect("one is enough");
    drop(one);
    // By the check-in itself, not by the housekeeper or by a caller's check.
    let after = pool.snapshot();
    assert_eq!((after.levels.idle, after.levels.in_use), (0, 1), "{after}");
    pool.retire_all();
    drop(two);
    let after = pool.snapshot();
    assert_eq!((after.levels.idle, after.levels.in_use), (0, 0), "{after}");
    until!(pool, pool.snapshot().closed() == 2);
    let end = pool.snapshot();
    let reasons = [CloseReason::Surplus, CloseReason::Retired].map(|reason| end.closed_by(reason));
    assert_eq!(reasons, [1, 1], "{end}");
    pool.set_max_size(2).expect("two are possible again");
    books(&pool);
}

#[test]
fn a_failed_attempt_that_is_still_closing_makes_no_idle_connection_surplus() {
    let (failing, server) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::<Script>::new()));
    let (fails, script_of) = (Arc::clone(&failing), Arc::clone(&server));
    let init = move |_: &mut Conn| match script_of.get().filter(|_| fails.load(Relaxed)) {
        Some(script) => {
            script.server().freeze();
            Err("no such schema".into())
        }
        None => Ok(()),
    };
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(2).close_grace(LONG_TIMEOUT).init(init));
    server.set(script).expect("set once");
    let held = pool.get().expect("it opens");
    failing.store(true, Relaxed);
    let error = pool.get_timeout(Duration::from_millis(500)).expect_err("the hook fails");
    assert_eq!(error.connect_error().map(|error| error.class()), Some(FaultClass::Hook));
    drop(held);
    // The server has not closed the other one: both permits are taken.
    let before = pool.snapshot();
    assert_eq!((before.levels.idle, before.levels.closing), (1, 1), "{before}");
    pool.set_max_size(1).expect("one is enough");
    let after = pool.snapshot();
    assert_eq!((after.levels.idle, after.levels.closing), (1, 1), "{after}");
    failing.store(false, Relaxed);
    pool.set_max_size(2).expect("two are possible again");
    books(&pool);
}

#[test]
fn a_saturated_server_has_its_limits_read_again() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    let held = pool.get().expect("it opens");
    assert_eq!(script.calls(At::Limits), 1);
    script.once(At::Connect, Act::Fault(FaultClass::Saturated));
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    until!(pool, pool.snapshot().connect_failures == 1);
    drop(held);
    drop(waiter.connection());
    until!(pool, script.calls(At::Limits) == 2);
    books(&pool);
}

#[test]
fn limits_whose_reading_failed_are_read_over_the_next_connection_and_not_over_all() {
    for (failures, readings) in [(0, 1), (1, 2), (2, 2)] {
        let (pool, script) = pool_with(
            Transport::Tcp,
            |script| (0..failures).for_each(|_| script.once(At::Limits, Act::Panic)),
            |options| options.max_size(3),
        );
        until!(pool, pool.get().is_ok());
        idle(&pool, 3);
        assert_eq!(script.calls(At::Limits), readings, "after {failures} failures");
        books(&pool);
    }
}

#[test]
fn a_pool_that_reads_no_limits_never_asks_the_server_for_them() {
    let (pool, script) = pool(Transport::Tcp, |options| options.read_server_limits(false));
    drop(pool.get().expect("it opens"));
    assert_eq!((script.calls(At::Connect), script.calls(At::Limits)), (1, 0));
    books(&pool);
}

#[test]
fn errors_of_the_options_begin_with_the_pools_name() {
    let named = |configure: fn(Builder<Fake>) -> Builder<Fake>| {
        let (driver, _script) = Fake::new(Transport::Tcp);
        configure(Pool::builder().name("orders")).build_lazy(driver)
    };
    let refused = named(|options| options.max_size(0)).map(drop).expect_err("out of range");
    assert!(refused.to_string().starts_with("pool orders: max_size"), "{refused}");
    let pool = named(|options| options).expect("the defaults agree");
    let refused = pool.set_max_size(0).expect_err("out of range");
    assert!(refused.to_string().starts_with("pool orders: set_max_size(0)"), "{refused}");
}

#[test]
fn a_timeout_over_a_lowered_max_size_says_how_many_are_in_use_and_how_many_may_be_open() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(3));
    let held = [(); 3].map(|()| pool.get().expect("it opens"));
    pool.set_max_size(2).expect("two are possible");
    let error = pool.get_timeout(Duration::from_millis(50)).map(drop).expect_err("over the cap");
    let text = "3 connections are in use, and 2 may be open; max size 2, in use 3";
    assert!(error.to_string().contains(text), "{error}");
    pool.set_max_size(3).expect("three are possible again");
    drop(held);
    books(&pool);
}
