//! No panic of foreign code reaches a caller, and none costs a slot.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Script, Wire};
use crate::common::{PATIENCE, idle, pool, pool_with, until};
use poolwarden::{
    Builder, CloseReason, Closed, ConnectError, ConnectFault, ErrorKind, Observer, Opened, Pool,
    PooledConnection,
};
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};
use support::logs;

const WIRES: [Wire; 4] = [Wire::InProcess, Wire::Hidden, Wire::Unix, Wire::Tcp];

#[test]
fn a_panic_in_connect_is_an_error_for_its_caller() {
    for wire in WIRES {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(1));
        script.once(At::Connect, Act::Panic);
        let error = pool.get().expect_err("the driver panicked");
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert_eq!(error.connect_error().map(|e| e.fault()), Some(ConnectFault::Panicked));
        let cause = error.source().expect("the panic").to_string();
        assert_eq!(cause, "panicked: scripted: the driver panics");
        assert_eq!(pool.snapshot().panics, 1);
        books(&pool);
    }
}

#[test]
fn a_panic_in_label_costs_the_pool_its_name_only() {
    let panics = |script: &Script| script.once(At::Label, Act::Panic);
    let (pool, _) = pool_with(Wire::InProcess, panics, |knobs| knobs);
    assert!(!pool.name().contains("fake"));
    books(&pool);
}

#[test]
fn a_panic_in_label_while_an_attempt_is_explained_is_survived() {
    let (pool, script) = pool(Wire::Hidden, |knobs| {
        knobs.max_size(1).connect_timeout(Duration::from_millis(10)).name("labelled")
    });
    script.once(At::Connect, Act::Sleep(Duration::from_millis(60)));
    script.always(At::Label, Act::Panic);
    assert_eq!(pool.get().expect_err("it came too late").kind(), ErrorKind::Connect);
    books(&pool);
}

/// Where a check-out may panic, on an idle connection that has something to say.
fn check_out_with_a_panic(at: At) {
    let (pool, script) =
        pool(Wire::Tcp, |knobs| knobs.max_size(2).ping_after(Duration::from_millis(1)));
    let number = idle(&pool, 1)[0];
    thread::sleep(Duration::from_millis(2));
    match at {
        At::Words => {
            script.server().write(number, b"E57P01goodbye");
            script.server().close(number);
        }
        At::Unsolicited => script.server().write(number, b"k"),
        _ => {}
    }
    script.once(at, Act::Panic);
    let conn = pool.get().expect("another one is opened");
    assert_eq!(conn.number, 2, "{at:?}");
    drop(conn);
    assert_eq!(pool.snapshot().panics, 1, "{at:?}");
    books(&pool);
}

#[test]
fn a_panic_in_a_check_costs_that_connection_only() {
    [At::Ping, At::Link, At::Words, At::Unsolicited].into_iter().for_each(check_out_with_a_panic);
}

#[test]
fn a_panic_in_a_check_during_a_sweep_costs_that_connection_only() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(5));
    idle(&pool, 5);
    script.once(At::Link, Act::Panic);
    until(|| pool.snapshot().closed() == 1);
    assert_eq!((pool.snapshot().idle, pool.snapshot().closed_by(CloseReason::Panicked)), (4, 1));
    books(&pool);
}

#[test]
fn a_panic_of_may_block_here_is_taken_for_a_no() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs);
    script.once(At::MayBlock, Act::Panic);
    assert_eq!(pool.get().expect_err("it might block").kind(), ErrorKind::AsyncContext);
    books(&pool);
}

#[test]
fn a_panic_in_is_broken_closes_that_connection() {
    for wire in WIRES {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(1));
        let conn = pool.get().expect("it opens");
        script.once(At::IsBroken, Act::Panic);
        drop(conn);
        assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 1);
        books(&pool);
    }
}

#[test]
fn a_panic_in_the_drop_of_a_connection_gives_its_place_back() {
    for wire in WIRES {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(2));
        for _ in 0..3 {
            script.once(At::Drop, Act::Panic);
            PooledConnection::discard(pool.get().expect("its place is free"));
        }
        books(&pool);
    }
}

#[test]
fn a_link_that_panics_while_a_connection_is_closed_gives_its_place_back() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let conn = pool.get().expect("it opens");
    script.once(At::Link, Act::Panic);
    PooledConnection::discard(conn);
    until(|| script.server().live() == 0);
    assert_eq!(script.threads(At::Drop), ["poolwarden-drop"], "never on the caller's thread");
    books(&pool);
}

#[test]
fn an_init_hook_that_panics_or_fails_costs_that_connection_only() {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let (pool, script) = pool(Wire::Tcp, |knobs| {
        knobs.max_size(1).init(move |conn| {
            match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => panic!("scripted: the hook panics"),
                1 => Err("no such schema".into()),
                _ => {
                    conn.password.push_str("prepared");
                    Ok(())
                }
            }
        })
    });
    let panicked = pool.get().expect_err("the hook panicked");
    assert_eq!(panicked.connect_error().map(|e| e.fault()), Some(ConnectFault::Panicked));
    until(|| script.server().live() == 0);
    thread::sleep(Duration::from_millis(100));
    let failed = pool.get().expect_err("the hook failed");
    assert_eq!(failed.connect_error().map(|e| e.fault()), Some(ConnectFault::Hook));
    assert_eq!(failed.source().expect("the hook's error").to_string(), "no such schema");
    books(&pool);
    assert_eq!(pool.get().expect("it opens").password, "prepared");
}

/// Panics whatever it is told.
struct Hysteric;

impl Observer for Hysteric {
    fn opened(&self, _: &Opened<'_>) {
        panic!("scripted: opened");
    }

    fn connect_failed(&self, _: &str, _: &ConnectError) {
        panic!("scripted: connect_failed");
    }

    fn closed(&self, _: &Closed<'_>) {
        panic!("scripted: closed");
    }

    fn timed_out(&self, _: &str, _: Duration) {
        panic!("scripted: timed_out");
    }
}

/// One of each event: failed, opened, timed out, closed.
fn live_through_everything(pool: &Pool<Fake>, script: &Script) {
    script.once(At::Connect, Act::Fault(ConnectFault::Refused));
    pool.get().expect_err("nobody listens");
    script.heal();
    thread::sleep(Duration::from_millis(100));
    let held = pool.get().expect("it opens");
    let error = pool.get_timeout(Duration::from_millis(1)).expect_err("there is no second one");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    PooledConnection::discard(held);
    books(pool);
}

#[test]
fn an_observer_that_panics_at_everything_disturbs_nothing() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1).observer(Hysteric));
    live_through_everything(&pool, &script);
    assert!(pool.snapshot().panics >= 4, "{}", pool.snapshot());
}

#[test]
fn a_log_sink_that_panics_at_everything_disturbs_nothing() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1).name("a sink that panics"));
    let panics = logs::panic_on_log("a sink that panics");
    live_through_everything(&pool, &script);
    assert!(pool.snapshot().panics >= 3, "{}", pool.snapshot());
    drop(panics);
}

#[test]
fn a_thread_that_panics_with_a_connection_costs_that_connection_only() {
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    for _ in 0..3 {
        let work = || {
            let _held = pool.get().expect("its place is free");
            panic!("scripted: the borrower panics");
        };
        thread::scope(|scope| scope.spawn(work).join().expect_err("it panics"));
    }
    assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 3);
    books(&pool);
}

#[test]
fn a_connection_that_a_destructor_uses_while_its_thread_unwinds_is_kept() {
    struct Writer<'a>(&'a Pool<Fake>);
    impl Drop for Writer<'_> {
        fn drop(&mut self) {
            drop(self.0.get().expect("it is idle"));
        }
    }
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    idle(&pool, 1);
    let unwind = || {
        let _writer = Writer(&pool);
        panic!("scripted: something else panics");
    };
    catch_unwind(AssertUnwindSafe(unwind)).map(|()| 0).expect_err("it panics");
    assert_eq!((pool.snapshot().idle, pool.snapshot().closed()), (1, 0));
    books(&pool);
}

#[test]
fn an_error_that_cannot_be_printed_is_survived() {
    let (pool, script) = pool(Wire::Hidden, |knobs| knobs.max_size(1));
    script.always(At::Connect, Act::Unreadable);
    let error = pool.get_timeout(Duration::from_millis(20)).expect_err("it cannot be opened");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    script.heal();
    idle(&pool, 1);
    script.once(At::Ping, Act::Unreadable);
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    books(&pool);
}

/// What many threads do to a pool at once: everything that can go wrong does, by
/// chance.
fn survive_accidents(wire: Wire) {
    let seed = crate::common::seed();
    let name = format!("accidents on {wire:?}");
    let (pool, script) = pool(wire, |knobs| unlucky(knobs, seed).name(name.as_str()));
    write_accidents(&script, seed);
    let sink = logs::panic_on_log(&name);
    let over = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        for thread in 0..5 {
            let (pool, script) = (&pool, &script);
            scope.spawn(move || {
                let mut chance = fastrand::Rng::with_seed(seed + thread);
                while pool.snapshot().checkouts < ACCIDENTS && Instant::now() < over {
                    meet_an_accident(pool, script, &mut chance);
                }
            });
        }
    });
    drop(sink);
    let end = pool.snapshot();
    assert!(end.checkouts >= ACCIDENTS, "{end}");
    assert!(end.closed() > 50 && end.panics > 50, "too quiet: {end}");
    books(&pool);
}

/// Two thousand, on four wires.
const ACCIDENTS: u64 = 500;

#[test]
fn nothing_is_lost_in_hundreds_of_accidents_in_process() {
    survive_accidents(Wire::InProcess);
}

#[test]
fn nothing_is_lost_in_hundreds_of_accidents_out_of_sight() {
    survive_accidents(Wire::Hidden);
}

#[test]
fn nothing_is_lost_in_hundreds_of_accidents_over_unix_sockets() {
    survive_accidents(Wire::Unix);
}

#[test]
fn nothing_is_lost_in_hundreds_of_accidents_over_tcp() {
    survive_accidents(Wire::Tcp);
}

fn unlucky(knobs: Builder<Fake>, seed: u64) -> Builder<Fake> {
    let chance = std::sync::Mutex::new(fastrand::Rng::with_seed(seed ^ 1));
    knobs
        .max_size(4)
        .min_idle(1)
        .max_lifetime(Duration::from_millis(50))
        .ping_after(Duration::from_micros(500))
        .ping_timeout(Duration::from_millis(50))
        .observer(Hysteric)
        .init(move |_| {
            let chance = chance.lock().expect("nobody panics with it").u8(..100);
            match chance {
                0..2 => Err("an unlucky hook".into()),
                2..4 => panic!("scripted: an unlucky hook"),
                _ => Ok(()),
            }
        })
}

fn write_accidents(script: &Script, seed: u64) {
    let methods = [At::Connect, At::Ping, At::Link, At::IsBroken, At::Drop, At::Label];
    for (number, at) in (0..).zip(methods) {
        let mut chance = fastrand::Rng::with_seed(seed ^ (100 + number));
        script.rule(at, move || accident(at, chance.u8(..100)));
    }
}

fn accident(at: At, chance: u8) -> Act {
    match (chance, at) {
        // Called several times at each check-out and check-in.
        (1.., At::Link) => Act::Pass,
        (0..3, _) => Act::Panic,
        (3..5, _) => Act::Sleep(Duration::from_millis(1)),
        (5..8, At::Connect) => Act::Fault(ConnectFault::Starting),
        (8..10, At::Connect) => Act::Fault(ConnectFault::Refused),
        (10..12, At::Connect) => Act::Unreadable,
        (5..9, At::Ping | At::IsBroken) => Act::Fault(ConnectFault::Other),
        _ => Act::Pass,
    }
}

fn meet_an_accident(pool: &Pool<Fake>, script: &Script, chance: &mut fastrand::Rng) {
    let timeout = Duration::from_micros(chance.u64(..20_000));
    let taken = if chance.u8(..10) == 0 { pool.try_get() } else { pool.get_timeout(timeout).ok() };
    let Some(mut conn) = taken else {
        // Who is refused comes back a little later.
        thread::sleep(timeout / 4);
        return;
    };
    match chance.u8(..10) {
        0 => PooledConnection::discard(conn),
        1 => conn.broken = true,
        2 => end_one(script, chance),
        3 => {
            let unwind = || {
                let _held = conn;
                panic!("scripted: the borrower panics");
            };
            let _ = catch_unwind(AssertUnwindSafe(unwind));
        }
        _ => {}
    }
}

/// The server ends a session, of an idle connection or of one in use.
fn end_one(script: &Script, chance: &mut fastrand::Rng) {
    if let Some(number) = chance.choice(script.server().numbers()) {
        script.server().end(number);
    }
}
