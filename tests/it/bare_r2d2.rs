//! Our manager in a bare `r2d2::Pool`: the promises that hold there.

use crate::common::fake::{Act, At, Fake, Script, ServerClose, Transport};
use crate::common::gate::Gate;
use crate::common::recorder::{Recorded, Recorder};
use crate::common::{LONG_TIMEOUT, until};
use poolwarden::{Builder, CloseReason, ErrorKind, FaultClass, Manager, Pool};
use r2d2::ManageConnection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

type Bare = r2d2::Pool<Manager<Fake>>;

fn manager(
    transport: Transport,
    configure: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Manager<Fake>, Script) {
    let (driver, script) = Fake::new(transport);
    let options = configure(Pool::builder().checkout_timeout(LONG_TIMEOUT));
    (options.manager(driver).expect("the options agree"), script)
}

fn bare(
    transport: Transport,
    configure: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Bare, Script) {
    let (manager, script) = manager(transport, configure);
    (manager.builder().build(manager).expect("the server is up"), script)
}

/// The check at the end of every test, as far as r2d2 shows its state: all assert_no_slot_lost are
/// usable, the server agrees, and it never saw more than `max_size` connections.
#[track_caller]
fn assert_no_slot_lost(pool: &Bare, script: &Script) {
    script.clear();
    let held: Vec<_> = (0..pool.max_size()).map(|_| pool.get().expect("a slot")).collect();
    assert_eq!(held.len(), pool.max_size() as usize);
    until!(script.server().live() == held.len());
    drop(held);
    let most = script.server().most();
    assert!(most <= pool.max_size() as usize, "{most} at a time, of {}", pool.max_size());
}

fn idle_one(pool: &Bare) -> u64 {
    pool.get().expect("it opens").number
}

#[test]
fn a_dead_idle_connection_is_not_handed_out() {
    for how in [ServerClose::Fin, ServerClose::MessageAndFin, ServerClose::Rst] {
        let (pool, script) = bare(Transport::Tcp, |options| options.max_size(2));
        script.server().terminate(idle_one(&pool), how);
        assert_ne!(pool.get().expect("a new one is opened").number, 1, "{how:?}");
        assert_no_slot_lost(&pool, &script);
    }
}

#[test]
fn a_connection_past_its_lifetime_is_neither_handed_out_nor_kept() {
    let recorder = Recorder::default();
    let life = Duration::from_millis(60);
    let (pool, script) = bare(Transport::Tcp, |options| {
        options.max_size(1).max_lifetime(life).observer(recorder.clone())
    });
    idle_one(&pool);
    thread::sleep(life);
    let second = pool.get().expect("a new connection");
    assert_ne!(second.number, 1);
    thread::sleep(life);
    drop(second);
    until!(recorder.ages(CloseReason::MaxLifetime).len() >= 2);
    assert_no_slot_lost(&pool, &script);
}

#[test]
fn the_server_never_sees_more_than_max_size_connections() {
    let (pool, script) = bare(Transport::Tcp, |options| options.max_size(4));
    thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                for _ in 0..15 {
                    let mut conn = pool.get().expect("a connection becomes available");
                    conn.broken = fastrand::bool();
                }
            });
        }
    });
    assert_no_slot_lost(&pool, &script);
}

#[test]
fn a_waiter_is_served_when_the_returned_connection_is_broken() {
    let (pool, script) = bare(Transport::Tcp, |options| options.max_size(1));
    let mut held = pool.get().expect("it opens");
    held.broken = true;
    let began = Instant::now();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get().map(|conn| conn.number));
        // r2d2 does not show its waiters; if the sleep is too short, the test proves less.
        thread::sleep(Duration::from_millis(50));
        drop(held);
        assert_eq!(waiter.join().expect("no panic").expect("its permit is released"), 2);
    });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_no_slot_lost(&pool, &script);
}

#[test]
fn a_panic_of_the_driver_costs_no_slot() {
    for at in [At::Connect, At::Ping, At::SocketAccess, At::IsBroken, At::Drop, At::Label] {
        let (pool, script) = bare(Transport::Tcp, |options| {
            options.max_size(2).ping_after(Duration::from_millis(1)).name("bare")
        });
        idle_one(&pool);
        script.once(at, Act::Panic);
        if at == At::Connect {
            script.server().close(1);
        }
        thread::sleep(Duration::from_millis(2));
        let mut conn = pool.get().expect("the same or a new connection");
        conn.broken = true;
        drop(conn);
        assert_no_slot_lost(&pool, &script);
    }
}

#[test]
fn a_borrower_that_panics_costs_that_connection_only() {
    let recorder = Recorder::default();
    let (pool, script) =
        bare(Transport::Tcp, |options| options.max_size(1).observer(recorder.clone()));
    let unwind = || {
        let _held = pool.get().expect("it opens");
        panic!("scripted: the borrower panics");
    };
    catch_unwind(AssertUnwindSafe(unwind)).map(|()| 0).expect_err("it panics");
    until!(recorder.ages(CloseReason::Panicked).len() == 1);
    assert_no_slot_lost(&pool, &script);
}

#[test]
fn a_ping_of_a_frozen_server_is_bounded_and_rules_out_the_other_idle_connections() {
    let recorder = Recorder::default();
    let bound = Duration::from_millis(150);
    let (pool, script) = bare(Transport::Tcp, |options| {
        let options =
            options.max_size(3).ping_after(Duration::from_millis(1)).observer(recorder.clone());
        options.ping_timeout(bound)
    });
    let held: Vec<_> = (0..3).map(|_| pool.get().expect("it opens")).collect();
    drop(held);
    thread::sleep(Duration::from_millis(2));
    script.server().mute();
    let began = Instant::now();
    let conn = pool.get().expect("a new one is opened");
    let took = began.elapsed();
    assert!(conn.number > 3 && took >= bound && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(recorder.ages(CloseReason::PingTimeout).len(), 1);
    until!(recorder.ages(CloseReason::SiblingPingTimeout).len() == 2);
    drop(conn);
    assert_no_slot_lost(&pool, &script);
}

#[test]
fn a_ping_that_hangs_on_a_connection_without_a_socket_is_bounded() {
    let (bound, gate) = (Duration::from_millis(150), Gate::shut());
    let (pool, script) = bare(Transport::Hidden, |options| options.max_size(2).ping_timeout(bound));
    let hanging = pool.get().expect("it opens").number;
    script.once(At::Ping, Act::Hang(gate.clone()));
    thread::sleep(Duration::from_millis(1100));
    let began = Instant::now();
    let conn = pool.get().expect("a new one is opened");
    let took = began.elapsed();
    // The one whose ping hangs keeps its permit until the server has closed it.
    assert!(conn.number != hanging && took >= bound && took < Duration::from_secs(3), "{took:?}");
    gate.open();
    until!(!script.server().numbers().contains(&hanging));
    drop(conn);
    assert_no_slot_lost(&pool, &script);
}

#[test]
fn a_connect_that_waits_for_a_permit_keeps_within_one_connect_timeout() {
    let timeout = Duration::from_millis(500);
    let (manager, script) =
        manager(Transport::Tcp, |options| options.max_size(1).connect_timeout(timeout));
    let held = manager.connect().expect("it opens");
    script.server().freeze();
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let began = Instant::now();
            (manager.connect().map(drop), began.elapsed())
        });
        // Most of the time goes by before its permit comes; the server answers nothing.
        thread::sleep(timeout * 3 / 5);
        script.server().thaw();
        drop(held);
        until!(script.server().live() == 0);
        script.server().freeze();
        let (outcome, took) = caller.join().expect("no panic");
        assert!(took < timeout * 8 / 5, "{:?} after {took:?}", outcome.is_ok());
    });
    script.server().thaw();
}

#[test]
fn connections_are_dropped_on_a_thread_of_the_closer() {
    let (pool, script) = bare(Transport::Tcp, |options| options.max_size(2));
    let held = (pool.get().expect("it opens"), pool.get().expect("it opens"));
    drop(held);
    drop(pool);
    until!(script.calls(At::Drop) == 2);
    assert_eq!(script.threads(At::Drop), ["poolwarden-drop"; 2]);
}

#[test]
fn a_connection_that_a_bare_pool_drops_is_reported_as_released() {
    let recorder = Recorder::default();
    let (pool, _) = bare(Transport::Tcp, |options| options.observer(recorder.clone()));
    idle_one(&pool);
    drop(pool);
    until!(!recorder.ages(CloseReason::Released).is_empty());
    assert!(matches!(recorder.events()[0], Recorded::Opened { .. }));
}

#[test]
fn the_manager_counts_what_it_opens_and_closes() {
    let (manager, script) = manager(Transport::Tcp, |options| options.max_size(2));
    let conn = manager.connect().expect("it opens");
    script.once(At::Connect, Act::Fault(FaultClass::Authentication));
    let error = manager.connect().map(|_| 0).expect_err("the password is wrong");
    assert_eq!(error.connect_error().map(|e| e.class()), Some(FaultClass::Authentication));
    let now = manager.snapshot();
    assert_eq!(
        (now.levels.open, now.opened, now.connect_attempts, now.connect_failures),
        (1, 1, 2, 1)
    );
    drop(conn);
    until!(manager, manager.snapshot().levels.closing == 0);
    let now = manager.snapshot();
    assert_eq!((now.levels.open, now.closed_by(CloseReason::Released)), (0, 1));
}

#[test]
fn a_connect_beyond_max_size_waits_for_a_permit_for_connect_timeout_at_most() {
    let bound = Duration::from_millis(80);
    let (manager, script) =
        manager(Transport::Tcp, |options| options.max_size(1).connect_timeout(bound));
    // On a loaded computer a connect may take longer than that.
    let mut first = None;
    until!(manager, {
        first = manager.connect().ok();
        first.is_some()
    });
    let began = Instant::now();
    let error = manager.connect().map(|_| 0).expect_err("there is one permit");
    assert!(began.elapsed() >= bound);
    assert_eq!(error.kind(), ErrorKind::Connect);
    drop(first);
    // Released by the server's FIN, which may come late on a loaded computer.
    until!(manager, manager.connect().is_ok());
    assert_eq!(script.server().most(), 1);
}

#[test]
fn a_check_that_would_block_an_async_runtimes_thread_is_refused() {
    let (manager, script) =
        manager(Transport::Tcp, |options| options.ping_after(Duration::from_millis(1)));
    let mut conn = manager.connect().expect("it opens");
    thread::sleep(Duration::from_millis(2));
    script.once(At::MayBlock, Act::Fault(FaultClass::Other));
    let error = manager.is_valid(&mut conn).expect_err("a ping would block");
    assert_eq!((error.kind(), script.calls(At::Ping)), (ErrorKind::AsyncContext, 0));
    manager.is_valid(&mut conn).expect("this thread may block");
    assert_eq!(script.calls(At::Ping), 1);
}

#[test]
fn a_statement_timeout_that_could_not_act_is_refused() {
    let (driver, _script) = Fake::new(Transport::Tcp);
    let builder = Pool::builder().statement_timeout(Duration::from_secs(1));
    let error = builder.manager(driver).expect_err("it could not act");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("statement_timeout 1s"), "{error}");
}

#[test]
fn the_error_of_a_check_says_in_words_why_the_connection_cannot_be_used() {
    let life = Duration::from_millis(5);
    let (manager, _script) = manager(Transport::Tcp, |options| options.max_lifetime(life));
    let mut conn = manager.connect().expect("it opens");
    thread::sleep(2 * life);
    let error = manager.is_valid(&mut conn).expect_err("its lifetime has passed");
    assert!(error.to_string().ends_with(": maximum lifetime reached"), "{error}");
}

#[test]
fn the_event_of_a_connection_that_was_closed_at_its_check_in_has_no_idle_time() {
    let recorder = Recorder::default();
    let (pool, script) =
        bare(Transport::Tcp, |options| options.max_size(1).observer(recorder.clone()));
    idle_one(&pool);
    let mut held = pool.get().expect("it is idle");
    thread::sleep(Duration::from_millis(5));
    held.broken = true;
    drop(held);
    let closed = || {
        recorder.events().into_iter().find_map(|event| match event {
            Recorded::Closed { idle, reason, .. } => Some((idle, reason)),
            _ => None,
        })
    };
    until!(closed().is_some());
    assert_eq!(closed(), Some((Duration::ZERO, CloseReason::Broken)));
    assert_no_slot_lost(&pool, &script);
}
