//! Idle timeout and lifetime stay below the server's and a proxy's limits, and max size
//! changes at run time.

use crate::variant::{My, Ours, Pg, Subject, Variant, fill};
use poolwarden::{CloseReason, ErrorKind, Pool, Validation};
use std::time::Duration;
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// A quiet pool without validation on a server that ends idle sessions after
/// 3 s: used every 2.8 s, it never uses a closed connection.
fn quiet<F: Variant>(variant: &F) {
    let builder = Pool::builder().max_size(3).validation(Validation::Off);
    let ours: Ours<F> = Ours(builder.build(variant.driver()).expect("the server accepts"));
    fill(&ours.0);
    for pause in [2_450, 2_800, 3_300] {
        std::thread::sleep(Duration::from_millis(pause));
        assert_eq!(ours.work(), Ok(()), "{}", ours.0.snapshot());
    }
    let books = ours.0.snapshot();
    assert_eq!(
        books.closed_by(CloseReason::IdleTimeout) + books.closed_by(CloseReason::MaxLifetime),
        books.closed(),
        "{books}"
    );
    assert!(books.closed() >= 3, "{books}");
}

#[test]
fn a_quiet_pool_without_validation_uses_no_session_that_postgres_timed_out() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.set("idle_session_timeout", "3s");
    });
    quiet(&Pg::new(server.url("postgres", "postgres")));
}

#[test]
fn a_quiet_pool_without_validation_uses_no_session_that_mariadb_timed_out() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::with(|conf| {
        conf.set("wait-timeout", "3");
    });
    let database = server.fresh_database();
    quiet(&My::new(database.url()));
}

#[test]
fn a_configured_proxy_limit_shortens_idle_timeout_and_lifetime() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let limit = Duration::from_secs(2);
    let builder = Pool::builder().max_size(2).min_idle(1).proxy_max_lifetime(limit);
    let pool = builder.build(Pg::new(database.url()).driver()).expect("a pool");
    let replaced = || pool.snapshot().closed_by(CloseReason::MaxLifetime) >= 1;
    assert!(eventually(Duration::from_millis(1_990), replaced), "{}", pool.snapshot());
    let strict = Pool::builder().strict_limits(true).proxy_idle_timeout(limit);
    let error = strict.build(Pg::new(database.url()).driver()).map(drop).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("proxy_idle_timeout, 2s"), "{error}");
}

#[test]
fn raising_max_size_wakes_waiters_and_lowering_it_closes_idle_first_and_busy_at_check_in() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = Pool::builder().max_size(1).build(Pg::new(database.url()).driver()).expect("a pool");
    let first = pool.get().expect("the only one");
    let second = std::thread::scope(|scope| {
        let waiter = scope.spawn(|| pool.get());
        assert!(
            eventually(Duration::from_secs(5), || pool.snapshot().levels.waiting == 1),
            "{}",
            pool.snapshot()
        );
        pool.set_max_size(6).expect("more");
        waiter.join().expect("no panic").expect("a waiter is served at once")
    });
    let rest: Vec<_> = (0..4).map(|_| pool.get().expect("room")).collect();
    drop(rest);
    assert_eq!((pool.snapshot().levels.in_use, pool.snapshot().levels.idle), (2, 4));
    pool.set_max_size(3).expect("fewer");
    let books = pool.snapshot();
    assert_eq!((books.levels.in_use, books.levels.idle), (2, 1), "{books}");
    pool.set_max_size(1).expect("fewer");
    assert_eq!(pool.snapshot().levels.idle, 0);
    drop(first);
    assert_eq!((pool.snapshot().levels.in_use, pool.snapshot().levels.idle), (1, 0));
    drop(second);
    assert_eq!((pool.snapshot().levels.in_use, pool.snapshot().levels.idle), (0, 1));
    // The last close is reported by another thread.
    let surplus = || pool.snapshot().closed_by(CloseReason::Surplus) == 5;
    assert!(eventually(Duration::from_secs(5), surplus), "{}", pool.snapshot());
    let error = pool.set_max_size(0).expect_err("none");
    assert!(error.to_string().contains("set_max_size(0)"), "{error}");
}

#[test]
fn retire_all_closes_idle_connections_immediately_and_busy_ones_at_check_in_on_postgres() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = Pool::builder().max_size(4).build(Pg::new(database.url()).driver()).expect("a pool");
    fill(&pool);
    let mut busy = pool.get().expect("a connection");
    pool.retire_all();
    assert_eq!((pool.snapshot().levels.idle, pool.snapshot().levels.in_use), (0, 1));
    busy.execute("select 1", &[]).expect("it is not interrupted");
    drop(busy);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Retired), 4);
    drop(pool.get().expect("a new one"));
    assert_eq!((pool.snapshot().levels.idle, pool.snapshot().opened), (1, 5));
}
