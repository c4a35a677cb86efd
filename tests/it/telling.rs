//! What a pool tells: snapshots, events, log lines, error texts.

use crate::common::books::books;
use crate::common::ear::{Ear, Heard};
use crate::common::fake::{Act, At, Fake, Wire};
use crate::common::{PATIENCE, idle, pool, until};
use poolwarden::{CloseReason, Closed, ConnectFault, Observer, Opened, Pool, PooledConnection};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;
use support::logs;

#[test]
fn the_levels_and_the_totals_say_what_happened() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(3));
    let held = pool.get().expect("it opens");
    idle(&pool, 2);
    PooledConnection::discard(pool.get().expect("one is idle"));
    script.once(At::Connect, Act::Fault(ConnectFault::Refused));
    let other = pool.get().expect("one is idle");
    pool.get().expect_err("nobody listens");
    let now = pool.snapshot();
    assert_eq!((now.max_size, now.open, now.in_use, now.idle), (3, 2, 2, 0));
    assert_eq!((now.opened, now.closed(), now.connect_failures), (3, 1, 1));
    assert_eq!((now.connect_attempts, now.checkouts, now.timeouts), (4, 5, 0));
    assert_eq!(now.close_reasons().collect::<Vec<_>>(), [(CloseReason::Discarded, 1)]);
    drop((held, other));
    books(&pool);
}

#[test]
fn a_connection_that_was_found_dead_was_not_handed_out_and_does_not_count_as_such() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(4));
    let numbers = idle(&pool, 4);
    numbers.iter().for_each(|number| script.server().close(*number));
    drop(pool.get().expect("a new one is opened"));
    assert_eq!(pool.snapshot().checkouts, 4 + 1);
    books(&pool);
}

#[test]
fn what_try_get_puts_back_does_not_count_as_handed_out() {
    let (pool, _) = pool(Wire::Hidden, |knobs| knobs);
    idle(&pool, 1);
    assert!(pool.try_get().is_none(), "it would have to be pinged");
    assert_eq!(pool.snapshot().checkouts, 1);
    books(&pool);
}

#[test]
fn a_snapshot_prints_on_one_line_without_what_is_zero() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(2).name("shop"));
    PooledConnection::discard(pool.get().expect("it opens"));
    let held = pool.get().expect("it opens");
    until(|| pool.snapshot().closing == 0);
    assert_eq!(
        pool.snapshot().to_string(),
        "shop: open 1 of 2 (in use 1, idle 0), pending 0, closing 0, waiting 0; opened 2, \
         closed 1, check-outs 2, time-outs 0, peeks 2, pings 0, closed by discarded 1"
    );
    drop(held);
    books(&pool);
}

#[test]
fn every_close_is_told_once_with_its_reason_and_the_servers_words() {
    let ear = Ear::default();
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.observer(ear.clone()).name("heard"));
    let number = idle(&pool, 1)[0];
    script.server().write(number, b"E57P01by order");
    script.server().close(number);
    script.once(At::Connect, Act::Fault(ConnectFault::Refused));
    pool.get().expect_err("nobody listens");
    until(|| ear.heard().len() >= 3);
    let heard = ear.heard();
    assert!(matches!(&heard[0], Heard::Opened { .. }), "{heard:?}");
    assert!(heard.contains(&Heard::Failed(ConnectFault::Refused)), "{heard:?}");
    let ends = heard.iter().filter_map(|event| match event {
        Heard::Closed { reason, code, .. } => Some((*reason, code.as_str())),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [(CloseReason::ServerShutdown, "57P01")]);
    assert!(ear.names().iter().all(|name| name == "heard"));
    books(&pool);
    let closed = ear.heard().iter().filter(|e| matches!(e, Heard::Closed { .. })).count();
    assert_eq!(closed as u64, pool.snapshot().closed());
}

#[test]
fn a_time_out_is_told_with_how_long_it_was_waited() {
    let ear = Ear::default();
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1).observer(ear.clone()));
    let held = pool.get().expect("it opens");
    let timeout = Duration::from_millis(20);
    let error = pool.get_timeout(timeout).expect_err("there is no second one");
    let waited = error.waited().expect("it waited");
    assert!(waited >= timeout);
    assert_eq!(ear.heard().last(), Some(&Heard::TimedOut(waited)));
    drop(held);
    books(&pool);
}

#[test]
fn the_age_and_the_idle_time_of_a_closed_connection_are_told() {
    let ear = Ear::default();
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.observer(ear.clone()));
    let rest = Duration::from_millis(40);
    idle(&pool, 1);
    thread::sleep(rest);
    let in_use = pool.get().expect("it is idle");
    PooledConnection::discard(in_use);
    idle(&pool, 1);
    thread::sleep(rest);
    pool.close(PATIENCE);
    let ends: Vec<_> = ear.heard().into_iter().filter_map(ages).collect();
    assert_eq!(ends[0].1, Duration::ZERO, "it was in use");
    assert!(ends[0].0 >= rest);
    assert!(ends[1].1 >= rest && ends[1].0 >= ends[1].1, "{ends:?}");
}

fn ages(heard: Heard) -> Option<(Duration, Duration)> {
    match heard {
        Heard::Closed { age, idle, .. } => Some((age, idle)),
        _ => None,
    }
}

#[test]
fn a_burst_of_ends_is_one_line_in_the_servers_words_and_all_are_counted() {
    let log = logs::mark();
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(6).name("a burst"));
    for number in idle(&pool, 6) {
        script.server().write(number, b"E57P01terminated by order");
        script.server().close(number);
    }
    drop(pool.get().expect("a new one is opened"));
    until(|| pool.snapshot().closed_by(CloseReason::ServerShutdown) == 6);
    let lines = log.records_of("pool", "a burst");
    let ends: Vec<_> = lines.iter().filter(|line| line.level == log::Level::Warn).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(ends[0].message.contains("the server said 57P01 terminated by order"), "{ends:?}");
    assert_eq!((ends[0].field("reason"), ends[0].field("code")), SHUTDOWN);
    assert_eq!(ends[0].target, "poolwarden");
    books(&pool);
}

const SHUTDOWN: (Option<&str>, Option<&str>) = (Some("server_shutdown"), Some("57P01"));

#[test]
fn a_planned_close_is_no_warning() {
    let log = logs::mark();
    let (pool, _) =
        pool(Wire::Tcp, |knobs| knobs.max_lifetime(Duration::from_millis(10)).name("a quiet end"));
    idle(&pool, 1);
    until(|| pool.snapshot().closed_by(CloseReason::MaxLifetime) >= 1);
    books(&pool);
    let lines = log.records_of("pool", "a quiet end");
    assert!(lines.iter().any(|line| line.field("reason") == Some("max_lifetime")));
    assert!(lines.iter().all(|line| line.level > log::Level::Warn), "{lines:?}");
}

/// Calls back into its pool at every event: nobody may hold the pool's lock then.
#[derive(Clone, Default)]
struct Nosy(Arc<OnceLock<Pool<Fake>>>);

impl Nosy {
    fn look(&self) {
        if let Some(pool) = self.0.get() {
            let _ = (pool.snapshot(), pool.try_get());
        }
    }
}

impl Observer for Nosy {
    fn opened(&self, _: &Opened<'_>) {
        self.look();
    }

    fn connect_failed(&self, _: &str, error: &poolwarden::ConnectError) {
        assert!(error.fault() != ConnectFault::Panicked);
        self.look();
    }

    fn closed(&self, _: &Closed<'_>) {
        self.look();
    }

    fn timed_out(&self, _: &str, _: Duration) {
        self.look();
    }
}

#[test]
fn an_observer_may_call_back_into_its_pool() {
    let nosy = Nosy::default();
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(2).observer(nosy.clone()));
    nosy.0.set(pool.clone()).expect("set once");
    script.once(At::Connect, Act::Fault(ConnectFault::Refused));
    pool.get().expect_err("nobody listens");
    script.heal();
    thread::sleep(Duration::from_millis(100));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("it opens")).collect();
    pool.get_timeout(Duration::from_millis(5)).expect_err("there is no third one");
    held.into_iter().for_each(PooledConnection::discard);
    books(&pool);
}

/// The text of a driver's error is asked for by log lines and by errors.
struct Slow(Nosy);

impl fmt::Debug for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slow")
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        thread::sleep(Duration::from_millis(20));
        self.0.look();
        f.write_str("slowly told")
    }
}

impl std::error::Error for Slow {}

#[test]
fn a_slow_text_that_calls_back_blocks_nobody_at_the_finest_log_level() {
    let log = logs::mark();
    let nosy = Nosy::default();
    let slow = nosy.clone();
    let (pool, _) = pool(Wire::Tcp, |knobs| {
        knobs.max_size(4).name("told slowly").init(move |conn| match conn.number {
            number if number % 2 == 1 => Err(Slow(slow.clone()).into()),
            _ => Ok(()),
        })
    });
    nosy.0.set(pool.clone()).expect("set once");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3).for_each(|_| drop(pool.get())));
        }
    });
    assert!(!log.records_of("pool", "told slowly").is_empty());
    until(|| pool.get().is_ok());
}

#[test]
fn the_pools_debug_text_is_its_snapshot_and_a_guards_is_its_number() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.name("debugged"));
    let conn = pool.get().expect("it opens");
    assert!(format!("{pool:?}").contains("\"debugged\""));
    let id = PooledConnection::id(&conn);
    assert_eq!(format!("{conn:?}"), format!("PooledConnection {{ id: {id} }}"));
    drop(conn);
    books(&pool);
}
