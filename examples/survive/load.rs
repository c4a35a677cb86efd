//! Eight threads of transfers through one teller, and what they were told.

use crate::bank::{Told, Transfer};
use crate::tellers::Teller;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Threads of each load.
const THREADS: u32 = 8;

/// What a thread does besides: a request a second or two hundred, not a benchmark.
const PAUSE: Duration = Duration::from_millis(4);

/// One teller under load.
pub struct Load<'a> {
    pub teller: &'a dyn Teller,
    pub told: Book,
    stopping: AtomicBool,
    running: AtomicU32,
}

/// What the callers were told.
#[derive(Default)]
pub struct Book {
    pub done: AtomicU64,
    pub failed: AtomicU64,
    pub unknown: AtomicU64,
    /// The longest wait since the last look, in microseconds.
    slowest: AtomicU64,
    /// Law: one entry for each transfer that was begun and answered.
    pub answers: Mutex<BTreeMap<i64, Told>>,
}

impl Book {
    fn enter(&self, transfer: Transfer, told: Told, took: Duration) {
        match told {
            Told::Done => &self.done,
            Told::Failed(_) => &self.failed,
            Told::Unknown(_) => &self.unknown,
        }
        .fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(micros, Relaxed);
        self.answers.lock().expect("no thread panics with it").insert(transfer.id, told);
    }

    /// The longest wait of a caller who was answered since the last look.
    pub fn take_slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.swap(0, Relaxed))
    }
}

impl<'a> Load<'a> {
    pub fn new(teller: &'a dyn Teller) -> Load<'a> {
        let told = Book::default();
        let (stopping, running) = (AtomicBool::new(false), AtomicU32::new(0));
        Load { teller, told, stopping, running }
    }

    /// Starts the threads.
    pub fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        for _ in 0..THREADS {
            self.running.fetch_add(1, Relaxed);
            scope.spawn(|| {
                while !self.stopping.load(Relaxed) {
                    let transfer = Transfer::any();
                    let began = Instant::now();
                    let told = self.teller.transfer(&transfer);
                    self.told.enter(transfer, told, began.elapsed());
                    std::thread::sleep(PAUSE);
                }
                self.running.fetch_sub(1, Relaxed);
            });
        }
    }

    /// Lets the threads finish what they have begun.
    pub fn stop(&self, deadline: Instant) {
        self.stopping.store(true, Relaxed);
        while self.running.load(Relaxed) > 0 {
            if Instant::now() >= deadline {
                // A thread of a scope cannot be left behind.
                eprintln!(
                    "survive: {} threads of {} hang although the trouble is over",
                    self.running.load(Relaxed),
                    self.teller.name()
                );
                std::process::exit(1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
