//! No borrower ever reads another's answer, whatever happens to its connection.
//!
//! Each operation carries a number that no other has, and checks that what it reads
//! is its own; meanwhile connections are cut, stalled, half closed, killed and fed
//! with answers that nobody asked for. `NONCE_OPERATIONS` says how many operations
//! there are for each server, `NONCE_SEED` repeats a run's choices; `tests/run.sh
//! million` runs a million.

mod mariadb;
mod postgres;
mod trouble;

use crate::flavour::Flavour;
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

/// In a plain run.
const OPERATIONS: u64 = 6_000;
/// Of one pool behind one proxy; a longer run has more of them.
const ROUND: u64 = 20_000;
const THREADS: u64 = 12;
const CONNECTIONS: u32 = 6;
/// What a query of the pool's own may return.
const ROW_LIMIT: usize = 200;

/// A server that numbers can be sent to and fro.
trait Talk: Flavour {
    /// All operations, by what they do, and how often in some hundreds: those that
    /// cost a connection are rarer.
    const OPERATIONS: &'static [(&'static str, usize, Operation<Self>)];
    /// Parts of an answer that some other borrower might have got.
    fn stray(number: u64, random: &mut Rng) -> Vec<u8>;
    /// Does something to one of the sessions, by the server's own means.
    fn harass(&self, random: &mut Rng);
    /// How many sessions the server has of ours.
    fn sessions(&self) -> usize;
}

type Operation<F> = fn(&Pool<<F as Flavour>::Driver>, &Nonce<'_>) -> Result<(), Trouble>;

/// How often each operation came to its end, and how often not.
type Outcomes = BTreeMap<&'static str, (u64, u64)>;

/// How often there was which trouble.
type Faults = BTreeMap<&'static str, u64>;

/// Why an operation did not come to its end; that is what the faults are for.
struct Trouble(String);

impl<E: std::error::Error> From<E> for Trouble {
    fn from(error: E) -> Trouble {
        Trouble(error.to_string())
    }
}

/// The number of one operation, and what it has read in its place.
struct Nonce<'a> {
    number: u64,
    operation: &'static str,
    crossed: &'a Mutex<Vec<String>>,
}

impl Nonce<'_> {
    fn sql(&self) -> i64 {
        self.number.cast_signed()
    }

    /// What was read must be this operation's own.
    fn is<T: PartialEq + Debug>(&self, read: T, own: T) {
        if read != own {
            let text = format!("{} {}: read {read:?}, not {own:?}", self.operation, self.number);
            self.crossed.lock().push(text);
        }
    }
}

/// What a thread throws that is meant to panic.
struct Thrown;

fn throw() -> ! {
    resume_unwind(Box::new(Thrown))
}

/// What all threads of a round share.
struct Stage<'a, F: Talk> {
    pool: &'a Pool<F::Driver>,
    /// Held for writing while nobody may be at work.
    work: RwLock<()>,
    crossed: Mutex<Vec<String>>,
    outcomes: Mutex<Outcomes>,
    next: AtomicU64,
    last: u64,
    over: AtomicBool,
}

impl<F: Talk> Stage<'_, F> {
    fn perform(&self, mut random: Rng) {
        loop {
            let number = self.next.fetch_add(1, SeqCst);
            if number >= self.last || !self.crossed.lock().is_empty() {
                return;
            }
            let (operation, run) = pick::<F>(&mut random);
            let nonce = Nonce { number, operation, crossed: &self.crossed };
            let fine = self.carry_out(run, &nonce);
            let mut outcomes = self.outcomes.lock();
            let (good, bad) = outcomes.entry(operation).or_default();
            *(if fine { good } else { bad }) += 1;
        }
    }
}

impl<F: Talk> Stage<'_, F> {
    /// Tries until there was a connection; tells whether it came to its end.
    fn carry_out(&self, run: Operation<F>, nonce: &Nonce<'_>) -> bool {
        loop {
            let at_work = self.work.read();
            let outcome = catch_unwind(AssertUnwindSafe(|| run(self.pool, nonce)));
            drop(at_work);
            match outcome {
                Ok(Ok(())) => return true,
                // Told at once, again and again, until one can be opened.
                Ok(Err(Trouble(text))) if text.contains("cannot open a connection") => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(Err(Trouble(text))) => {
                    // Nobody keeps a connection for long.
                    nonce.is(text.contains("no connection within"), false);
                    return false;
                }
                Err(payload) if payload.is::<Thrown>() => return true,
                Err(payload) => resume_unwind(payload),
            }
        }
    }
}

fn pick<F: Talk>(random: &mut Rng) -> (&'static str, Operation<F>) {
    let all: usize = F::OPERATIONS.iter().map(|(_, often, _)| often).sum();
    let mut place = random.usize(..all);
    for (name, often, run) in F::OPERATIONS {
        match place.checked_sub(*often) {
            Some(left) => place = left,
            None => return (name, *run),
        }
    }
    unreachable!("the place lies within the sum")
}

/// One pool behind one proxy, until so many operations are done.
fn round<F: Talk>(
    flavour: &F,
    pool: &Pool<F::Driver>,
    proxy: &Proxy,
    numbers: std::ops::Range<u64>,
    random: &mut Rng,
) -> (Outcomes, Faults) {
    let stage = Stage::<F> {
        pool,
        work: RwLock::new(()),
        crossed: Mutex::default(),
        outcomes: Mutex::default(),
        next: AtomicU64::new(numbers.start),
        last: numbers.end,
        over: AtomicBool::new(false),
    };
    let faults = std::thread::scope(|scope| {
        let (stage, mut dice) = (&stage, random.fork());
        let trouble = scope.spawn(move || trouble::make(flavour, stage, proxy, &mut dice));
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                let dice = random.fork();
                scope.spawn(move || stage.perform(dice))
            })
            .collect();
        let ends: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        stage.over.store(true, SeqCst);
        let faults = trouble.join().expect("no panic");
        ends.into_iter().for_each(|end| end.expect("no panic but those that are meant"));
        faults
    });
    let crossed = stage.crossed.into_inner();
    assert!(
        crossed.is_empty(),
        "{} answers crossed: {:#?}",
        crossed.len(),
        &crossed[..crossed.len().min(20)]
    );
    (stage.outcomes.into_inner(), faults)
}

fn pool<F: Talk>(flavour: &F) -> Pool<F::Driver> {
    Pool::builder()
        .max_size(CONNECTIONS)
        .checkout_timeout(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(2))
        .ping_timeout(Duration::from_millis(200))
        .ping_after(Duration::from_millis(20))
        .row_limit(ROW_LIMIT)
        .statement_cache(20)
        .reset(Reset::Auto)
        .build(flavour.driver())
        .expect("the server is there")
}

/// Open is idle and in use, opened is closed and open, and the server counts alike.
fn balance<F: Talk>(flavour: &F, pool: &Pool<F::Driver>) {
    let settled = || {
        let books = pool.snapshot();
        let still = books.pending + books.closing + books.abandoned + books.in_use + books.waiting;
        still == 0
            && books.open == books.idle
            && books.opened - books.closed() == u64::from(books.open)
            && flavour.sessions() == books.open as usize
    };
    let balanced = eventually(Duration::from_secs(30), settled);
    assert!(balanced, "{}; the server has {}", pool.snapshot(), flavour.sessions());
    // No place was lost: as many as may be can be had at a time.
    let all: Vec<_> = (0..CONNECTIONS).map(|_| pool.get().expect("a connection")).collect();
    assert_eq!(pool.snapshot().open, CONNECTIONS, "{}", pool.snapshot());
    drop(all);
}

fn number_from(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs all rounds of one server, behind a proxy that leads to this port.
fn run<F: Talk>(what: &str, port: u16, flavour_at: impl Fn(u16) -> F) {
    let operations = number_from("NONCE_OPERATIONS").unwrap_or(OPERATIONS);
    let seed = number_from("NONCE_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{what}: NONCE_SEED={seed} NONCE_OPERATIONS={operations}");
    let (mut random, began) = (Rng::with_seed(seed), Instant::now());
    let mut outcomes = Outcomes::new();
    let mut faults = Faults::new();
    let mut opened = 0;
    for start in (0..operations).step_by(ROUND as usize) {
        let proxy = Proxy::to_port(port);
        let flavour = flavour_at(proxy.port());
        let pool = pool(&flavour);
        let numbers = start..operations.min(start + ROUND);
        let limit = Duration::from_secs(240);
        let ((of_round, made), _) =
            within(limit, || round(&flavour, &pool, &proxy, numbers, &mut random));
        for (name, (good, bad)) in of_round {
            let sum = outcomes.entry(name).or_default();
            *sum = (sum.0 + good, sum.1 + bad);
        }
        made.into_iter().for_each(|(name, count)| *faults.entry(name).or_default() += count);
        balance(&flavour, &pool);
        opened += pool.snapshot().opened;
        println!("{what}: {} operations after {:.1?}", start + ROUND, began.elapsed());
    }
    println!("{what}: {operations} operations in {:.1?}, {opened} connections", began.elapsed());
    println!("{what}: good and bad: {outcomes:?}");
    println!("{what}: faults: {faults:?}");
    assert_eq!(outcomes.len(), F::OPERATIONS.len(), "all were tried");
    let (good, bad) = outcomes.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(good > 2 * bad && outcomes.values().all(|one| one.0 > 0), "something is proven");
}
