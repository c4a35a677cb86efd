//! Inside an async runtime no call panics or blocks without leave.

use crate::variant::{Pg, Variant, shared_my, shared_pg};
use mysql::prelude::Queryable;
#[cfg(feature = "sqlite")]
use poolwarden::Sqlite;
use poolwarden::{Error, ErrorKind, MySql, Pool, PooledConnection, Postgres, Validation};
use std::time::{Duration, Instant};
use support::mariadb;
use support::place::Place;
use support::wait::{eventually, within};

fn runtimes() -> [tokio::runtime::Runtime; 2] {
    let one = tokio::runtime::Builder::new_current_thread().build();
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    [one.expect("a runtime"), many.expect("a runtime")]
}

fn pool(variant: &Pg, validation: Validation) -> Pool<Postgres> {
    let builder = Pool::builder().max_size(2).validation(validation);
    builder.build(variant.driver()).expect("the server accepts")
}

/// Runs on a worker of the runtime and fails if it takes long.
fn inside<T: Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let task = runtime.spawn(async move {
        let began = Instant::now();
        let result = work();
        assert!(began.elapsed() < QUICKLY, "blocked the runtime");
        result
    });
    runtime.block_on(task).expect("no panic")
}

#[test]
fn guards_broken_connections_and_the_last_handle_can_be_dropped_inside_a_runtime() {
    let Some((variant, database)) = shared_pg() else { return };
    for runtime in runtimes() {
        let healthy = pool(&variant, Validation::Peek);
        let guard = healthy.get().expect("a connection");
        inside(&runtime, move || drop(guard));
        assert_eq!(healthy.snapshot().levels.idle, 1);
        let mut broken = healthy.get().expect("a connection");
        database.terminate_all();
        assert!(broken.execute("select 1", &[]).is_err());
        inside(&runtime, move || drop(broken));
        let unwanted = healthy.get().expect("a connection");
        inside(&runtime, move || PooledConnection::discard(unwanted));
        inside(&runtime, move || drop(healthy));
    }
}

/// Runs work at a place where other tasks wait for the thread; it must be refused quickly.
fn refusal<T>(place: Place, work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Error {
    let (error, _) = place.run(move || within(QUICKLY, || work().err()));
    let error = error.unwrap_or_else(|| panic!("{place:?}: it was not refused"));
    assert_eq!(error.kind(), ErrorKind::AsyncContext, "{place:?}: {error}");
    error
}

/// Far less than any wait that these tests provoke.
const QUICKLY: Duration = Duration::from_secs(5);

#[test]
fn where_postgres_would_panic_no_connection_is_handed_out_and_no_query_runs() {
    let Some((variant, _database)) = shared_pg() else { return };
    let peeked = pool(&variant, Validation::Peek);
    for place in Place::ASYNC {
        let (get, attempt, query) = (peeked.clone(), peeked.clone(), peeked.clone());
        refusal(place, move || get.get());
        assert!(place.run(move || attempt.try_get().is_none()), "{place:?}");
        refusal(place, move || query.query("select 1", &[]));
        let transaction = peeked.clone();
        refusal(place, move || transaction.transaction(|tx| Ok(tx.execute("select 1", &[])?)));
        let empty = Pool::builder().build_lazy(variant.driver()).expect("options agree");
        refusal(place, move || empty.get());
    }
    let totals = peeked.snapshot();
    assert_eq!((totals.levels.idle, totals.closed()), (1, 0), "a refusal closes no connection");
}

#[test]
fn a_postgres_guard_for_another_thread_is_handed_out_if_such_threads_may_be_blocked() {
    let Some((variant, _database)) = shared_pg() else { return };
    let builder = Pool::builder().max_size(1).allow_async_threads(true);
    let pool = builder.build(variant.driver()).expect("the server accepts");
    for place in Place::ASYNC {
        let (inside, query) = (pool.clone(), pool.clone());
        let mut guard = place.run(move || inside.get().expect("an idle connection"));
        assert!(guard.execute("select 1", &[]).is_ok());
        let waiting = pool.clone();
        let release = std::thread::spawn(move || {
            let waits = || waiting.snapshot().levels.waiting == 1;
            assert!(eventually(Duration::from_secs(60), waits), "no caller waits");
            drop(guard);
        });
        let inside = pool.clone();
        drop(place.run(move || inside.get().expect("it waits")));
        release.join().expect("a caller waited");
        refusal(place, move || query.query("select 1", &[]));
    }
}

#[test]
fn mysql_refuses_what_blocks_and_hands_out_what_does_not() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("the server accepts");
    for place in Place::ASYNC {
        let (inside, query) = (pool.clone(), pool.clone());
        let held = place.run(move || inside.get().expect("an idle connection"));
        let wait = pool.clone();
        let error = refusal(place, move || wait.get());
        assert!(error.to_string().starts_with(&format!("pool {}: ", pool.name())), "{error}");
        drop(held);
        refusal(place, move || query.query::<i64>("select 1"));
    }
    for place in Place::BLOCKING {
        let query = pool.clone();
        let ones = place.run(move || query.query::<i64>("select 1").expect("allowed"));
        assert_eq!(ones, [1], "{place:?}");
    }
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_used_mysql_guard_is_dropped_without_waiting_for_a_frozen_server() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let builder = Pool::builder().max_size(1).ping_timeout(Duration::from_secs(20));
    let pool = builder.build(MySql::new(&database.url()).expect("a driver")).expect("it accepts");
    for place in Place::ASYNC {
        let mut guard = pool.get().expect("a connection");
        guard.query_drop("set @left = 1").expect("a statement");
        server.freeze();
        place.run(move || within(QUICKLY, || drop(guard)));
        server.thaw();
    }
    assert!(pool.query::<i64>("select 1").is_ok());
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_refuses_queries_unless_such_threads_may_be_blocked() {
    let strict = Pool::builder().build(Sqlite::memory()).expect("a database");
    let knowing = Pool::builder().allow_async_threads(true).build(Sqlite::memory());
    let knowing = knowing.expect("a database");
    for place in Place::ASYNC {
        let (refused, allowed) = (strict.clone(), knowing.clone());
        let query = |pool: &Pool<Sqlite>| pool.query("select 1", [], |row| row.get::<_, i64>(0));
        refusal(place, move || query(&refused));
        assert_eq!(place.run(move || query(&allowed)).expect("allowed"), [1], "{place:?}");
    }
}

#[test]
fn where_a_thread_may_block_postgres_pings_and_queries() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = pool(&variant, Validation::AlwaysPing);
    for place in Place::BLOCKING {
        let inside = pool.clone();
        let rows = place.run(move || {
            drop(inside.get().expect("a ping is allowed"));
            inside.query("select 1", &[]).expect("a query is allowed").len()
        });
        assert_eq!(rows, 1, "{place:?}");
    }
}

#[test]
fn a_pool_may_be_built_inside_a_runtime() {
    let Some((variant, _database)) = shared_pg() else { return };
    for runtime in runtimes() {
        let variant = variant.clone();
        let pool = runtime.block_on(async move { pool(&variant, Validation::Peek) });
        assert!(pool.query("select 1", &[]).is_ok());
    }
}
