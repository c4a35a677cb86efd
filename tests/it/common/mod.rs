//! What the tests without a server share: a scripted driver, gates, the books.

pub mod books;
pub mod ear;
pub mod fake;
pub mod gate;

use crate::common::fake::{Fake, Script, Wire};
use poolwarden::{Builder, Error, Pool, PooledConnection};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use support::wait::eventually;

/// Longer than anything here takes on a loaded computer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Builds a lazy pool over a scripted driver, with a few knobs turned.
#[track_caller]
pub fn pool(wire: Wire, turn: impl FnOnce(Builder<Fake>) -> Builder<Fake>) -> (Pool<Fake>, Script) {
    pool_with(wire, |_| (), turn)
}

/// The same, with a script that holds from the first connection on.
#[track_caller]
pub fn pool_with(
    wire: Wire,
    write: impl FnOnce(&Script),
    turn: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Pool<Fake>, Script) {
    let (driver, script) = Fake::new(wire);
    write(&script);
    let builder = turn(Pool::builder().checkout_timeout(PATIENCE));
    (builder.build_lazy(driver).expect("the knobs agree"), script)
}

/// Waits until a condition holds; that it never does is a failure.
#[track_caller]
pub fn until(condition: impl FnMut() -> bool) {
    assert!(eventually(PATIENCE, condition), "it never came true");
}

/// The seed of a random test: another one each time, or the one in `TEST_SEED`.
/// Printed, so that a failure can be looked into.
pub fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("TEST_SEED={seed}");
    seed
}

/// Waits until so many callers wait in a pool's queue.
#[track_caller]
pub fn until_waiting(pool: &Pool<Fake>, callers: u32) {
    until(|| pool.snapshot().waiting == callers);
}

/// Opens so many connections and lets them idle; returns their numbers.
#[track_caller]
pub fn idle(pool: &Pool<Fake>, connections: usize) -> Vec<u64> {
    let held: Vec<_> = (0..connections).map(|_| pool.get().expect("it opens")).collect();
    held.iter().map(|conn| conn.number).collect()
}

/// A check-out under way on a thread of its own.
pub struct Caller {
    thread: JoinHandle<(Result<PooledConnection<Fake>, Error>, Duration)>,
}

/// Begins a check-out on another thread.
pub fn ask(pool: &Pool<Fake>, timeout: Duration) -> Caller {
    let pool = pool.clone();
    let thread = thread::spawn(move || {
        let began = Instant::now();
        let outcome = pool.get_timeout(timeout);
        (outcome, began.elapsed())
    });
    Caller { thread }
}

impl Caller {
    /// What came of it, and how long it took.
    #[track_caller]
    pub fn outcome(self) -> (Result<PooledConnection<Fake>, Error>, Duration) {
        self.thread.join().expect("no check-out panics")
    }

    #[track_caller]
    pub fn connection(self) -> PooledConnection<Fake> {
        self.outcome().0.expect("the check-out succeeds")
    }

    #[track_caller]
    pub fn error(self) -> Error {
        self.outcome().0.expect_err("the check-out fails")
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}
