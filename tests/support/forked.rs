//! Runs code in a forked child of a test's process.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use fork::{Fork, fork};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, gettid};

use crate::wait::{eventually, within};

const LONG: Duration = Duration::from_secs(20);

/// Runs `body` in a forked child; returns `true` if it neither panics nor hangs.
///
/// The child runs on the one thread that it has. What it calls takes locks that other
/// threads of the parent may hold: that the code under test needs none of them is what is
/// tested. Those of the standard library are avoided: the fork waits until the parent's
/// threads rest, as one that starts or ends holds such a lock, and the child ends by a signal.
///
/// # Panics
///
/// If the parent's threads never rest, or no process can start.
pub fn succeeds_in_child(body: impl FnOnce()) -> bool {
    assert!(eventually(LONG, others_sleep), "the other threads never rest");
    succeeds_in_child_at_once(body)
}

/// As [`succeeds_in_child`], but forks while other threads run, so that the child inherits what
/// they have locked. They must neither start nor end threads meanwhile.
///
/// # Panics
///
/// If no process can start, or the child hangs.
pub fn succeeds_in_child_at_once(body: impl FnOnce()) -> bool {
    match fork().expect("a process") {
        Fork::Child => {
            let outcome = panic::catch_unwind(AssertUnwindSafe(body));
            let _ = raise(if outcome.is_ok() { Signal::SIGKILL } else { Signal::SIGABRT });
            unreachable!("both signals end a process");
        }
        Fork::Parent(child) => {
            let (status, _) = within(LONG, || waitpid(Pid::from_raw(child), None));
            matches!(status, Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)))
        }
    }
}

/// Returns `true` if every other thread of this process sleeps.
fn others_sleep() -> bool {
    let me = gettid().to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
    tasks.filter(|task| task.file_name() != *me).all(|task| {
        let status = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        // proc(5): the state follows the name, which ends with the last parenthesis.
        status.rsplit(") ").next().is_some_and(|state| state.starts_with('S'))
    })
}
