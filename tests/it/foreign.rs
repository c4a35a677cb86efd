//! Any r2d2 manager as a driver of our own pool.

use crate::common::PATIENCE;
use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, FakeManager, ManagerError, Script, Wire};
use crate::common::gate::Gate;
use crate::common::until;
use poolwarden::{
    Builder, CloseReason, ConnectFault, ErrorKind, Foreign, Manager, Pool, PooledConnection,
};
use std::error::Error as _;
use std::thread;
use std::time::{Duration, Instant};

type Knobs = Builder<Foreign<FakeManager>>;

fn pool(turn: impl FnOnce(Knobs) -> Knobs) -> (Pool<Foreign<FakeManager>>, Script) {
    let (manager, script) = FakeManager::new();
    let knobs = turn(Pool::builder().checkout_timeout(PATIENCE));
    (knobs.build_lazy(Foreign::new(manager)).expect("the knobs agree"), script)
}

#[test]
fn it_is_validated_at_every_check_out_but_the_first_on_a_thread_that_may_be_left_behind() {
    let (pool, script) = pool(|knobs| knobs.max_size(1));
    (0..4).for_each(|_| drop(pool.get().expect("it is valid")));
    assert_eq!(script.threads(At::Ping), ["poolwarden-ping"; 3]);
    assert_eq!((script.calls(At::Connect), script.calls(At::IsBroken)), (1, 4));
    books(&pool);
}

#[test]
fn what_its_manager_calls_broken_or_invalid_is_closed() {
    let (pool, script) = pool(|knobs| knobs.max_size(1));
    let mut conn = pool.get().expect("it opens");
    conn.broken = true;
    drop(conn);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Broken), 1);
    drop(pool.get().expect("it opens"));
    script.once(At::Ping, Act::Fault(ConnectFault::Other));
    assert_eq!(pool.get().expect("a new one is opened").number, 3);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingFailed), 1);
    books(&pool);
}

#[test]
fn a_validation_that_hangs_costs_no_more_than_ping_timeout_and_no_slot() {
    let bound = Duration::from_millis(100);
    let (pool, script) = pool(|knobs| knobs.max_size(2).ping_timeout(bound));
    drop(pool.get().expect("it opens"));
    let gate = Gate::shut();
    script.once(At::Ping, Act::Hang(gate.clone()));
    let began = Instant::now();
    let conn = pool.get().expect("a new one is opened");
    let took = began.elapsed();
    assert!(conn.number == 2 && took >= bound && took < Duration::from_secs(3), "{took:?}");
    // It keeps its place until the manager has come back.
    let now = pool.snapshot();
    assert_eq!((now.open, now.closing), (1, 1));
    gate.open();
    until(|| pool.snapshot().closed_by(CloseReason::PingTimeout) == 1);
    drop(conn);
    books(&pool);
}

/// The answer comes at the very instant at which nobody waits for it any more.
#[test]
fn a_validation_that_comes_back_at_its_deadline_is_either_in_time_or_a_time_out() {
    let bound = Duration::from_millis(3);
    let (pool, script) = pool(|knobs| knobs.max_size(4).ping_timeout(bound));
    for round in 0..100 {
        drop(pool.get().expect("it opens"));
        script.once(At::Ping, Act::Sleep(Duration::from_micros(2_600 + 6 * round)));
        drop(pool.get().expect("this one or another"));
    }
    books(&pool);
    let ends: Vec<_> = pool.snapshot().close_reasons().map(|(reason, _)| reason).collect();
    let expected = [CloseReason::PingTimeout, CloseReason::Condemned];
    assert!(ends.iter().all(|reason| expected.contains(reason)), "{ends:?}");
}

#[test]
fn its_error_is_the_source_of_ours() {
    let (pool, script) = pool(|knobs| knobs);
    script.once(At::Connect, Act::Fault(ConnectFault::Refused));
    let error = pool.get().expect_err("its manager fails");
    assert_eq!(error.connect_error().map(|e| e.fault()), Some(ConnectFault::Other));
    let source = error.source().and_then(|cause| cause.downcast_ref::<ManagerError>());
    assert_eq!(source, Some(&ManagerError));
    books(&pool);
}

#[test]
fn a_connect_that_hangs_holds_no_caller_beyond_its_deadline() {
    let (pool, script) = pool(|knobs| knobs.max_size(1));
    let gate = Gate::shut();
    script.once(At::Connect, Act::Hang(gate.clone()));
    let timeout = Duration::from_millis(50);
    let began = Instant::now();
    let error = pool.get_timeout(timeout).expect_err("it hangs");
    assert!(began.elapsed() >= timeout && began.elapsed() < Duration::from_secs(3));
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    gate.open();
    assert_eq!(pool.get().expect("it came late").number, 1);
    books(&pool);
}

#[test]
fn a_panic_of_its_manager_costs_no_slot() {
    for at in [At::Connect, At::Ping, At::IsBroken, At::Drop] {
        let (pool, script) = pool(|knobs| knobs.max_size(1));
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
    let (pool, _) = pool(|knobs| knobs);
    assert_eq!(pool.name(), "r2d2 FakeManager");
    books(&pool);
}

#[test]
fn our_own_manager_is_an_r2d2_manager_like_any_other() {
    let (driver, script) = Fake::new(Wire::Tcp);
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
    until(|| script.server().live() == 0);
}
