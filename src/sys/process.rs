//! Which process this is: after a fork, the child has neither the threads of its
//! parent nor any right to its connections, and its copies of the parent's locks may be
//! locked forever.

use super::sockets;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// How many processes deep forks are told apart: more than any program nests.
pub(crate) const DEPTH: usize = 16;

/// How many forks lie between this process and the first one that used the crate.
static GENERATION: AtomicUsize = AtomicUsize::new(0);

/// Counts forks from now on. A cached process number would not notice them.
pub(crate) fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        sockets::run_in_forked_child(count_fork);
    }
}

/// Only what is safe in a signal handler may be done here.
extern "C" fn count_fork() {
    GENERATION.fetch_add(1, Relaxed);
}

/// Returns a number that differs between a process and the one that it was forked from.
#[inline]
pub(crate) fn generation() -> usize {
    GENERATION.load(Relaxed)
}

/// One state for each process: a child finds its own, as it was at the program's start.
pub(crate) struct PerProcess<T>([T; DEPTH]);

impl<T> PerProcess<T> {
    pub(crate) const fn new(states: [T; DEPTH]) -> PerProcess<T> {
        PerProcess(states)
    }

    pub(crate) fn get(&self) -> &T {
        // A deeper process shares the last one's: no pool works there.
        &self.0[generation().min(DEPTH - 1)]
    }
}

/// Returns `true` if this process was forked from one that has used the crate.
///
/// `parking_lot` keeps the threads that wait in one table of the process. A child inherits
/// the entries of threads that it does not have: no pool can work there.
pub(crate) fn is_forked() -> bool {
    generation() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_one_state_of_its_own() {
        static STATE: PerProcess<AtomicUsize> =
            PerProcess::new([const { AtomicUsize::new(0) }; DEPTH]);
        STATE.get().fetch_add(1, Relaxed);
        assert_eq!(STATE.get().load(Relaxed), 1);
        assert!(STATE.0[1..].iter().all(|state| state.load(Relaxed) == 0));
        assert!(!is_forked());
    }
}
