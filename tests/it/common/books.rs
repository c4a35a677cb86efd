//! The books: what every test ends with.

use super::PATIENCE;
use super::fake::Scripted;
use poolwarden::{Driver, ErrorKind, Pool, PooledConnection, Snapshot};
use std::thread;
use std::time::{Duration, Instant};
use support::wait::eventually;

/// Asserts that nothing was lost and nothing was counted twice, however the test
/// went: all connections are accounted for, here and on the server, and the pool
/// can still have as many as it may.
#[track_caller]
pub fn books<D: Driver + Scripted>(pool: &Pool<D>) {
    pool.driver().script().heal();
    balanced(pool);
    full_house(pool);
    balanced(pool);
    let (most, cap) = (pool.driver().script().server().most(), pool.snapshot().max_size);
    assert!(most <= cap as usize, "{most} connections at a time, of {cap}");
}

/// As [`books`], for a pool that was closed.
#[track_caller]
pub fn closed_books<D: Driver + Scripted>(pool: &Pool<D>) {
    pool.driver().script().heal();
    balanced(pool);
    let end = pool.snapshot();
    assert_eq!((end.open, end.opened), (0, end.closed()), "{end}");
}

/// Waits until the pool is at rest and its levels, its totals and the server
/// agree: in a moment, unless something was lost.
#[track_caller]
fn balanced<D: Driver + Scripted>(pool: &Pool<D>) {
    let server = pool.driver().script().server();
    let rests = eventually(PATIENCE, || {
        let (now, live) = (pool.snapshot(), server.live());
        is_balanced(&now, live) && now == pool.snapshot() && live == server.live()
    });
    assert!(rests, "{} connections on the server, but {}", server.live(), pool.snapshot());
}

fn is_balanced(now: &Snapshot, live: usize) -> bool {
    now.open == now.idle + now.in_use
        && now.opened - now.closed() == u64::from(now.open)
        && (now.closing, now.pending, now.waiting, now.abandoned) == (0, 0, 0, 0)
        && live == now.open as usize
        && now.connect_attempts == now.opened + now.connect_failures
}

/// No slot is lost: as many connections as the cap allows, at the same time.
#[track_caller]
fn full_house<D: Driver>(pool: &Pool<D>) {
    let mut held = Vec::new();
    // What the pool may have can still grow, after a server was full.
    while pool.snapshot().in_use < pool.snapshot().max_size {
        held.push(one_more(pool));
    }
    assert_eq!(pool.snapshot().open, pool.snapshot().in_use);
    drop(held);
}

/// The pool may be right to report a failure of just before for 100 ms more.
#[track_caller]
fn one_more<D: Driver>(pool: &Pool<D>) -> PooledConnection<D> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match pool.get_timeout(PATIENCE) {
            Ok(conn) => return conn,
            Err(error) if error.kind() == ErrorKind::Connect && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("no further connection is to be had: {error}"),
        }
    }
}
