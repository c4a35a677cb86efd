//! Inside an async runtime: giving back and closing neither panic nor block.

use crate::common::books::books;
use crate::common::fake::{Act, At, Script, Wire};
use crate::common::{PATIENCE, pool, until};
use poolwarden::{ConnectFault, ErrorKind, PooledConnection};
use std::time::Duration;
use support::wait::within;
use tokio::runtime::{Builder, Handle, Runtime};

fn runtimes() -> [Runtime; 2] {
    let one = Builder::new_current_thread().build();
    let many = Builder::new_multi_thread().worker_threads(2).build();
    [one.expect("a runtime"), many.expect("a runtime")]
}

/// A driver like postgres: whatever of it blocks panics inside a runtime.
fn blocks_nowhere(script: &Script) {
    let strict = || if Handle::try_current().is_ok() { Act::Panic } else { Act::Pass };
    [At::Connect, At::Ping, At::Drop].into_iter().for_each(|at| script.rule(at, strict));
    let blocks = || match Handle::try_current() {
        Ok(_) => Act::Fault(ConnectFault::Other),
        Err(_) => Act::Pass,
    };
    script.rule(At::MayBlock, blocks);
}

/// Runs work in a task of each runtime; it may take no time to speak of.
fn in_a_task(runtime: &Runtime, work: impl FnOnce() + Send + 'static) {
    let task = async move { within(Duration::from_secs(2), work) };
    let done = runtime.block_on(async { tokio::spawn(task).await });
    done.expect("no panic inside the runtime");
}

#[test]
fn a_guard_a_broken_guard_and_a_discarded_one_are_dropped_without_blocking() {
    for runtime in runtimes() {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(3));
        let [fine, mut broken, unwanted] = [(); 3].map(|()| pool.get().expect("it opens"));
        blocks_nowhere(&script);
        script.server().freeze();
        broken.broken = true;
        in_a_task(&runtime, move || {
            drop((fine, broken));
            PooledConnection::discard(unwanted);
        });
        assert_eq!((pool.snapshot().idle, pool.snapshot().closed()), (1, 2));
        script.server().thaw();
        until(|| script.calls(At::Drop) == 2);
        assert_eq!(script.threads(At::Drop), ["poolwarden-drop"; 2]);
        books(&pool);
    }
}

#[test]
fn the_last_handle_is_dropped_without_blocking() {
    for runtime in runtimes() {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(3).min_idle(2));
        until(|| pool.snapshot().idle == 2);
        let held = pool.get().expect("one is idle");
        blocks_nowhere(&script);
        script.server().freeze();
        in_a_task(&runtime, move || drop(pool));
        in_a_task(&runtime, move || drop(held));
        script.server().thaw();
        until(|| script.server().live() == 0);
        assert!(script.threads(At::Drop).iter().all(|thread| thread == "poolwarden-drop"));
    }
}

#[test]
fn a_healthy_idle_connection_is_handed_out_and_a_wait_is_refused() {
    for runtime in runtimes() {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
        drop(pool.get().expect("it opens"));
        blocks_nowhere(&script);
        let inside = pool.clone();
        in_a_task(&runtime, move || {
            let held = inside.get().expect("one is idle");
            let error = inside.get().expect_err("this would have to wait");
            assert_eq!(error.kind(), ErrorKind::AsyncContext);
            drop(held);
            assert!(inside.get().is_ok());
        });
        books(&pool);
    }
}

#[test]
fn a_pool_is_built_inside_a_runtime_by_opening_on_another_thread() {
    for runtime in runtimes() {
        let (driver, script) = crate::common::fake::Fake::new(Wire::Tcp);
        blocks_nowhere(&script);
        let built = runtime.block_on(async {
            poolwarden::Pool::builder().checkout_timeout(PATIENCE).build(driver)
        });
        let pool = built.expect("the program starts, and may wait");
        assert_eq!(script.threads(At::Connect), ["poolwarden-dial"]);
        books(&pool);
    }
}
