//! Inside an async runtime, check-in and close neither panic nor block.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Script, Transport};
use crate::common::{LONG_TIMEOUT, pool, until};
use poolwarden::{ErrorKind, FaultClass, Pool, PooledConnection};
use std::time::Duration;
use support::place::Place;
use support::wait::within;
use tokio::runtime::{Builder, Handle, Runtime};

fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().build();
    let many = Builder::new_multi_thread().worker_threads(2).build();
    [one.expect("a runtime"), many.expect("a runtime")]
}

/// Makes the driver behave like postgres: blocking methods panic inside a runtime.
fn panic_inside_a_runtime(script: &Script) {
    let strict = || if Handle::try_current().is_ok() { Act::Panic } else { Act::Pass };
    [At::Connect, At::Ping, At::Drop].into_iter().for_each(|at| script.rule(at, strict));
    let blocks = || match Handle::try_current() {
        Ok(_) => Act::Fault(FaultClass::Other),
        Err(_) => Act::Pass,
    };
    script.rule(At::MayBlock, blocks);
}

/// Runs work in a task of the runtime; it must end within two seconds.
fn in_a_task(runtime: &Runtime, work: impl FnOnce() + Send + 'static) {
    let task = async move { within(Duration::from_secs(2), work) };
    let done = runtime.block_on(async { tokio::spawn(task).await });
    done.expect("no panic inside the runtime");
}

#[test]
fn a_healthy_a_broken_and_a_discarded_connection_are_dropped_without_blocking() {
    for runtime in runtimes() {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3));
        let [healthy, mut broken, unwanted] = [(); 3].map(|()| pool.get().expect("it opens"));
        panic_inside_a_runtime(&script);
        script.server().freeze();
        broken.broken = true;
        in_a_task(&runtime, move || {
            drop((healthy, broken));
            PooledConnection::discard(unwanted);
        });
        assert_eq!((pool.snapshot().levels.idle, pool.snapshot().closed()), (1, 2));
        script.server().thaw();
        until!(pool, script.calls(At::Drop) == 2);
        assert_eq!(script.threads(At::Drop), ["poolwarden-drop"; 2]);
        books(&pool);
    }
}

#[test]
fn the_last_handle_is_dropped_without_blocking() {
    for runtime in runtimes() {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3).min_idle(2));
        until!(pool, pool.snapshot().levels.idle == 2);
        let held = pool.get().expect("one is idle");
        panic_inside_a_runtime(&script);
        script.server().freeze();
        in_a_task(&runtime, move || drop(pool));
        in_a_task(&runtime, move || drop(held));
        script.server().thaw();
        until!(script.server().live() == 0);
        assert!(script.threads(At::Drop).iter().all(|thread| thread == "poolwarden-drop"));
    }
}

#[test]
fn a_healthy_idle_connection_is_handed_out_and_a_wait_is_refused() {
    for runtime in runtimes() {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
        drop(pool.get().expect("it opens"));
        panic_inside_a_runtime(&script);
        let inside = pool.clone();
        in_a_task(&runtime, move || {
            let held = inside.get().expect("one is idle");
            let error = inside.get().expect_err("this check-out would have to wait");
            assert_eq!(error.kind(), ErrorKind::AsyncContext);
            drop(held);
            assert!(inside.get().is_ok());
        });
        books(&pool);
    }
}

#[test]
fn inside_a_runtime_a_pool_opens_its_first_connection_on_another_thread() {
    for runtime in runtimes() {
        let (driver, script) = Fake::new(Transport::Tcp);
        panic_inside_a_runtime(&script);
        let built = runtime
            .block_on(async { Pool::builder().checkout_timeout(LONG_TIMEOUT).build(driver) });
        let pool = built.expect("build may wait");
        assert_eq!(script.threads(At::Connect), ["poolwarden-dial"]);
        books(&pool);
    }
}

/// Returns a pool whose only connection is checked out, and that connection.
fn exhausted(
    options: impl FnOnce(FakeBuilder) -> FakeBuilder,
) -> (Pool<Fake>, PooledConnection<Fake>, Script) {
    let (pool, script) = pool(Transport::Tcp, |builder| options(builder.max_size(1)));
    script.set_cancellable();
    let held = pool.get().expect("it opens");
    (pool, held, script)
}

type FakeBuilder = poolwarden::Builder<Fake>;

#[test]
fn a_wait_is_refused_wherever_other_tasks_wait_for_the_thread() {
    for place in Place::ASYNC {
        let (pool, held, _script) = exhausted(|options| options);
        let inside = pool.clone();
        let refused = place.run(move || inside.get().map(|_| ()).expect_err("it would wait"));
        assert_eq!(refused.kind(), ErrorKind::AsyncContext, "{place:?}: {refused}");
        assert!(refused.to_string().contains(pool.name()), "{refused}");
        drop(held);
        books(&pool);
    }
}

/// Asserts that a check-out in this place waits until its own timeout.
fn assert_waits(place: Place, configure: impl FnOnce(FakeBuilder) -> FakeBuilder) {
    let (pool, held, _script) = exhausted(configure);
    let (inside, short) = (pool.clone(), Duration::from_millis(50));
    let late = place.run(move || inside.get_timeout(short).map(|_| ()).expect_err("it is held"));
    assert_eq!(late.kind(), ErrorKind::CheckoutTimeout, "{place:?}: {late}");
    drop(held);
    books(&pool);
}

#[test]
fn a_wait_is_allowed_wherever_a_thread_may_block() {
    for place in Place::BLOCKING {
        assert_waits(place, |options| options);
    }
}

#[test]
fn a_program_that_blocks_such_threads_knowingly_may_wait_there() {
    for place in Place::ASYNC {
        assert_waits(place, |options| options.allow_async_threads(true));
    }
}

#[test]
fn a_connection_that_cannot_be_used_on_a_thread_is_not_handed_out_there() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    drop(pool.get().expect("it opens"));
    script.always(At::Usable, Act::Fault(FaultClass::Other));
    let error = pool.get().expect_err("its use would panic");
    assert_eq!(error.kind(), ErrorKind::AsyncContext);
    assert!(pool.try_get().is_none());
    assert_eq!((pool.snapshot().levels.idle, pool.snapshot().levels.in_use), (1, 0));
    books(&pool);
}

#[test]
fn where_other_tasks_wait_for_the_thread_a_close_does_not() {
    for place in Place::ASYNC {
        let (pool, held, _script) = exhausted(|options| options);
        let inside = pool.clone();
        let in_use = place.run(move || within(Duration::from_secs(5), || inside.close(HANGING)).0);
        assert_eq!(in_use.levels.in_use, 1, "{place:?}");
        assert_eq!(pool.get().expect_err("it is closed").kind(), ErrorKind::Closed);
        drop(held);
        until!(pool, pool.snapshot().levels.open == 0);
    }
}

/// Longer than any test may take.
const HANGING: Duration = Duration::from_secs(600);

#[test]
fn a_cancel_that_waits_for_a_server_is_refused_where_other_tasks_wait_for_the_thread() {
    for place in Place::ASYNC {
        let (pool, held, script) = exhausted(|options| options);
        let handle = PooledConnection::cancel_handle(&held);
        let refused = place.run(move || handle.cancel().expect_err("it would wait"));
        assert_eq!(refused.kind(), ErrorKind::AsyncContext, "{place:?}: {refused}");
        assert!(refused.to_string().starts_with(&format!("pool {}: ", pool.name())), "{refused}");
        assert_eq!(script.calls(At::Cancel), 0);
        drop(held);
        books(&pool);
    }
}
