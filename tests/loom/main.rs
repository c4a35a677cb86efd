//! The core and its permits, run through every interleaving.
//!
//! The files are the crate's own, included by their paths; only the lock behind
//! them is another: loom's, which tries one schedule after the other. A lost
//! wake-up shows as a deadlock, a lost connection in the books at the end.
//!
//! Loom has no clock. Time is an argument here as in the crate, and passes when a
//! model says so; a wait with a deadline ends at once, as if it had come.
//!
//! There is no test harness: the included files' unit tests must not run on
//! loom's lock outside of a model. `cargo test --test loom -- part-of-a-name`
//! runs some of the models.

// The crate uses more of these files than the models do.
#[allow(dead_code, unused_imports)]
#[path = "../../src/budget.rs"]
mod budget;
#[allow(dead_code, unused_imports)]
#[path = "../../src/core.rs"]
mod core;
mod models;
mod sim;
mod sync;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// A model's name is a sentence.
type Model = (&'static str, fn());

fn main() -> ExitCode {
    let filter: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |(name, _): &Model| filter.iter().all(|part| name.contains(part.as_str()));
    let queue: Vec<Model> = models::ALL.iter().copied().filter(chosen).rev().collect();
    if std::env::args().any(|arg| arg == "--list") {
        queue.iter().rev().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (queue, failed) = (Mutex::new(queue), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(|| run_all(&queue, &failed))));
    });
    let failed = failed.into_inner().expect("no model holds this lock");
    failed.iter().for_each(|name| eprintln!("failed: {name}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(queue: &Mutex<Vec<Model>>, failed: &Mutex<Vec<&'static str>>) {
    let next = || queue.lock().expect("no model holds this lock").pop();
    while let Some((name, model)) = next() {
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(model));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("model {name} ... {word} ({:.1?})", began.elapsed());
        if outcome.is_err() {
            failed.lock().expect("no model holds this lock").push(name);
        }
    }
}
