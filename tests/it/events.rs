//! What a pool reports: snapshots, events, log lines, error texts.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Transport};
use crate::common::recorder::{Recorded, Recorder};
use crate::common::{LONG_TIMEOUT, idle, pool, until};
use poolwarden::observe::{Closed, Opened};
use poolwarden::{CloseReason, FaultClass, Observer, Pool, PooledConnection};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use support::logs;

#[test]
fn the_snapshot_counts_every_event() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3));
    let held = pool.get().expect("it opens");
    idle(&pool, 2);
    PooledConnection::discard(pool.get().expect("one is idle"));
    script.once(At::Connect, Act::Fault(FaultClass::Authentication));
    let other = pool.get().expect("one is idle");
    pool.get_timeout(Duration::from_millis(60)).expect_err("the password is wrong");
    // The attempt may end after its caller has left.
    until!(pool, pool.snapshot().connect_failures == 1);
    let now = pool.snapshot();
    assert_eq!(
        (now.levels.max_size, now.levels.open, now.levels.in_use, now.levels.idle),
        (3, 2, 2, 0)
    );
    assert_eq!((now.opened, now.closed(), now.connect_failures), (3, 1, 1));
    assert_eq!((now.connect_attempts, now.checkouts, now.timeouts), (4, 5, 1));
    assert_eq!(now.close_reasons().collect::<Vec<_>>(), [(CloseReason::Discarded, 1)]);
    drop((held, other));
    books(&pool);
}

#[test]
fn a_connection_found_dead_at_check_out_does_not_count_as_a_check_out() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
    let numbers = idle(&pool, 4);
    numbers.iter().for_each(|number| script.server().close(*number));
    drop(pool.get().expect("a new one is opened"));
    assert_eq!(pool.snapshot().checkouts, 4 + 1);
    books(&pool);
}

#[test]
fn a_connection_that_try_get_puts_back_does_not_count_as_a_check_out() {
    let (pool, _) = pool(Transport::Hidden, |options| options);
    idle(&pool, 1);
    assert!(pool.try_get().is_none(), "it would have to be pinged");
    assert_eq!(pool.snapshot().checkouts, 1);
    books(&pool);
}

#[test]
fn a_snapshot_prints_on_one_line_and_omits_zero_reasons() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(2).name("shop"));
    PooledConnection::discard(pool.get().expect("it opens"));
    let held = pool.get().expect("it opens");
    until!(pool, pool.snapshot().levels.closing == 0);
    assert_eq!(
        pool.snapshot().to_string(),
        "shop: open 1 of 2 (in use 1, idle 0), pending 0, closing 0, waiting 0; opened 2, \
         closed 1, check-outs 2, timeouts 0, peeks 2, pings 0, closed by discarded 1"
    );
    drop(held);
    books(&pool);
}

#[test]
fn every_close_is_observed_once_with_its_reason_and_the_servers_message() {
    let recorder = Recorder::default();
    let (pool, script) =
        pool(Transport::Tcp, |options| options.observer(recorder.clone()).name("events"));
    let number = idle(&pool, 1)[0];
    script.server().write(number, b"E57P01by order");
    script.server().close(number);
    script.once(At::Connect, Act::Fault(FaultClass::Refused));
    pool.get_timeout(Duration::from_millis(60)).expect_err("the connection is refused");
    until!(pool, recorder.events().len() >= 3);
    let events = recorder.events();
    assert!(matches!(&events[0], Recorded::Opened { .. }), "{events:?}");
    assert!(events.contains(&Recorded::Failed(FaultClass::Refused)), "{events:?}");
    let closes = events.iter().filter_map(|event| match event {
        Recorded::Closed { reason, code, .. } => Some((*reason, code.as_str())),
        _ => None,
    });
    assert_eq!(closes.collect::<Vec<_>>(), [(CloseReason::ServerShutdown, "57P01")]);
    assert!(recorder.pool_names().iter().all(|name| name == "events"));
    books(&pool);
    let closed = recorder.events().iter().filter(|e| matches!(e, Recorded::Closed { .. })).count();
    assert_eq!(closed as u64, pool.snapshot().closed());
}

#[test]
fn an_observed_timeout_carries_the_time_waited() {
    let recorder = Recorder::default();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).observer(recorder.clone()));
    let held = pool.get().expect("it opens");
    let timeout = Duration::from_millis(20);
    let error = pool.get_timeout(timeout).expect_err("there is no second one");
    let waited = error.waited().expect("it waited");
    assert!(waited >= timeout);
    assert_eq!(recorder.events().last(), Some(&Recorded::TimedOut(waited)));
    drop(held);
    books(&pool);
}

#[test]
fn an_observed_close_carries_the_age_and_the_idle_time() {
    let recorder = Recorder::default();
    let (pool, _) = pool(Transport::Tcp, |options| options.observer(recorder.clone()));
    let rest = Duration::from_millis(40);
    idle(&pool, 1);
    thread::sleep(rest);
    let in_use = pool.get().expect("it is idle");
    PooledConnection::discard(in_use);
    idle(&pool, 1);
    thread::sleep(rest);
    pool.close(LONG_TIMEOUT);
    let ends: Vec<_> = recorder.events().into_iter().filter_map(ages).collect();
    assert_eq!(ends[0].1, Duration::ZERO, "it was in use");
    assert!(ends[0].0 >= rest);
    assert!(ends[1].1 >= rest && ends[1].0 >= ends[1].1, "{ends:?}");
}

fn ages(events: Recorded) -> Option<(Duration, Duration)> {
    match events {
        Recorded::Closed { age, idle, .. } => Some((age, idle)),
        _ => None,
    }
}

#[test]
fn a_burst_of_closes_is_one_log_line_with_the_servers_message_and_all_are_counted() {
    let log = logs::mark();
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(6).name("a burst"));
    for number in idle(&pool, 6) {
        script.server().write(number, b"E57P01terminated by order");
        script.server().close(number);
    }
    drop(pool.get().expect("a new one is opened"));
    until!(pool, pool.snapshot().closed_by(CloseReason::ServerShutdown) == 6);
    let lines = log.records_of("pool", "a burst");
    let ends: Vec<_> = lines.iter().filter(|line| line.level == log::Level::Warn).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(ends[0].message.contains("terminated by order (57P01)"), "{ends:?}");
    assert_eq!((ends[0].field("reason"), ends[0].field("code")), SHUTDOWN);
    assert_eq!(ends[0].target, "poolwarden");
    books(&pool);
}

const SHUTDOWN: (Option<&str>, Option<&str>) = (Some("server_shutdown"), Some("57P01"));

#[test]
fn a_planned_close_logs_no_warning() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_lifetime(Duration::from_millis(10)).name("a planned close")
    });
    idle(&pool, 1);
    until!(pool, pool.snapshot().closed_by(CloseReason::MaxLifetime) >= 1);
    books(&pool);
    let lines = log.records_of("pool", "a planned close");
    assert!(lines.iter().any(|line| line.field("reason") == Some("max_lifetime")));
    assert!(lines.iter().all(|line| line.level > log::Level::Warn), "{lines:?}");
}

/// Calls back into its pool at every event: the pool must not hold its lock then.
#[derive(Clone, Default)]
struct ReentrantObserver(Arc<OnceLock<Pool<Fake>>>);

impl ReentrantObserver {
    fn call_back(&self) {
        if let Some(pool) = self.0.get() {
            let _ = (pool.snapshot(), pool.try_get());
        }
    }
}

impl Observer for ReentrantObserver {
    fn opened(&self, _: &Opened<'_>) {
        self.call_back();
    }

    fn connect_failed(&self, _: &str, error: &poolwarden::ConnectError) {
        assert!(error.class() != FaultClass::Panicked);
        self.call_back();
    }

    fn closed(&self, _: &Closed<'_>) {
        self.call_back();
    }

    fn timed_out(&self, _: &str, _: Duration) {
        self.call_back();
    }
}

#[test]
fn an_observer_may_call_back_into_its_pool() {
    let reentrant = ReentrantObserver::default();
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(2).observer(reentrant.clone()));
    reentrant.0.set(pool.clone()).expect("set once");
    script.once(At::Connect, Act::Fault(FaultClass::Refused));
    pool.get_timeout(Duration::from_millis(60)).expect_err("the connection is refused");
    script.clear();
    thread::sleep(Duration::from_millis(100));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("it opens")).collect();
    pool.get_timeout(Duration::from_millis(5)).expect_err("there is no third one");
    held.into_iter().for_each(PooledConnection::discard);
    books(&pool);
}

/// A driver's error whose text is slow and calls back into the pool.
struct Slow(ReentrantObserver);

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        thread::sleep(Duration::from_millis(20));
        self.0.call_back();
        f.write_str("a slow text")
    }
}

impl std::error::Error for Slow {}

#[test]
fn a_slow_error_text_that_calls_back_blocks_no_thread_at_trace_level() {
    let log = logs::mark();
    let reentrant = ReentrantObserver::default();
    let slow = reentrant.clone();
    let (pool, _) = pool(Transport::Tcp, |options| {
        options.max_size(4).name("a slow error text").init(move |conn| match conn.number {
            number if number % 2 == 1 => Err(Slow(slow.clone()).into()),
            _ => Ok(()),
        })
    });
    reentrant.0.set(pool.clone()).expect("set once");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).for_each(|_| drop(pool.get())));
        }
    });
    assert!(!log.records_of("pool", "a slow error text").is_empty());
    until!(pool, pool.get().is_ok());
}

#[test]
fn the_pools_debug_text_is_its_snapshot_and_a_guards_is_its_number() {
    let (pool, _) = pool(Transport::Tcp, |options| options.name("debugged"));
    let conn = pool.get().expect("it opens");
    assert!(format!("{pool:?}").contains("\"debugged\""));
    let id = PooledConnection::id(&conn);
    assert_eq!(format!("{conn:?}"), format!("PooledConnection {{ id: {id} }}"));
    drop(conn);
    books(&pool);
}
