//! The maximum lifetime of connections.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::recorder::Recorder;
use crate::common::{LONG_TIMEOUT, pool, start_checkout, until, until_waiting};
use poolwarden::CloseReason;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn on_a_hot_pool_no_connection_past_its_lifetime_is_handed_out() {
    let life = Duration::from_millis(40);
    let (pool, _) =
        pool(Transport::Tcp, |options| options.max_size(4).max_lifetime(life).lifetime_jitter(0.5));
    let retired = || pool.snapshot().closed_by(CloseReason::MaxLifetime);
    let over = Instant::now() + LONG_TIMEOUT;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while retired() < 50 && Instant::now() < over {
                    let before = Instant::now();
                    let conn = pool.get().expect("a connection becomes available");
                    // Exact: the pool read the clock after this thread did.
                    assert!(before < conn.born + life, "{:?} old", before - conn.born);
                }
            });
        }
    });
    assert!(retired() >= 50, "{}", pool.snapshot());
    books(&pool);
}

#[test]
fn an_idle_connection_past_its_lifetime_is_not_handed_out() {
    let life = Duration::from_millis(200);
    let (pool, _) = pool(Transport::Tcp, |options| options.max_lifetime(life));
    for round in 1..=3 {
        assert_eq!(pool.get().expect("a new connection").number, round);
        thread::sleep(life);
    }
    books(&pool);
}

#[test]
fn a_connection_past_its_lifetime_in_use_is_closed_at_check_in_and_not_before() {
    let life = Duration::from_millis(250);
    let (pool, script) = pool(Transport::Tcp, |options| options.max_lifetime(life));
    let conn = pool.get().expect("it opens");
    thread::sleep(2 * life);
    assert_eq!((pool.snapshot().levels.in_use, pool.snapshot().closed()), (1, 0));
    assert_eq!(script.server().numbers(), [conn.number]);
    drop(conn);
    let now = pool.snapshot();
    assert_eq!((now.levels.open, now.closed_by(CloseReason::MaxLifetime)), (0, 1));
    books(&pool);
}

#[test]
fn a_connection_that_expires_on_its_way_to_a_waiter_is_not_handed_out() {
    let life = Duration::from_millis(150);
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(1).max_lifetime(life).lifetime_jitter(0.0));
    let held = pool.get().expect("it opens");
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    // It is returned in time, and has expired when its check ends.
    script.once(At::IsBroken, Act::Sleep(2 * life));
    drop(held);
    let conn = waiter.connection();
    assert_ne!(conn.number, 1);
    drop(conn);
    books(&pool);
}

#[test]
fn jitter_spreads_the_lifetimes_of_connections_opened_together() {
    let life = Duration::from_millis(600);
    let ages = ages_when_retired(life, 0.5);
    let (least, most) = (ages.iter().min().expect("24"), ages.iter().max().expect("24"));
    assert!(*least >= life / 2, "jitter takes at most half: {least:?}");
    assert!(*most < life + Duration::from_secs(2), "{most:?}");
    // 24 random ends within 300 ms: the odds that all lie within 60 ms are 1 to 10^15.
    assert!(*most - *least > Duration::from_millis(60), "{least:?} to {most:?}");
}

#[test]
fn without_jitter_no_connection_is_retired_early() {
    let life = Duration::from_millis(200);
    let ages = ages_when_retired(life, 0.0);
    assert!(ages.iter().all(|age| *age >= life), "{ages:?}");
}

/// Returns the ages at which 24 connections, opened together, were retired while idle.
fn ages_when_retired(life: Duration, jitter: f64) -> Vec<Duration> {
    let recorder = Recorder::default();
    let (pool, _) = pool(Transport::InProcess, |options| {
        let options = options.max_size(24).min_idle(24).observer(recorder.clone());
        options.max_lifetime(life).lifetime_jitter(jitter)
    });
    until!(pool, recorder.ages(CloseReason::MaxLifetime).len() >= 24);
    books(&pool);
    recorder.ages(CloseReason::MaxLifetime).into_iter().take(24).collect()
}

#[test]
fn a_check_out_whose_new_connections_are_all_past_their_lifetime_names_the_option() {
    let life = Duration::from_millis(500);
    let is_slow = Arc::new(AtomicBool::new(true));
    let slow = Arc::clone(&is_slow);
    let (pool, _) = pool(Transport::Tcp, |options| {
        let options = options.max_size(1).max_lifetime(life).lifetime_jitter(0.0);
        options.init(move |_| {
            thread::sleep(if slow.load(Relaxed) { life } else { Duration::ZERO });
            Ok(())
        })
    });
    let error = pool.get_timeout(4 * life).map(drop).expect_err("each is too old");
    let text = "the lifetime of every connection had passed before it could be handed out \
                (max_lifetime 500 ms); max size 1";
    assert!(error.to_string().contains(text), "{error}");
    assert!(pool.snapshot().closed_by(CloseReason::MaxLifetime) > 1, "{}", pool.snapshot());
    is_slow.store(false, Relaxed);
    books(&pool);
}
