//! A process that runs short of descriptors, threads or address space.
//!
//! Such a limit holds for the whole process and would fail any other test that
//! runs at that moment. So a test runs its body a second time, alone, in a child
//! process; see [`in_child`].

mod descriptors;
mod limit;
mod memory;
mod threads;

use std::env;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::child;

/// Set in the child process, to the text from the parent.
const INSIDE: &str = "POOLWARDEN_TEST_SHORTAGE";

/// The resources that a test can make scarce in its process.
#[derive(Debug)]
pub struct Limits(());

/// A shortage that lasts until it is dropped.
#[derive(Debug)]
#[must_use = "the shortage ends when this is dropped"]
pub struct Shortage {
    _kind: Kind,
}

#[derive(Debug)]
#[expect(dead_code, reason = "held for their drops only, which end the shortage")]
enum Kind {
    Descriptors(descriptors::Taken),
    Threads(threads::Forbidden),
    Memory(limit::Lowered),
}

/// Runs `body` in a child process in which resources can be made scarce.
///
/// The caller is the test: the closure is written in the test's own function, and what
/// the test does outside of `body` is done in both processes. Servers that `body` starts
/// belong to the child, and end with it.
///
/// # Panics
///
/// When `body` panics in the child process, or takes longer than three minutes: with what
/// the child printed.
pub fn in_child<B: FnOnce(&Limits)>(body: B) {
    bounded(child::LONG_TIMEOUT, child::test_of::<B>(), String::new, |limits, _| body(limits));
}

/// As [`in_child`], and gives `body` what `prepare` returned in the parent process.
///
/// That is how a test uses the server that the tests of its process share: `prepare` returns
/// the URL of a fresh database.
///
/// # Panics
///
/// As [`in_child`].
pub fn in_child_with<B: FnOnce(&Limits, &str)>(prepare: impl FnOnce() -> String, body: B) {
    bounded(child::LONG_TIMEOUT, child::test_of::<B>(), prepare, body);
}

fn bounded(
    time_limit: Duration,
    test: &str,
    prepare: impl FnOnce() -> String,
    body: impl FnOnce(&Limits, &str),
) {
    match env::var(INSIDE) {
        Ok(given) => body(&Limits::of_this_process(), &given),
        Err(_) => drop(child::run(test, (INSIDE, &prepare()), &[], time_limit)),
    }
}

impl Limits {
    fn of_this_process() -> Limits {
        // Killed with the parent's thread: a test that was abandoned leaves no child behind.
        let bound = set_parent_process_death_signal(Some(Signal::KILL));
        bound.expect("a process may choose how it ends");
        threads::prepare();
        Limits(())
    }

    /// Leaves `spare` further descriptors to open; each one that is closed meanwhile can be
    /// opened again. Beyond that, the error is `EMFILE`.
    ///
    /// # Panics
    ///
    /// If the limit has no effect.
    pub fn descriptors(&self, spare: usize) -> Shortage {
        Shortage { _kind: Kind::Descriptors(descriptors::leave(spare)) }
    }

    /// Lets no thread and no process start: the error is `EAGAIN`.
    ///
    /// As root this changes the process's real user; its effective one stays.
    ///
    /// # Panics
    ///
    /// If the limit has no effect.
    pub fn threads(&self) -> Shortage {
        Shortage { _kind: Kind::Threads(threads::forbid()) }
    }

    /// Leaves `spare` more bytes of address space: then nothing larger can be mapped.
    ///
    /// The allocator's free memory stays usable, and Rust aborts a process whose small
    /// allocations fail: leave a megabyte. That is too little for the stack of a new
    /// thread, but libc keeps the stacks of threads that have ended, and uses them again.
    ///
    /// # Panics
    ///
    /// If the limit has no effect.
    pub fn address_space(&self, spare: u64) -> Shortage {
        Shortage { _kind: Kind::Memory(memory::leave(spare)) }
    }
}

#[cfg(test)]
mod tests;
