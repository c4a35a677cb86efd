//! No borrower ever reads another's reply, whatever happens to its connection.
//!
//! Each operation carries a number that no other has, and checks that what it reads
//! is its own; meanwhile connections are closed, stalled, half closed, killed and sent
//! unsolicited replies. `NONCE_OPERATIONS` sets the number of operations
//! for each server, `NONCE_SEED` repeats a run's choices; `tests/run.sh
//! million` runs a million.

mod faults;
mod mariadb;
mod postgres;

use crate::variant::Variant;
use fastrand::Rng;
use parking_lot::{Mutex, RwLock};
use poolwarden::{Pool, Reset};
use std::collections::BTreeMap;
use std::env;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::proxy::{Fault, Proxy};
use support::wait::{eventually, within};

/// The number of operations by default.
const OPERATIONS: u64 = 3_000;
/// The operations of one pool behind one proxy; a longer run has several pools.
const ROUND: u64 = 20_000;
const THREADS: u64 = 12;
const CONNECTIONS: u32 = 6;
/// The row limit of the pool's own queries.
const ROW_LIMIT: usize = 200;

/// A server to which operations send their numbers.
trait NonceVariant: Variant {
    /// All operations with their names and weights: those that
    /// cost a connection are rarer.
    const OPERATIONS: &'static [(&'static str, usize, Operation<Self>)];
    /// Returns a reply that another borrower might have got.
    fn stray(number: u64, random: &mut Rng) -> Vec<u8>;
    /// Kills or cancels one of the sessions on the server.
    fn disturb_session(&self, random: &mut Rng);
    /// Returns the number of the pool's sessions on the server.
    fn sessions(&self) -> usize;
}

type Operation<F> = fn(&Pool<<F as Variant>::Driver>, &Nonce<'_>) -> Result<(), Failure>;

/// How often each operation succeeded, and how often it failed.
type Outcomes = BTreeMap<&'static str, (u64, u64)>;

/// The number of faults of each kind.
type Faults = BTreeMap<&'static str, u64>;

/// The reason for which an operation failed, which the faults cause.
struct Failure(String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.to_string())
    }
}

/// The number of one operation.
struct Nonce<'a> {
    number: u64,
    operation: &'static str,
    mixed_up: &'a Mutex<Vec<String>>,
}

impl Nonce<'_> {
    fn sql(&self) -> i64 {
        self.number.cast_signed()
    }

    /// Checks that the value read is this operation's own.
    fn is<T: PartialEq + Debug>(&self, read: T, own: T) {
        if read != own {
            let text = format!("{} {}: read {read:?}, not {own:?}", self.operation, self.number);
            self.mixed_up.lock().push(text);
        }
    }
}

/// The payload of an intended panic.
struct IntendedPanic;

fn panic_on_purpose() -> ! {
    resume_unwind(Box::new(IntendedPanic))
}

/// The state that all threads of a round share.
struct Round<'a, F: NonceVariant> {
    pool: &'a Pool<F::Driver>,
    /// Held for writing while no operation may run.
    work: RwLock<()>,
    mixed_up: Mutex<Vec<String>>,
    outcomes: Mutex<Outcomes>,
    next: AtomicU64,
    last: u64,
    stop: AtomicBool,
}

impl<F: NonceVariant> Round<'_, F> {
    fn work(&self, mut random: Rng) {
        loop {
            let number = self.next.fetch_add(1, SeqCst);
            if number >= self.last || !self.mixed_up.lock().is_empty() {
                return;
            }
            let (operation, run) = pick::<F>(&mut random);
            let nonce = Nonce { number, operation, mixed_up: &self.mixed_up };
            let fine = self.run_until_connected(run, &nonce);
            let mut outcomes = self.outcomes.lock();
            let (good, bad) = outcomes.entry(operation).or_default();
            *(if fine { good } else { bad }) += 1;
        }
    }
}

impl<F: NonceVariant> Round<'_, F> {
    /// Retries until a connection can be opened; returns `true` if the operation succeeded.
    fn run_until_connected(&self, run: Operation<F>, nonce: &Nonce<'_>) -> bool {
        loop {
            let at_work = self.work.read();
            let outcome = catch_unwind(AssertUnwindSafe(|| run(self.pool, nonce)));
            drop(at_work);
            match outcome {
                Ok(Ok(())) => return true,
                // Fails immediately until a connection can be opened.
                Ok(Err(Failure(text))) if text.contains("cannot connect to") => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Err(Failure(text))) => {
                    // No operation keeps a connection for long.
                    nonce.is(text.contains("no connection within"), false);
                    return false;
                }
                Err(payload) if payload.is::<IntendedPanic>() => return true,
                Err(payload) => resume_unwind(payload),
            }
        }
    }
}

fn pick<F: NonceVariant>(random: &mut Rng) -> (&'static str, Operation<F>) {
    let all: usize = F::OPERATIONS.iter().map(|(_, often, _)| often).sum();
    let mut position = random.usize(..all);
    for (name, often, run) in F::OPERATIONS {
        match position.checked_sub(*often) {
            Some(left) => position = left,
            None => return (name, *run),
        }
    }
    unreachable!("the position lies within the sum")
}

/// Runs one pool behind one proxy, until these operations are done.
fn round<F: NonceVariant>(
    variant: &F,
    pool: &Pool<F::Driver>,
    proxy: &Proxy,
    numbers: std::ops::Range<u64>,
    random: &mut Rng,
) -> (Outcomes, Faults) {
    let round_state = Round::<F> {
        pool,
        work: RwLock::new(()),
        mixed_up: Mutex::default(),
        outcomes: Mutex::default(),
        next: AtomicU64::new(numbers.start),
        last: numbers.end,
        stop: AtomicBool::new(false),
    };
    let faults = std::thread::scope(|scope| {
        let (round_state, mut dice) = (&round_state, random.fork());
        let faults_thread =
            scope.spawn(move || faults::make(variant, round_state, proxy, &mut dice));
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                let dice = random.fork();
                scope.spawn(move || round_state.work(dice))
            })
            .collect();
        let ends: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        round_state.stop.store(true, SeqCst);
        let faults = faults_thread.join().expect("no panic");
        ends.into_iter().for_each(|end| end.expect("only intended panics"));
        faults
    });
    let mixed_up = round_state.mixed_up.into_inner();
    assert!(
        mixed_up.is_empty(),
        "{} replies were mixed up: {:#?}",
        mixed_up.len(),
        &mixed_up[..mixed_up.len().min(20)]
    );
    (round_state.outcomes.into_inner(), faults)
}

fn pool<F: NonceVariant>(variant: &F) -> Pool<F::Driver> {
    Pool::builder()
        .max_size(CONNECTIONS)
        .checkout_timeout(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(2))
        .ping_timeout(Duration::from_millis(200))
        .ping_after(Duration::from_millis(20))
        .row_limit(ROW_LIMIT)
        .statement_cache(20)
        .reset(Reset::Auto)
        .build(variant.driver())
        .expect("the server accepts")
}

/// Asserts that the pool's counters and the server's list agree.
fn balance<F: NonceVariant>(variant: &F, pool: &Pool<F::Driver>) {
    let settled = || {
        let books = pool.snapshot();
        let still = books.levels.pending
            + books.levels.closing
            + books.abandoned
            + books.levels.in_use
            + books.levels.waiting;
        still == 0
            && books.levels.open == books.levels.idle
            && books.opened - books.closed() == u64::from(books.levels.open)
            && variant.sessions() == books.levels.open as usize
    };
    let balanced = eventually(Duration::from_secs(30), settled);
    assert!(balanced, "{}; the server has {}", pool.snapshot(), variant.sessions());
    // No permit was lost: all can be taken at the same time.
    let all: Vec<_> = (0..CONNECTIONS).map(|_| pool.get().expect("a connection")).collect();
    assert_eq!(pool.snapshot().levels.open, CONNECTIONS, "{}", pool.snapshot());
    drop(all);
}

fn number_from(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs all rounds of one server, behind a proxy that leads to this port.
fn run<F: NonceVariant>(what: &str, port: u16, variant_at: impl Fn(u16) -> F) {
    let operations = number_from("NONCE_OPERATIONS").unwrap_or(OPERATIONS);
    let seed = number_from("NONCE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{what}: NONCE_SEED={seed} NONCE_OPERATIONS={operations}");
    let (mut random, began) = (Rng::with_seed(seed), Instant::now());
    let mut outcomes = Outcomes::new();
    let mut faults = Faults::new();
    let mut opened = 0;
    for start in (0..operations).step_by(ROUND as usize) {
        let proxy = Proxy::to_port(port);
        let variant = variant_at(proxy.port());
        let pool = pool(&variant);
        let numbers = start..operations.min(start + ROUND);
        let limit = Duration::from_secs(240);
        let ((of_round, made), _) =
            within(limit, || round(&variant, &pool, &proxy, numbers, &mut random));
        for (name, (good, bad)) in of_round {
            let sum = outcomes.entry(name).or_default();
            *sum = (sum.0 + good, sum.1 + bad);
        }
        made.into_iter().for_each(|(name, count)| *faults.entry(name).or_default() += count);
        balance(&variant, &pool);
        opened += pool.snapshot().opened;
        println!("{what}: {} operations after {:.1?}", start + ROUND, began.elapsed());
    }
    println!("{what}: {operations} operations in {:.1?}, {opened} connections", began.elapsed());
    println!("{what}: good and bad: {outcomes:?}");
    println!("{what}: faults: {faults:?}");
    assert_eq!(outcomes.len(), F::OPERATIONS.len(), "all operations ran");
    let (good, bad) = outcomes.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(good > 2 * bad && outcomes.values().all(|one| one.0 > 0), "most operations succeeded");
}
