//! A process that temporarily runs out of threads or descriptors loses no permit.

use crate::variant::{My, Pg, Variant};
use poolwarden::driver::Driver;
use poolwarden::{Pool, PooledConnection};
use std::mem;
use std::time::Duration;
use support::shortage::{in_child, in_child_with};
use support::wait::{eventually, threads_named};
use support::{mariadb, postgres as pg};

const SIZE: u32 = 4;
const SOON: Duration = Duration::from_secs(20);

fn pool<D: Driver>(driver: D) -> Pool<D> {
    Pool::builder().max_size(SIZE).build(driver).expect("the server accepts")
}

fn take_all<D: Driver>(pool: &Pool<D>) -> Vec<PooledConnection<D>> {
    (0..SIZE).map(|_| pool.get_timeout(SOON).expect("a permit")).collect()
}

/// Waits until the closer's thread has ended because it was idle.
fn until_no_closer() {
    assert!(eventually(SOON, || threads_named("poolwarden-closer").is_empty()));
}

/// Closes all connections while no thread can be started; afterwards all permits are free.
fn lose_all_without_threads<D: Driver>(driver: D, limits: &support::shortage::Limits) {
    let pool = pool(driver);
    for _ in 0..2 {
        let held = take_all(&pool);
        until_no_closer();
        let shortage = limits.threads();
        held.into_iter().for_each(PooledConnection::discard);
        assert!(pool.get_timeout(Duration::from_millis(200)).is_err());
        assert_eq!(pool.snapshot().levels.closing, SIZE, "{}", pool.snapshot());
        drop(shortage);
        drop(take_all(&pool));
    }
}

#[test]
fn postgres_connections_that_no_thread_could_close_are_closed_once_a_thread_starts() {
    if !pg::available() {
        return;
    }
    let urls = || {
        let database = pg::shared().fresh_database();
        format!("{}\n{}", database.url(), database.unix_url())
    };
    in_child_with(urls, |limits, urls| {
        urls.lines().for_each(|url| lose_all_without_threads(Pg::new(url.into()).driver(), limits));
    });
}

#[test]
fn mariadb_connections_that_no_thread_could_close_are_closed_once_a_thread_starts() {
    if !mariadb::available() {
        return;
    }
    let urls = || {
        let database = mariadb::shared().fresh_database();
        format!("{}\n{}", database.url(), database.unix_url())
    };
    in_child_with(urls, |limits, urls| {
        urls.lines().for_each(|url| lose_all_without_threads(My::new(url.into()).driver(), limits));
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_connections_that_no_thread_could_close_are_closed_once_a_thread_starts() {
    in_child(|limits| lose_all_without_threads(poolwarden::Sqlite::memory(), limits));
}

#[test]
fn in_a_bare_r2d2_pool_connections_that_no_thread_could_close_lose_no_permit() {
    if !pg::available() {
        return;
    }
    in_child_with(
        || pg::shared().fresh_database().url(),
        |limits, url| {
            let builder = Pool::builder().max_size(SIZE).checkout_timeout(SOON);
            let manager = builder.manager(Pg::new(url.into()).driver()).expect("the options agree");
            let pool = manager.builder().build(manager).expect("the server accepts");
            let mut held: Vec<_> = (0..SIZE).map(|_| pool.get().expect("a permit")).collect();
            until_no_closer();
            let shortage = limits.threads();
            for client in &mut held {
                assert!(client.batch_execute("copy pg_class from stdin").is_err());
                assert!(
                    client.batch_execute("select pg_terminate_backend(pg_backend_pid())").is_err()
                );
            }
            drop(held);
            drop(shortage);
            let held: Vec<_> = (0..SIZE).map(|_| pool.get().expect("a permit")).collect();
            assert_eq!(held.len(), SIZE as usize);
        },
    );
}

#[test]
fn connections_are_closed_even_without_a_free_descriptor() {
    if !pg::available() {
        return;
    }
    in_child_with(
        || pg::shared().fresh_database().url(),
        |limits, url| {
            let pool = pool(Pg::new(url.into()).driver());
            let held = take_all(&pool);
            until_no_closer();
            let shortage = limits.descriptors(0);
            held.into_iter().for_each(PooledConnection::discard);
            let closed = || pool.snapshot().levels.closing == 0;
            assert!(eventually(SOON, closed), "{}", pool.snapshot());
            drop(shortage);
            drop(take_all(&pool));
        },
    );
}

#[test]
fn a_hanging_close_waits_for_a_thread_of_its_own_and_delays_no_other() {
    if !pg::available() {
        return;
    }
    in_child_with(
        || pg::shared().fresh_database().unix_url(),
        |limits, url| {
            let pool = pool(Pg::new(url.into()).driver());
            let mut held = take_all(&pool);
            // The driver waits for ever for the reader of these rows.
            let mut client = held.pop().expect("a connection");
            let rows = client.query_raw("select generate_series(1, 90000)", [0i32; 0]);
            mem::forget(rows.expect("rows"));
            PooledConnection::discard(held.pop().expect("one that starts the closer"));
            let shortage = limits.threads();
            PooledConnection::discard(client);
            std::thread::sleep(Duration::from_millis(100));
            drop(shortage);
            held.into_iter().for_each(PooledConnection::discard);
            let served = || pool.get_timeout(SOON).is_ok();
            assert!(served(), "{}", pool.snapshot());
            let closed = || pool.snapshot().levels.closing <= 1;
            assert!(eventually(SOON, closed), "{}", pool.snapshot());
        },
    );
}

#[test]
fn a_pool_closed_without_threads_closes_its_connections_while_it_waits() {
    if !pg::available() {
        return;
    }
    in_child_with(
        || pg::shared().fresh_database().url(),
        |limits, url| {
            let pool = pool(Pg::new(url.into()).driver());
            drop(take_all(&pool));
            until_no_closer();
            let shortage = limits.threads();
            let left = pool.close(Duration::from_millis(100));
            assert_eq!(left.levels.closing, SIZE, "{left}");
            drop(shortage);
            let left = pool.close(SOON);
            assert_eq!((left.levels.open, left.levels.closing), (0, 0), "{left}");
        },
    );
}

#[test]
fn housekeeping_closes_connections_that_no_thread_could_close_without_a_caller() {
    if !pg::available() {
        return;
    }
    in_child_with(
        || pg::shared().fresh_database().url(),
        |limits, url| {
            let pool = pool(Pg::new(url.into()).driver());
            let mut held = take_all(&pool);
            drop(held.pop());
            until_no_closer();
            let shortage = limits.threads();
            held.into_iter().for_each(PooledConnection::discard);
            drop(shortage);
            let closed = || pool.snapshot().levels.closing == 0;
            assert!(eventually(SOON, closed), "{}", pool.snapshot());
        },
    );
}
