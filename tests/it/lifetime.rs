//! How old a connection may get.

use crate::common::books::books;
use crate::common::ear::Ear;
use crate::common::fake::{Act, At, Wire};
use crate::common::{PATIENCE, ask, pool, until, until_waiting};
use poolwarden::CloseReason;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn on_a_hot_pool_no_connection_past_its_lifetime_is_handed_out() {
    let life = Duration::from_millis(40);
    let (pool, _) =
        pool(Wire::Tcp, |knobs| knobs.max_size(4).max_lifetime(life).lifetime_jitter(0.5));
    let over = Instant::now() + Duration::from_millis(1_200);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < over {
                    let asked = Instant::now();
                    let conn = pool.get().expect("there is always another");
                    // Exact: the pool looked at its clock after we did.
                    assert!(asked < conn.born + life, "{:?} old", asked - conn.born);
                }
            });
        }
    });
    let retired = pool.snapshot().closed_by(CloseReason::MaxLifetime);
    assert!(retired >= 20, "{retired} lifetimes in 1.2 s");
    books(&pool);
}

#[test]
fn an_idle_connection_past_its_lifetime_is_not_handed_out() {
    let life = Duration::from_millis(200);
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_lifetime(life));
    for round in 1..=3 {
        assert_eq!(pool.get().expect("a young one").number, round);
        thread::sleep(life);
    }
    books(&pool);
}

#[test]
fn a_connection_in_use_is_never_cut_and_is_closed_when_it_comes_back() {
    let life = Duration::from_millis(250);
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_lifetime(life));
    let conn = pool.get().expect("it opens");
    thread::sleep(2 * life);
    assert_eq!((pool.snapshot().in_use, pool.snapshot().closed()), (1, 0));
    assert_eq!(script.server().numbers(), [conn.number]);
    drop(conn);
    let now = pool.snapshot();
    assert_eq!((now.open, now.closed_by(CloseReason::MaxLifetime)), (0, 1));
    books(&pool);
}

#[test]
fn a_connection_that_expires_on_its_way_to_a_waiter_is_not_handed_out() {
    let life = Duration::from_millis(150);
    let (pool, script) =
        pool(Wire::Tcp, |knobs| knobs.max_size(1).max_lifetime(life).lifetime_jitter(0.0));
    let held = pool.get().expect("it opens");
    let waiter = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    // It comes back in time, and is too old when it has been looked at.
    script.once(At::IsBroken, Act::Sleep(2 * life));
    drop(held);
    let conn = waiter.connection();
    assert_ne!(conn.number, 1);
    drop(conn);
    books(&pool);
}

#[test]
fn jitter_spreads_the_ends_of_lives_that_began_together() {
    let life = Duration::from_millis(600);
    let ages = ages_at_the_end(life, 0.5);
    let (least, most) = (ages.iter().min().expect("24"), ages.iter().max().expect("24"));
    assert!(*least >= life / 2, "none loses more than its share: {least:?}");
    assert!(*most < life + Duration::from_secs(2), "{most:?}");
    // 24 lives by chance within 300 ms: all within 60 ms has odds of one to 10^15.
    assert!(*most - *least > Duration::from_millis(60), "{least:?} to {most:?}");
}

#[test]
fn without_jitter_no_life_ends_early() {
    let life = Duration::from_millis(200);
    let ages = ages_at_the_end(life, 0.0);
    assert!(ages.iter().all(|age| *age >= life), "{ages:?}");
}

/// The ages at which 24 connections, opened together, were retired while idle.
fn ages_at_the_end(life: Duration, jitter: f64) -> Vec<Duration> {
    let ear = Ear::default();
    let (pool, _) = pool(Wire::InProcess, |knobs| {
        let knobs = knobs.max_size(24).min_idle(24).observer(ear.clone());
        knobs.max_lifetime(life).lifetime_jitter(jitter)
    });
    until(|| ear.ages(CloseReason::MaxLifetime).len() >= 24);
    books(&pool);
    ear.ages(CloseReason::MaxLifetime).into_iter().take(24).collect()
}
