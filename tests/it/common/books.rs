//! The books: the checks at the end of every test.

use super::LONG_TIMEOUT;
use super::fake::Scripted;
use poolwarden::driver::Driver;
use poolwarden::{ErrorKind, Pool, PooledConnection, Snapshot};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::eventually;

/// Asserts that no connection was lost or counted twice: the pool's counters and
/// the server's list agree, and the pool can still open `max_size` connections.
#[track_caller]
pub fn books<D: Driver + Scripted>(pool: &Pool<D>) {
    pool.driver().script().clear();
    balanced(pool);
    check_out_all(pool);
    balanced(pool);
    let (most, cap) = (pool.driver().script().server().most(), pool.snapshot().levels.max_size);
    assert!(most <= cap as usize, "{most} connections at a time, of {cap}");
}

/// As [`books`], for a pool that was closed.
#[track_caller]
pub fn closed_books<D: Driver + Scripted>(pool: &Pool<D>) {
    pool.driver().script().clear();
    balanced(pool);
    let end = pool.snapshot();
    assert_eq!((end.levels.open, end.opened), (0, end.closed()), "{end}");
}

/// Waits until the pool is at rest and its levels, its totals and the server's
/// list agree.
#[track_caller]
fn balanced<D: Driver + Scripted>(pool: &Pool<D>) {
    let server = pool.driver().script().server();
    // A close that the server does not confirm takes all of `close_grace`.
    let rests = eventually(2 * LONG_TIMEOUT, || {
        let (now, live) = (pool.snapshot(), server.live());
        is_balanced(&now, live) && now == pool.snapshot() && live == server.live()
    });
    assert!(rests, "{} connections on the server, but {}", server.live(), pool.snapshot());
}

fn is_balanced(now: &Snapshot, live: usize) -> bool {
    now.levels.open == now.levels.idle + now.levels.in_use
        && now.opened - now.closed() == u64::from(now.levels.open)
        && (now.levels.closing, now.levels.pending, now.levels.waiting, now.abandoned)
            == (0, 0, 0, 0)
        && live == now.levels.open as usize
        && now.connect_attempts == now.opened + now.connect_failures
}

/// Checks out `max_size` connections at the same time: no slot is lost.
#[track_caller]
fn check_out_all<D: Driver>(pool: &Pool<D>) {
    let mut held = Vec::new();
    // After saturation, the effective maximum still grows.
    while pool.snapshot().levels.in_use < pool.snapshot().levels.max_size {
        held.push(one_more(pool));
    }
    assert_eq!(pool.snapshot().levels.open, pool.snapshot().levels.in_use);
    drop(held);
}

/// Checks out one connection. The pool may still report a failure of the last 100 ms.
#[track_caller]
fn one_more<D: Driver>(pool: &Pool<D>) -> PooledConnection<D> {
    let deadline = Instant::now() + LONG_TIMEOUT;
    loop {
        match pool.get_timeout(LONG_TIMEOUT) {
            Ok(conn) => return conn,
            Err(error) if error.kind() == ErrorKind::Connect && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("no further connection could be checked out: {error}"),
        }
    }
}
