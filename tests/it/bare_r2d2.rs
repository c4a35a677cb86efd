//! Our manager in a bare `r2d2::Pool`: what of the promises holds there.

use crate::common::ear::{Ear, Heard};
use crate::common::fake::{Act, At, Death, Fake, Script, Wire};
use crate::common::{PATIENCE, until};
use poolwarden::{Builder, CloseReason, ConnectFault, ErrorKind, Manager, Pool};
use r2d2::ManageConnection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

type Bare = r2d2::Pool<Manager<Fake>>;

fn manager(
    wire: Wire,
    turn: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Manager<Fake>, Script) {
    let (driver, script) = Fake::new(wire);
    let knobs = turn(Pool::builder().checkout_timeout(PATIENCE));
    (knobs.manager(driver).expect("the knobs agree"), script)
}

fn bare(wire: Wire, turn: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> (Bare, Script) {
    let (manager, script) = manager(wire, turn);
    (manager.builder().build(manager).expect("the server is up"), script)
}

/// What every test ends with, as far as r2d2 shows its books: all slots are
/// there, the server agrees, and it never saw more than it should.
#[track_caller]
fn slots(pool: &Bare, script: &Script) {
    script.heal();
    let held: Vec<_> = (0..pool.max_size()).map(|_| pool.get().expect("a slot")).collect();
    assert_eq!(held.len(), pool.max_size() as usize);
    until(|| script.server().live() == held.len());
    drop(held);
    let most = script.server().most();
    assert!(most <= pool.max_size() as usize, "{most} at a time, of {}", pool.max_size());
}

fn idle_one(pool: &Bare) -> u64 {
    pool.get().expect("it opens").number
}

#[test]
fn a_dead_idle_connection_is_not_handed_out() {
    for death in [Death::Fin, Death::WordsAndFin, Death::Rst] {
        let (pool, script) = bare(Wire::Tcp, |knobs| knobs.max_size(2));
        script.server().kill(idle_one(&pool), death);
        assert_ne!(pool.get().expect("a new one is opened").number, 1, "{death:?}");
        slots(&pool, &script);
    }
}

#[test]
fn a_connection_past_its_lifetime_is_neither_handed_out_nor_kept() {
    let ear = Ear::default();
    let life = Duration::from_millis(60);
    let (pool, script) =
        bare(Wire::Tcp, |knobs| knobs.max_size(1).max_lifetime(life).observer(ear.clone()));
    idle_one(&pool);
    thread::sleep(life);
    let second = pool.get().expect("a young one");
    assert_ne!(second.number, 1);
    thread::sleep(life);
    drop(second);
    until(|| ear.ages(CloseReason::MaxLifetime).len() >= 2);
    slots(&pool, &script);
}

#[test]
fn the_server_never_sees_more_than_max_size_connections() {
    let (pool, script) = bare(Wire::Tcp, |knobs| knobs.max_size(4));
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..15 {
                    let mut conn = pool.get().expect("it comes");
                    conn.broken = fastrand::bool();
                }
            });
        }
    });
    slots(&pool, &script);
}

#[test]
fn a_waiter_is_served_when_what_comes_back_is_broken() {
    let (pool, script) = bare(Wire::Tcp, |knobs| knobs.max_size(1));
    let mut held = pool.get().expect("it opens");
    held.broken = true;
    let began = Instant::now();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get().map(|conn| conn.number));
        // Nothing shows who waits in r2d2; too short a time proves less, not wrong.
        thread::sleep(Duration::from_millis(50));
        drop(held);
        assert_eq!(waiter.join().expect("no panic").expect("its place is free"), 2);
    });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    slots(&pool, &script);
}

#[test]
fn a_panic_of_the_driver_costs_no_slot() {
    for at in [At::Connect, At::Ping, At::Link, At::IsBroken, At::Drop, At::Label] {
        let (pool, script) = bare(Wire::Tcp, |knobs| {
            knobs.max_size(2).ping_after(Duration::from_millis(1)).name("bare")
        });
        idle_one(&pool);
        script.once(at, Act::Panic);
        if at == At::Connect {
            script.server().close(1);
        }
        thread::sleep(Duration::from_millis(2));
        let mut conn = pool.get().expect("this one or another");
        conn.broken = true;
        drop(conn);
        slots(&pool, &script);
    }
}

#[test]
fn a_borrower_that_panics_costs_that_connection_only() {
    let ear = Ear::default();
    let (pool, script) = bare(Wire::Tcp, |knobs| knobs.max_size(1).observer(ear.clone()));
    let unwind = || {
        let _held = pool.get().expect("it opens");
        panic!("scripted: the borrower panics");
    };
    catch_unwind(AssertUnwindSafe(unwind)).map(|()| 0).expect_err("it panics");
    until(|| ear.ages(CloseReason::Panicked).len() == 1);
    slots(&pool, &script);
}

#[test]
fn a_ping_of_a_frozen_server_is_bounded_and_condemns_the_siblings() {
    let ear = Ear::default();
    let bound = Duration::from_millis(150);
    let (pool, script) = bare(Wire::Tcp, |knobs| {
        let knobs = knobs.max_size(3).ping_after(Duration::from_millis(1)).observer(ear.clone());
        knobs.ping_timeout(bound)
    });
    let held: Vec<_> = (0..3).map(|_| pool.get().expect("it opens")).collect();
    drop(held);
    thread::sleep(Duration::from_millis(2));
    script.server().mute();
    let began = Instant::now();
    let conn = pool.get().expect("a new one is opened");
    let took = began.elapsed();
    assert!(conn.number > 3 && took >= bound && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(ear.ages(CloseReason::PingTimeout).len(), 1);
    until(|| ear.ages(CloseReason::Condemned).len() == 2);
    drop(conn);
    slots(&pool, &script);
}

#[test]
fn connections_are_dropped_on_a_thread_of_the_closers() {
    let (pool, script) = bare(Wire::Tcp, |knobs| knobs.max_size(2));
    let held = (pool.get().expect("it opens"), pool.get().expect("it opens"));
    drop(held);
    drop(pool);
    until(|| script.calls(At::Drop) == 2);
    assert_eq!(script.threads(At::Drop), ["poolwarden-drop"; 2]);
}

#[test]
fn what_a_bare_pool_drops_is_told_as_released() {
    let ear = Ear::default();
    let (pool, _) = bare(Wire::Tcp, |knobs| knobs.observer(ear.clone()));
    idle_one(&pool);
    drop(pool);
    until(|| !ear.ages(CloseReason::Released).is_empty());
    assert!(matches!(ear.heard()[0], Heard::Opened { .. }));
}

#[test]
fn the_manager_counts_what_it_opens_and_closes() {
    let (manager, script) = manager(Wire::Tcp, |knobs| knobs.max_size(2));
    let conn = manager.connect().expect("it opens");
    script.once(At::Connect, Act::Fault(ConnectFault::Authentication));
    let error = manager.connect().map(|_| 0).expect_err("the password is wrong");
    assert_eq!(error.connect_error().map(|e| e.fault()), Some(ConnectFault::Authentication));
    let now = manager.snapshot();
    assert_eq!((now.open, now.opened, now.connect_attempts, now.connect_failures), (1, 1, 2, 1));
    drop(conn);
    until(|| manager.snapshot().closing == 0);
    let now = manager.snapshot();
    assert_eq!((now.open, now.closed_by(CloseReason::Released)), (0, 1));
}

#[test]
fn a_connect_beyond_the_cap_waits_for_a_place_and_no_longer_than_connect_timeout() {
    let bound = Duration::from_millis(80);
    let (manager, script) = manager(Wire::Tcp, |knobs| knobs.max_size(1).connect_timeout(bound));
    let conn = manager.connect().expect("it opens");
    let began = Instant::now();
    let error = manager.connect().map(|_| 0).expect_err("there is one place");
    assert!(began.elapsed() >= bound);
    assert_eq!(error.kind(), ErrorKind::Connect);
    drop(conn);
    drop(manager.connect().expect("the place is free"));
    assert_eq!(script.server().most(), 1);
}

#[test]
fn a_check_that_would_block_an_async_runtimes_thread_is_refused() {
    let (manager, script) = manager(Wire::Tcp, |knobs| knobs.ping_after(Duration::from_millis(1)));
    let mut conn = manager.connect().expect("it opens");
    thread::sleep(Duration::from_millis(2));
    script.once(At::MayBlock, Act::Fault(ConnectFault::Other));
    let error = manager.is_valid(&mut conn).expect_err("a ping would block");
    assert_eq!((error.kind(), script.calls(At::Ping)), (ErrorKind::AsyncContext, 0));
    manager.is_valid(&mut conn).expect("this thread may block");
    assert_eq!(script.calls(At::Ping), 1);
}

#[test]
fn a_statement_time_out_that_could_not_act_is_refused() {
    let (driver, _script) = Fake::new(Wire::Tcp);
    let builder = Pool::builder().statement_timeout(Duration::from_secs(1));
    let refused = builder.manager(driver).expect_err("it could not act");
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(refused.to_string().contains("statement_timeout 1s"), "{refused}");
}
