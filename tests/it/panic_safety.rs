//! No panic of foreign code reaches a caller, and none costs a slot.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Script, Transport};
use crate::common::{LONG_TIMEOUT, idle, pool, pool_with, until};
use poolwarden::observe::{Closed, Opened};
use poolwarden::{
    Builder, CloseReason, ConnectError, ErrorKind, FaultClass, Observer, Pool, PooledConnection,
};
use std::error::Error as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};
use support::logs;

const TRANSPORTS: [Transport; 4] =
    [Transport::InProcess, Transport::Hidden, Transport::Unix, Transport::Tcp];

#[test]
fn a_panic_in_connect_is_an_error_for_its_caller() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.max_size(1));
        script.once(At::Connect, Act::Panic);
        let error = pool.get().expect_err("the driver panicked");
        assert_eq!(error.kind(), ErrorKind::Connect);
        assert_eq!(error.connect_error().map(|e| e.class()), Some(FaultClass::Panicked));
        let cause = error.source().expect("the panic").to_string();
        assert_eq!(cause, "panicked: scripted: the driver panics");
        assert_eq!(pool.snapshot().panics, 1);
        books(&pool);
    }
}

#[test]
fn a_panic_in_label_costs_the_pool_its_name_only() {
    let panics = |script: &Script| script.once(At::Label, Act::Panic);
    let (pool, _) = pool_with(Transport::InProcess, panics, |options| options);
    assert!(!pool.name().contains("fake"));
    books(&pool);
}

#[test]
fn a_panic_in_label_while_an_error_is_built_costs_only_that_attempt() {
    let (pool, script) = pool(Transport::Hidden, |options| {
        options.max_size(1).connect_timeout(Duration::from_millis(10)).name("labelled")
    });
    script.once(At::Connect, Act::Sleep(Duration::from_millis(60)));
    script.always(At::Label, Act::Panic);
    assert_eq!(pool.get().expect_err("it came too late").kind(), ErrorKind::Connect);
    books(&pool);
}

/// Checks out a connection whose check panics in this method.
fn check_out_with_a_panic(at: At) {
    // A ping would take a byte that arrives after the peek for its reply.
    let ping_after = if at == At::Ping { Duration::from_millis(1) } else { LONG_TIMEOUT };
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2).ping_after(ping_after));
    let number = idle(&pool, 1)[0];
    thread::sleep(Duration::from_millis(2));
    // Before the bytes are written: the housekeeper may read them first.
    script.once(at, Act::Panic);
    match at {
        At::ServerMessage => {
            script.server().write(number, b"E57P01terminated");
            script.server().close(number);
        }
        At::Unsolicited => script.server().write(number, b"k"),
        _ => {}
    }
    // The bytes may arrive a moment later.
    until!(pool, pool.get().expect("another one is opened").number != number);
    until!(pool, pool.snapshot().panics == 1);
    books(&pool);
}

#[test]
fn a_panic_in_a_check_costs_that_connection_only() {
    [At::Ping, At::SocketAccess, At::ServerMessage, At::Unsolicited]
        .into_iter()
        .for_each(check_out_with_a_panic);
}

#[test]
fn a_panic_in_a_check_during_housekeeping_costs_that_connection_only() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(5));
    idle(&pool, 5);
    script.once(At::SocketAccess, Act::Panic);
    until!(pool, pool.snapshot().closed() == 1);
    assert_eq!(
        (pool.snapshot().levels.idle, pool.snapshot().closed_by(CloseReason::Panicked)),
        (4, 1)
    );
    books(&pool);
}

#[test]
fn a_panic_in_may_block_here_counts_as_false() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    script.once(At::MayBlock, Act::Panic);
    assert_eq!(pool.get().expect_err("it might block").kind(), ErrorKind::AsyncContext);
    books(&pool);
}

#[test]
fn a_panic_in_is_broken_closes_that_connection() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.max_size(1));
        let conn = pool.get().expect("it opens");
        script.once(At::IsBroken, Act::Panic);
        drop(conn);
        assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 1);
        books(&pool);
    }
}

#[test]
fn a_panic_in_the_drop_of_a_connection_releases_its_permit() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.max_size(2));
        for _ in 0..3 {
            script.once(At::Drop, Act::Panic);
            PooledConnection::discard(pool.get().expect("its permit is released"));
        }
        books(&pool);
    }
}

#[test]
fn a_panic_in_socket_access_during_a_close_releases_the_permit() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let conn = pool.get().expect("it opens");
    script.once(At::SocketAccess, Act::Panic);
    PooledConnection::discard(conn);
    until!(pool, script.server().live() == 0);
    assert_eq!(script.threads(At::Drop), ["poolwarden-drop"], "never on the caller's thread");
    books(&pool);
}

#[test]
fn an_init_hook_that_panics_or_fails_costs_that_connection_only() {
    let calls = std::sync::atomic::AtomicU32::new(0);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).init(move |conn| {
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
    assert_eq!(panicked.connect_error().map(|e| e.class()), Some(FaultClass::Panicked));
    until!(pool, script.server().live() == 0);
    thread::sleep(Duration::from_millis(100));
    let failed = pool.get().expect_err("the hook failed");
    assert_eq!(failed.connect_error().map(|e| e.class()), Some(FaultClass::Hook));
    assert_eq!(failed.source().expect("the hook's error").to_string(), "no such schema");
    books(&pool);
    assert_eq!(pool.get().expect("it opens").password, "prepared");
}

/// Panics at every event.
struct PanickingObserver;

impl Observer for PanickingObserver {
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

/// Raises one event of each kind: failed, opened, timed out, closed.
fn raise_every_event(pool: &Pool<Fake>, script: &Script) {
    script.once(At::Connect, Act::Fault(FaultClass::Refused));
    pool.get().expect_err("the connection is refused");
    script.clear();
    thread::sleep(Duration::from_millis(100));
    let held = pool.get().expect("it opens");
    let error = pool.get_timeout(Duration::from_millis(1)).expect_err("there is no second one");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    PooledConnection::discard(held);
    books(pool);
}

#[test]
fn an_observer_that_panics_at_every_event_disturbs_nothing() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(1).observer(PanickingObserver));
    raise_every_event(&pool, &script);
    assert!(pool.snapshot().panics >= 4, "{}", pool.snapshot());
}

/// Panics when it is dropped.
struct PanickingDrop;

impl Observer for PanickingDrop {}

impl Drop for PanickingDrop {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("scripted: a destructor panics");
        }
    }
}

#[test]
fn a_panic_in_the_destructor_of_an_observer_or_a_hook_reaches_no_caller() {
    for held in [false, true] {
        let hook = PanickingDrop;
        let (pool, _) = pool(Transport::Tcp, |options| {
            let options = options.max_size(1).observer(PanickingDrop).observer(PanickingDrop);
            options.init(move |_| {
                let _ = &hook;
                Ok(())
            })
        });
        let conn = pool.get().expect("it opens");
        let guard = held.then_some(conn);
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(pool)));
        assert!(dropped.is_ok(), "from the pool, held {held}");
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(guard)));
        assert!(dropped.is_ok(), "from the guard, held {held}");
    }
}

#[test]
fn a_log_sink_that_panics_at_every_record_disturbs_nothing() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(1).name("a sink that panics"));
    let panics = logs::panic_on_log("a sink that panics");
    raise_every_event(&pool, &script);
    assert!(pool.snapshot().panics >= 3, "{}", pool.snapshot());
    drop(panics);
}

#[test]
fn a_thread_that_panics_with_a_connection_costs_that_connection_only() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    for _ in 0..3 {
        let work = || {
            let _held = pool.get().expect("its permit is released");
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
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    idle(&pool, 1);
    let unwind = || {
        let _writer = Writer(&pool);
        panic!("scripted: something else panics");
    };
    catch_unwind(AssertUnwindSafe(unwind)).map(|()| 0).expect_err("it panics");
    assert_eq!((pool.snapshot().levels.idle, pool.snapshot().closed()), (1, 0));
    books(&pool);
}

#[test]
fn a_panic_in_the_text_of_an_error_costs_only_that_attempt() {
    let (pool, script) = pool(Transport::Hidden, |options| options.max_size(1));
    script.always(At::Connect, Act::Unprintable);
    let error = pool.get_timeout(Duration::from_millis(20)).expect_err("it cannot be opened");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    script.clear();
    idle(&pool, 1);
    script.once(At::Ping, Act::Unprintable);
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    books(&pool);
}

/// Many threads use a pool while its driver, hooks and server fail at random.
fn survive_random_faults(transport: Transport) {
    let seed = crate::common::seed();
    let name = format!("random faults on {transport:?}");
    let (pool, script) =
        pool(transport, |options| with_random_faults(options, seed).name(name.as_str()));
    script_random_faults(&script, seed);
    let sink = logs::panic_on_log(&name);
    let over = Instant::now() + 6 * LONG_TIMEOUT;
    thread::scope(|scope| {
        for thread in 0..5 {
            let (pool, script) = (&pool, &script);
            scope.spawn(move || {
                let mut chance = fastrand::Rng::with_seed(seed + thread);
                while pool.snapshot().checkouts < CHECKOUTS && Instant::now() < over {
                    use_a_connection_at_random(pool, script, &mut chance);
                }
            });
        }
    });
    drop(sink);
    let end = pool.snapshot();
    assert!(end.checkouts >= CHECKOUTS, "{end}");
    assert!(end.closed() > 50 && end.panics > 50, "too few faults: {end}");
    // A session that ended while it was opened looked like a full server: the pool's size
    // was reduced, and grows back step by step.
    until!(pool, pool.snapshot().levels.max_size == MAX_SIZE);
    books(&pool);
}

const MAX_SIZE: u32 = 4;

/// Two thousand, over four transports.
const CHECKOUTS: u64 = 500;

#[test]
fn no_slot_is_lost_under_random_faults_in_process() {
    survive_random_faults(Transport::InProcess);
}

#[test]
fn no_slot_is_lost_under_random_faults_without_a_visible_socket() {
    survive_random_faults(Transport::Hidden);
}

#[test]
fn no_slot_is_lost_under_random_faults_over_unix_sockets() {
    survive_random_faults(Transport::Unix);
}

#[test]
fn no_slot_is_lost_under_random_faults_over_tcp() {
    survive_random_faults(Transport::Tcp);
}

fn with_random_faults(options: Builder<Fake>, seed: u64) -> Builder<Fake> {
    let chance = std::sync::Mutex::new(fastrand::Rng::with_seed(seed ^ 1));
    options
        .max_size(MAX_SIZE)
        .min_idle(1)
        .max_lifetime(Duration::from_millis(50))
        .ping_after(Duration::from_micros(500))
        .ping_timeout(Duration::from_millis(50))
        .observer(PanickingObserver)
        .init(move |_| {
            let chance = chance.lock().expect("no thread panics with the lock").u8(..100);
            match chance {
                0..2 => Err("an with_random_faults hook".into()),
                2..4 => panic!("scripted: an with_random_faults hook"),
                _ => Ok(()),
            }
        })
}

fn script_random_faults(script: &Script, seed: u64) {
    let methods = [At::Connect, At::Ping, At::SocketAccess, At::IsBroken, At::Drop, At::Label];
    for (number, at) in (0..).zip(methods) {
        let mut chance = fastrand::Rng::with_seed(seed ^ (100 + number));
        script.rule(at, move || random_fault(at, chance.u8(..100)));
    }
}

fn random_fault(at: At, chance: u8) -> Act {
    match (chance, at) {
        // Called several times at each check-out and check-in.
        (1.., At::SocketAccess) => Act::Pass,
        (0..3, _) => Act::Panic,
        (3..5, _) => Act::Sleep(Duration::from_millis(1)),
        (5..8, At::Connect) => Act::Fault(FaultClass::Starting),
        (8..10, At::Connect) => Act::Fault(FaultClass::Refused),
        (10..12, At::Connect) => Act::Unprintable,
        (5..9, At::Ping | At::IsBroken) => Act::Fault(FaultClass::Other),
        _ => Act::Pass,
    }
}

fn use_a_connection_at_random(pool: &Pool<Fake>, script: &Script, chance: &mut fastrand::Rng) {
    let timeout = Duration::from_micros(chance.u64(..20_000));
    let taken = if chance.u8(..10) == 0 { pool.try_get() } else { pool.get_timeout(timeout).ok() };
    let Some(mut conn) = taken else {
        // A caller that failed tries a little later.
        thread::sleep(timeout / 4);
        return;
    };
    match chance.u8(..10) {
        0 => PooledConnection::discard(conn),
        1 => conn.broken = true,
        2 => close_one_session(script, chance),
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

/// The server closes a session, of an idle connection or of one in use.
fn close_one_session(script: &Script, chance: &mut fastrand::Rng) {
    if let Some(number) = chance.choice(script.server().numbers()) {
        script.server().end(number);
    }
}
