//! Any r2d2 manager as a driver of our own pool.

use crate::common::LONG_TIMEOUT;
use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, FakeManager, ManagerError, Script, Transport};
use crate::common::gate::Gate;
use crate::common::until;
use poolwarden::driver::ResetOutcome;
use poolwarden::{
    Builder, CloseReason, ErrorKind, FaultClass, Foreign, Manager, Pool, PooledConnection, Reset,
    Validation,
};
use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

type PoolOptions = Builder<Foreign<FakeManager>>;

fn pool(
    configure: impl FnOnce(PoolOptions) -> PoolOptions,
) -> (Pool<Foreign<FakeManager>>, Script) {
    pool_over(configure, |driver| driver)
}

fn pool_over(
    configure: impl FnOnce(PoolOptions) -> PoolOptions,
    driver: impl FnOnce(Foreign<FakeManager>) -> Foreign<FakeManager>,
) -> (Pool<Foreign<FakeManager>>, Script) {
    let (manager, script) = FakeManager::new();
    let options = configure(Pool::builder().checkout_timeout(LONG_TIMEOUT));
    (options.build_lazy(driver(Foreign::new(manager))).expect("the options agree"), script)
}

#[test]
fn a_foreign_connection_is_validated_on_a_helper_thread_at_every_check_out_but_the_first() {
    let (pool, script) = pool(|options| options.max_size(1));
    (0..4).for_each(|_| drop(pool.get().expect("it is valid")));
    assert_eq!(script.threads(At::Ping), ["poolwarden-ping"; 3]);
    assert_eq!((script.calls(At::Connect), script.calls(At::IsBroken)), (1, 4));
    books(&pool);
}

#[test]
fn a_connection_that_its_manager_calls_broken_or_invalid_is_closed() {
    let (pool, script) = pool(|options| options.max_size(1));
    let mut conn = pool.get().expect("it opens");
    conn.broken = true;
    drop(conn);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Broken), 1);
    drop(pool.get().expect("it opens"));
    script.once(At::Ping, Act::Fault(FaultClass::Other));
    assert_eq!(pool.get().expect("a new one is opened").number, 3);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingFailed), 1);
    books(&pool);
}

#[test]
fn a_validation_that_hangs_costs_no_more_than_ping_timeout_and_no_slot() {
    let bound = Duration::from_millis(100);
    let (pool, script) = pool(|options| options.max_size(2).ping_timeout(bound));
    drop(pool.get().expect("it opens"));
    let gate = Gate::shut();
    script.once(At::Ping, Act::Hang(gate.clone()));
    let began = Instant::now();
    let conn = pool.get().expect("a new one is opened");
    let took = began.elapsed();
    assert!(conn.number == 2 && took >= bound && took < Duration::from_secs(3), "{took:?}");
    // It keeps its permit until the manager's method returns.
    let now = pool.snapshot();
    assert_eq!((now.levels.open, now.levels.closing), (1, 1));
    gate.open();
    until!(pool, pool.snapshot().closed_by(CloseReason::PingTimeout) == 1);
    drop(conn);
    books(&pool);
}

/// The reply comes at the very instant at which the caller stops waiting for it.
#[test]
fn a_validation_that_ends_at_its_deadline_is_either_in_time_or_a_timeout() {
    let bound = Duration::from_millis(3);
    let (pool, script) = pool(|options| options.max_size(4).ping_timeout(bound));
    for round in 0..100 {
        drop(pool.get().expect("it opens"));
        script.once(At::Ping, Act::Sleep(Duration::from_micros(2_600 + 6 * round)));
        drop(pool.get().expect("the same or a new connection"));
    }
    books(&pool);
    let ends: Vec<_> = pool.snapshot().close_reasons().map(|(reason, _)| reason).collect();
    let expected = [CloseReason::PingTimeout, CloseReason::SiblingPingTimeout];
    assert!(ends.iter().all(|reason| expected.contains(reason)), "{ends:?}");
}

#[test]
fn the_managers_error_is_the_source_of_ours() {
    let (pool, script) = pool(|options| options);
    script.once(At::Connect, Act::Fault(FaultClass::Refused));
    let error = pool.get().expect_err("the manager fails");
    assert_eq!(error.connect_error().map(|e| e.class()), Some(FaultClass::Other));
    let source = error.source().and_then(|cause| cause.downcast_ref::<ManagerError>());
    assert_eq!(source, Some(&ManagerError));
    books(&pool);
}

#[test]
fn a_connect_that_hangs_holds_no_caller_beyond_its_deadline() {
    let (pool, script) = pool(|options| options.max_size(1));
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let timeout = Duration::from_millis(50);
    let began = Instant::now();
    let error = pool.get_timeout(timeout).expect_err("it hangs");
    assert!(began.elapsed() >= timeout && began.elapsed() < Duration::from_secs(3));
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    gate.open();
    assert_eq!(pool.get().expect("it was opened late").number, 1);
    books(&pool);
}

#[test]
fn a_panic_of_the_manager_costs_no_slot() {
    for at in [At::Connect, At::Ping, At::IsBroken, At::Drop] {
        let (pool, script) = pool(|options| options.max_size(1));
        if at != At::Connect {
            drop(pool.get().expect("it opens"));
        }
        script.once(at, Act::Panic);
        if let Ok(conn) = pool.get() {
            PooledConnection::discard(conn);
        }
        books(&pool);
    }
}

#[test]
fn the_pool_is_named_after_its_manager() {
    let (pool, _) = pool(|options| options);
    assert_eq!(pool.name(), "r2d2 FakeManager");
    books(&pool);
}

#[test]
fn a_label_names_the_pool_and_is_in_its_errors() {
    let (pool, script) = pool_over(|options| options, |driver| driver.with_label("cache of app"));
    assert_eq!(pool.name(), "cache of app");
    script.once(At::Connect, Act::Fault(FaultClass::Refused));
    let error = pool.get().expect_err("the manager fails").to_string();
    assert!(error.starts_with("pool cache of app: "), "{error}");
    assert!(format!("{:?}", pool.driver()).contains("cache of app"));
    books(&pool);
}

#[test]
fn a_connection_in_this_process_is_pinged_only_if_always_asked_for_and_without_a_helper() {
    let (quiet, script) = pool_over(|options| options.max_size(1), Foreign::in_process);
    (0..4).for_each(|_| drop(quiet.get().expect("it is valid")));
    assert_eq!((script.calls(At::Ping), script.calls(At::IsBroken)), (0, 4));
    books(&quiet);
    let always = |options: PoolOptions| options.max_size(1).validation(Validation::AlwaysPing);
    let (pinged, script) = pool_over(always, Foreign::in_process);
    (0..4).for_each(|_| drop(pinged.get().expect("it is valid")));
    let own = thread::current().name().expect("a test's thread has a name").to_owned();
    assert_eq!(script.threads(At::Ping), [own.as_str(); 3]);
    books(&pinged);
}

type Calls = Arc<Mutex<Vec<String>>>;

/// A pool whose reset records the threads that it runs on, and fails if `broken` is set.
fn pool_with_reset(
    reset: Reset,
    access: impl FnOnce(Foreign<FakeManager>) -> Foreign<FakeManager>,
) -> (Pool<Foreign<FakeManager>>, Calls) {
    let calls = Calls::default();
    let recorder = Arc::clone(&calls);
    let (pool, _script) = pool_over(
        |options| options.max_size(1).reset(reset),
        |driver| {
            access(driver).with_reset(move |connection| {
                let name = thread::current().name().unwrap_or_default().to_owned();
                recorder.lock().expect("no panic").push(name);
                match connection.number {
                    1 => Ok(ResetOutcome::default().with_rolled_back(true)),
                    _ => Err("no answer".into()),
                }
            })
        },
    );
    (pool, calls)
}

#[test]
fn a_reset_runs_after_a_mutable_borrow_only_and_its_error_closes_the_connection() {
    let (pool, calls) = pool_with_reset(Reset::Auto, Foreign::in_process);
    let reads = || pool.get().expect("it opens").number;
    let writes = || pool.get().expect("it opens").broken = false;
    assert_eq!(reads(), 1);
    assert!(calls.lock().expect("no panic").is_empty());
    writes();
    let own = thread::current().name().expect("a test's thread has a name").to_owned();
    assert_eq!(*calls.lock().expect("no panic"), [own.as_str()]);
    assert_eq!(pool.snapshot().resets, 1);
    PooledConnection::discard(pool.get().expect("it opens"));
    assert_eq!(reads(), 2);
    writes();
    assert_eq!(*calls.lock().expect("no panic"), [own.as_str(), own.as_str()]);
    until!(pool, pool.snapshot().closed_by(CloseReason::Dirty) == 1);
    books(&pool);
}

#[test]
fn without_a_socket_a_reset_runs_on_another_thread() {
    let (pool, calls) = pool_with_reset(Reset::Auto, |driver| driver);
    pool.get().expect("it opens").broken = false;
    until!(pool, pool.snapshot().resets == 1);
    assert_eq!(*calls.lock().expect("no panic"), ["poolwarden-reset"]);
    books(&pool);
}

#[test]
fn without_resets_none_runs() {
    let (pool, calls) = pool_with_reset(Reset::None, Foreign::in_process);
    pool.get().expect("it opens").broken = false;
    assert!(calls.lock().expect("no panic").is_empty());
    books(&pool);
}

#[test]
fn our_own_manager_is_an_r2d2_manager_like_any_other() {
    let (driver, script) = Fake::new(Transport::Tcp);
    let pool = Pool::builder().max_size(2).build(Foreign::new(Manager::new(driver)));
    let pool = pool.expect("the server is up");
    assert_eq!(pool.name(), "r2d2 Manager");
    script.server().close(1);
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    thread::scope(|scope| {
        let two: Vec<_> = (0..2).map(|_| scope.spawn(|| pool.get().is_ok())).collect();
        assert!(two.into_iter().all(|thread| thread.join().expect("no panic")));
    });
    drop(pool);
    until!(script.server().live() == 0);
}
