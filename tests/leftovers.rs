//! What is left in the process when the last pool is gone: nothing.
//!
//! Alone in its process, because it counts threads and descriptors.

// Other tests use more of it.
#[allow(dead_code, unused_imports)]
#[path = "it/common/mod.rs"]
mod common;

use crate::common::fake::{Act, At, Fake, Wire};
use crate::common::{PATIENCE, pool, until};
use parking_lot::Mutex;
use poolwarden::{Pool, PooledConnection};
use std::time::{Duration, Instant};
use support::wait::{eventually, open_fds, threads_named};

const WIRES: [Wire; 4] = [Wire::InProcess, Wire::Hidden, Wire::Unix, Wire::Tcp];

/// How long a thread of the crate may outlive the last pool.
const A_SECOND: Duration = Duration::from_secs(1);

/// One test at a time: each counts what the whole process has.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_second_after_the_last_of_fifty_pools_no_thread_and_no_descriptor_is_left() {
    let _alone = ALONE.lock();
    let before = open_fds();
    assert!(threads().is_empty(), "{:?}", threads());
    // The best of three: this computer may be busy, the threads are not.
    let best = (0..3).map(|_| live_and_leave(before)).min().expect("three rounds");
    assert!(best <= A_SECOND, "the last thread went after {best:?}");
}

#[test]
fn a_deadline_that_was_far_away_when_its_work_ended_keeps_no_thread() {
    let _alone = ALONE.lock();
    let best = (0..3).map(|_| open_slowly_and_leave()).min().expect("three rounds");
    assert!(best <= A_SECOND, "the last thread went after {best:?}");
}

fn threads() -> Vec<String> {
    threads_named("poolwarden-")
}

/// How long the crate's threads stay, from now on.
fn time_to_go() -> Duration {
    let began = Instant::now();
    assert!(eventually(PATIENCE, || threads().is_empty()), "{:?} are left", threads());
    began.elapsed()
}

/// Fifty pools that have seen everything; returns how long their threads stayed.
fn live_and_leave(before: usize) -> Duration {
    let pools: Vec<Pool<Fake>> = (0..50).map(|number| a_used_pool(WIRES[number % 4])).collect();
    let held: Vec<_> = pools.iter().map(|pool| pool.get().expect("it opens")).collect();
    until(|| pools.iter().all(|pool| pool.snapshot().pending == 0));
    assert!(!threads().is_empty());
    drop(held);
    drop(pools);
    let took = time_to_go();
    until(|| open_fds() == before);
    took
}

fn a_used_pool(wire: Wire) -> Pool<Fake> {
    let (pool, _) =
        pool(wire, |knobs| knobs.max_size(4).min_idle(1).ping_after(Duration::from_millis(1)));
    PooledConnection::discard(pool.get().expect("it opens"));
    drop(pool.get().expect("it opens"));
    let mut broken = pool.get().expect("it is idle");
    broken.broken = true;
    drop(broken);
    pool
}

/// A connect that takes its time, with a time-out of ten seconds and more.
fn open_slowly_and_leave() -> Duration {
    let (pool, script) = pool(Wire::InProcess, |knobs| knobs);
    script.once(At::Connect, Act::Sleep(Duration::from_millis(250)));
    drop(pool.get().expect("it opens"));
    drop(pool);
    time_to_go()
}
