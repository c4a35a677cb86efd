//! After the last pool of a process is dropped, no thread and no descriptor is left.
//!
//! In a process of its own, because it counts threads and descriptors.

#[expect(dead_code, unused_imports, reason = "the other tests use more of it")]
#[path = "it/common/mod.rs"]
mod common;

use crate::common::fake::{Act, At, Fake, Transport};
use crate::common::{LONG_TIMEOUT, pool, until};
use parking_lot::Mutex;
use poolwarden::{Pool, PooledConnection};
use std::time::{Duration, Instant};
use support::wait::{eventually, open_fds, threads_named};

const TRANSPORTS: [Transport; 4] =
    [Transport::InProcess, Transport::Hidden, Transport::Unix, Transport::Tcp];

/// How long a thread of the crate may outlive the last pool.
const A_SECOND: Duration = Duration::from_secs(1);

/// Held by the test that runs: each counts what the whole process has.
static EXCLUSIVE: Mutex<()> = Mutex::new(());

#[test]
fn one_second_after_fifty_pools_are_dropped_no_thread_and_no_descriptor_is_left() {
    let _exclusive = EXCLUSIVE.lock();
    let before = open_fds();
    assert!(threads().is_empty(), "{:?}", threads());
    // The best of three: the computer may be busy.
    let best = (0..3).map(|_| use_and_drop_pools(before)).min().expect("three rounds");
    assert!(best <= A_SECOND, "the last thread ended after {best:?}");
}

#[test]
fn a_distant_deadline_whose_work_has_ended_keeps_no_thread() {
    let _exclusive = EXCLUSIVE.lock();
    let best = (0..3).map(|_| open_slowly_and_drop()).min().expect("three rounds");
    assert!(best <= A_SECOND, "the last thread ended after {best:?}");
}

fn threads() -> Vec<String> {
    threads_named("poolwarden-")
}

/// Returns how long the crate's threads still run.
fn time_until_threads_end() -> Duration {
    let began = Instant::now();
    assert!(eventually(LONG_TIMEOUT, || threads().is_empty()), "{:?} are left", threads());
    began.elapsed()
}

/// Uses and drops fifty pools; returns how long their threads still ran.
fn use_and_drop_pools(before: usize) -> Duration {
    let pools: Vec<Pool<Fake>> =
        (0..50).map(|number| a_used_pool(TRANSPORTS[number % 4])).collect();
    let held: Vec<_> = pools.iter().map(|pool| pool.get().expect("it opens")).collect();
    until!(pools.iter().all(|pool| pool.snapshot().levels.pending == 0));
    assert!(!threads().is_empty());
    drop(held);
    drop(pools);
    let took = time_until_threads_end();
    until!(open_fds() == before);
    took
}

fn a_used_pool(transport: Transport) -> Pool<Fake> {
    let (pool, _) = pool(transport, |options| {
        options.max_size(4).min_idle(1).ping_after(Duration::from_millis(1))
    });
    PooledConnection::discard(pool.get().expect("it opens"));
    drop(pool.get().expect("it opens"));
    let mut broken = pool.get().expect("it is idle");
    broken.broken = true;
    drop(broken);
    pool
}

/// A slow connect, with a timeout of ten seconds and more.
fn open_slowly_and_drop() -> Duration {
    let (pool, script) = pool(Transport::InProcess, |options| options);
    script.once(At::Connect, Act::Sleep(Duration::from_millis(250)));
    drop(pool.get().expect("it opens"));
    drop(pool);
    time_until_threads_end()
}
