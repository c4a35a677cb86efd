//! Inside an async runtime nothing panics and nothing blocks unasked.

use crate::flavour::{Flavour, Pg, shared_pg};
use poolwarden::{ErrorKind, Pool, PooledConnection, Postgres, Validation};
use std::time::{Duration, Instant};

fn runtimes() -> [tokio::runtime::Runtime; 2] {
    let one = tokio::runtime::Builder::new_current_thread().build();
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    [one.expect("a runtime"), many.expect("a runtime")]
}

fn pool(flavour: &Pg, validation: Validation) -> Pool<Postgres> {
    let builder = Pool::builder().max_size(2).validation(validation);
    builder.build(flavour.driver()).expect("the server is there")
}

/// Runs on a worker of the runtime and fails if that took long.
fn inside<T: Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let task = runtime.spawn(async move {
        let began = Instant::now();
        let result = work();
        assert!(began.elapsed() < Duration::from_millis(200), "blocked the runtime");
        result
    });
    runtime.block_on(task).expect("no panic")
}

#[test]
fn guards_broken_guards_and_the_last_handle_drop_inside_a_runtime() {
    let Some((flavour, database)) = shared_pg() else { return };
    for runtime in runtimes() {
        let healthy = pool(&flavour, Validation::Peek);
        let guard = healthy.get().expect("a connection");
        inside(&runtime, move || drop(guard));
        assert_eq!(healthy.snapshot().idle, 1);
        let mut broken = healthy.get().expect("a connection");
        database.terminate_all();
        assert!(broken.execute("select 1", &[]).is_err());
        inside(&runtime, move || drop(broken));
        let doomed = healthy.get().expect("a connection");
        inside(&runtime, move || PooledConnection::discard(doomed));
        inside(&runtime, move || drop(healthy));
    }
}

#[test]
fn a_get_that_needs_no_io_works_inside_a_runtime_and_any_other_is_refused() {
    let Some((flavour, _database)) = shared_pg() else { return };
    for runtime in runtimes() {
        let peeked = pool(&flavour, Validation::Peek);
        let healthy = peeked.clone();
        inside(&runtime, move || drop(healthy.get().expect("an idle connection")));
        let pinged = pool(&flavour, Validation::AlwaysPing);
        drop(pinged.get().expect("a connection"));
        let (ping, query) = (pinged.clone(), pinged.clone());
        let refused = inside(&runtime, move || ping.get().map(drop).expect_err("a ping"));
        assert_eq!(refused.kind(), ErrorKind::AsyncContext, "{refused}");
        let refused =
            inside(&runtime, move || query.query("select 1", &[]).map(drop).expect_err("a query"));
        assert_eq!(refused.kind(), ErrorKind::AsyncContext, "{refused}");
        assert_eq!(pinged.snapshot().closed(), 0, "a refusal costs no connection");
        let empty = Pool::builder().build_lazy(flavour.driver()).expect("knobs agree");
        let refused = inside(&runtime, move || empty.get().map(drop).expect_err("a dial"));
        assert_eq!(refused.kind(), ErrorKind::AsyncContext, "{refused}");
    }
}

#[test]
fn a_thread_for_blocking_work_may_do_everything() {
    let Some((flavour, _database)) = shared_pg() else { return };
    for runtime in runtimes() {
        let pool = pool(&flavour, Validation::AlwaysPing);
        let work = runtime.block_on(async move {
            tokio::task::spawn_blocking(move || {
                drop(pool.get().expect("a ping is allowed"));
                pool.query("select 1", &[]).expect("a query is allowed").len()
            })
            .await
        });
        assert_eq!(work.expect("no panic"), 1);
    }
}

#[test]
fn a_pool_may_be_built_where_an_async_program_starts() {
    let Some((flavour, _database)) = shared_pg() else { return };
    for runtime in runtimes() {
        let flavour = flavour.clone();
        let pool = runtime.block_on(async move { pool(&flavour, Validation::Peek) });
        assert!(pool.query("select 1", &[]).is_ok());
    }
}
