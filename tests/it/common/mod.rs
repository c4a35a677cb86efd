//! What the tests without a server share: a scripted driver, gates, the books.

pub mod books;
pub mod fake;
pub mod gate;
pub mod recorder;

use crate::common::fake::{Fake, Script, Transport};
use poolwarden::{Builder, Error, Pool, PooledConnection};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longer than any operation here takes on a loaded computer.
pub const LONG_TIMEOUT: Duration = Duration::from_secs(20);
/// How long `until!` waits: far longer than anything takes on a busy computer.
pub const LONG_WAIT: Duration = Duration::from_secs(60);

/// Builds a lazy pool over a scripted driver, with the given options.
#[track_caller]
pub fn pool(
    transport: Transport,
    configure: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Pool<Fake>, Script) {
    pool_with(transport, |_| (), configure)
}

/// As [`pool`], with a script that is in effect from the first connection on.
#[track_caller]
pub fn pool_with(
    transport: Transport,
    write: impl FnOnce(&Script),
    configure: impl FnOnce(Builder<Fake>) -> Builder<Fake>,
) -> (Pool<Fake>, Script) {
    let (driver, script) = Fake::new(transport);
    write(&script);
    let builder = Pool::builder().checkout_timeout(LONG_TIMEOUT);
    let builder = match transport {
        // A server that confirms a close late, on a loaded computer or after a freeze, still
        // counts the connection: its permit must not be released before.
        Transport::Tcp => builder.close_grace(LONG_TIMEOUT),
        // An aborted unix socket never shows the confirmation.
        Transport::InProcess | Transport::Hidden | Transport::Unix => builder,
    };
    let builder = configure(builder);
    (builder.build_lazy(driver).expect("the options agree"), script)
}

/// Waits until a condition holds; panics with the condition and, where a pool is
/// given, its snapshot, if it never does.
macro_rules! until {
    ($condition:expr) => {{
        let holds = support::wait::eventually($crate::common::LONG_WAIT, || $condition);
        assert!(holds, "{} never held", stringify!($condition));
    }};
    ($pool:expr, $condition:expr) => {{
        let holds = support::wait::eventually($crate::common::LONG_WAIT, || $condition);
        assert!(holds, "{} never held: {}", stringify!($condition), $pool.snapshot());
    }};
}
pub(crate) use until;

/// Returns the seed of a random test: a new one each time, or the one in `TEST_SEED`.
/// Prints it, so that a failure can be reproduced.
pub fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("TEST_SEED={seed}");
    seed
}

/// Waits until this number of callers wait in a pool's queue.
#[track_caller]
pub fn until_waiting(pool: &Pool<Fake>, callers: u32) {
    until!(pool, pool.snapshot().levels.waiting == callers);
}

/// Opens this number of connections and lets them idle; returns their numbers.
#[track_caller]
pub fn idle(pool: &Pool<Fake>, connections: usize) -> Vec<u64> {
    let held: Vec<_> = (0..connections).map(|_| pool.get().expect("it opens")).collect();
    held.iter().map(|conn| conn.number).collect()
}

/// A check-out that runs on a thread of its own.
pub struct Caller {
    thread: JoinHandle<(Result<PooledConnection<Fake>, Error>, Duration)>,
}

/// Starts a check-out on another thread.
pub fn start_checkout(pool: &Pool<Fake>, timeout: Duration) -> Caller {
    let pool = pool.clone();
    let thread = thread::spawn(move || {
        let began = Instant::now();
        let outcome = pool.get_timeout(timeout);
        (outcome, began.elapsed())
    });
    Caller { thread }
}

/// Starts this number of check-outs, which wait at the same time and then time out.
///
/// Their timeout is as short as the computer allows: on a busy one the first have left before
/// the last begin, and all start over with a longer one.
#[track_caller]
pub fn start_checkouts_that_time_out(pool: &Pool<Fake>, callers: u32) -> Vec<Caller> {
    let mut timeout = Duration::from_millis(40);
    loop {
        let started: Vec<_> = (0..callers).map(|_| start_checkout(pool, timeout)).collect();
        let mut all_wait = false;
        until!(pool, {
            all_wait = pool.snapshot().levels.waiting == callers;
            all_wait || started.iter().any(Caller::is_finished)
        });
        if all_wait {
            return started;
        }
        started.into_iter().for_each(|caller| drop(caller.error()));
        timeout *= 4;
    }
}

impl Caller {
    /// Returns the result and the time that it took.
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
