//! Checks the core and its permits under every interleaving of the threads.
//!
//! The files are the crate's own, included by their paths; only the lock that they use is
//! replaced by loom's, which tries one schedule after the other. Loom reports a lost wake-up
//! as a deadlock; a lost connection is found by the counts at the end of a model.
//!
//! Loom has no clock. Time is an argument here as in the crate, and each model sets it; a
//! wait with a deadline ends immediately, as if the deadline had passed.
//!
//! There is no test harness, because the unit tests of the included files must not use
//! loom's lock outside of a model. `cargo test --test loom -- part-of-a-name` runs the
//! models whose names contain that text.

#[expect(dead_code, unused_imports, reason = "the crate uses more of it than the models do")]
#[path = "../../src/engine/core/mod.rs"]
mod core;
mod models;
#[path = "../../src/connection/permit_counts.rs"]
mod permit_counts;
#[expect(dead_code, unused_imports, reason = "the crate uses more of it than the models do")]
#[path = "../../src/connection/permit_group/mod.rs"]
mod permit_group;
#[expect(dead_code, unused_imports, reason = "the crate uses more of it than the models do")]
#[path = "../../src/connection/permits.rs"]
mod permits;
mod sharing;
mod sim;
mod sync;

/// The crate's own paths to these files.
mod connection {
    pub(crate) use crate::{permit_counts, permit_group, permits};
}
mod sys {
    pub(crate) use crate::sync;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// A name, which is a sentence, and the model.
type Model = (&'static str, fn());

fn main() -> ExitCode {
    let filter: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |(name, _): &Model| filter.iter().all(|part| name.contains(part.as_str()));
    let queue: Vec<Model> =
        models::ALL.iter().chain(sharing::ALL).copied().filter(chosen).rev().collect();
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
