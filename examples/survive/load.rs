//! Eight threads of transfers through one client, and the outcomes.

use crate::bank::{Outcome, Transfer};
use crate::clients::Client;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread::Scope;
use std::time::{Duration, Instant};

/// Threads of each load.
const THREADS: u32 = 8;

/// Pause between two transfers of a thread; this is not a benchmark.
const PAUSE: Duration = Duration::from_millis(4);

/// One client under load.
pub struct Load<'a> {
    pub client: &'a dyn Client,
    pub results: Results,
    stopping: AtomicBool,
    running: AtomicU32,
}

/// The outcomes of all transfers.
#[derive(Default)]
pub struct Results {
    pub done: AtomicU64,
    pub failed: AtomicU64,
    pub unknown: AtomicU64,
    /// The longest transfer since the last call, in microseconds.
    slowest: AtomicU64,
    /// Law: one entry for each transfer that was started and has ended.
    pub outcomes: Mutex<BTreeMap<i64, Outcome>>,
}

impl Results {
    fn record(&self, transfer: Transfer, outcome: Outcome, took: Duration) {
        match outcome {
            Outcome::Done => &self.done,
            Outcome::Failed(_) => &self.failed,
            Outcome::Unknown(_) => &self.unknown,
        }
        .fetch_add(1, Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(micros, Relaxed);
        self.outcomes.lock().expect("no thread panics with it").insert(transfer.id, outcome);
    }

    /// Returns the longest transfer that ended since the last call.
    pub fn take_slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.swap(0, Relaxed))
    }
}

impl<'a> Load<'a> {
    pub fn new(client: &'a dyn Client) -> Load<'a> {
        let results = Results::default();
        let (stopping, running) = (AtomicBool::new(false), AtomicU32::new(0));
        Load { client, results, stopping, running }
    }

    /// Starts the threads.
    pub fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        for _ in 0..THREADS {
            self.running.fetch_add(1, Relaxed);
            scope.spawn(|| {
                while !self.stopping.load(Relaxed) {
                    let transfer = Transfer::any();
                    let started = Instant::now();
                    let outcome = self.client.transfer(&transfer);
                    self.results.record(transfer, outcome, started.elapsed());
                    std::thread::sleep(PAUSE);
                }
                self.running.fetch_sub(1, Relaxed);
            });
        }
    }

    /// Lets the threads finish their transfers.
    pub fn stop(&self, deadline: Instant) {
        self.stopping.store(true, Relaxed);
        while self.running.load(Relaxed) > 0 {
            if Instant::now() >= deadline {
                // The scope would wait for its threads for ever.
                eprintln!(
                    "survive: {} threads of {} hang although the faults are over",
                    self.running.load(Relaxed),
                    self.client.name()
                );
                std::process::exit(1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
