//! Whether this thread may block, or drives an async runtime.
//!
//! A thread that is polling a task of a tokio runtime must not block: every other task of
//! that thread would wait as well. The `postgres` driver, which runs a runtime of its own
//! on the calling thread, even panics there.
//!
//! - **Replaces**: a function of tokio that returns `true` on a thread that is polling a
//!   task. `Handle::try_current` is no such function: it also succeeds on `spawn_blocking`
//!   threads, which are the right place for blocking work. What tells them apart is the
//!   cooperative budget, which limits only what is polled. tokio shows no such limit but in
//!   the `Debug` text of `RestoreOnPending`; if that text is not as expected, the budget is
//!   used up by counting and restored, which takes some microseconds.
//! - **Not seen**: what is polled within `tokio::task::unconstrained`, which has no budget,
//!   and other runtimes.
//! - **Upstream would have to offer**: that function in tokio.
//! - **Delete** this file when it exists in the oldest version that this crate supports.

/// Returns `true` if this thread may block: it is not polling a task of a tokio runtime.
///
/// Without the feature `tokio` nothing is known of runtimes, and every thread may block.
#[inline]
pub(crate) fn thread_may_block() -> bool {
    #[cfg(feature = "tokio")]
    return budget::thread_now() != budget::Thread::PollsATask;
    #[cfg(not(feature = "tokio"))]
    true
}

/// Returns `true` if a runtime can be driven on this thread, which the `postgres` driver
/// does in each of its calls: it polls no task, and is not ending.
///
/// A thread that runs its thread-locals' destructors, or after those the program's exit
/// handlers, may have destroyed tokio's: the driver panics there.
#[cfg(feature = "postgres")]
#[inline]
pub(crate) fn thread_can_drive_a_runtime() -> bool {
    budget::thread_now() == budget::Thread::IsFree
}

const ENDING_THREAD: &str = "a connection cannot be used on a thread that is ending, \
    where the driver panics: its thread-locals are destroyed; make the call before, or on \
    another thread";

/// Returns why this thread is refused: it is ending, or else what is said of one that runs an
/// async runtime.
pub(crate) fn why_refused(in_a_runtime: &str) -> &str {
    if thread_is_ending() { ENDING_THREAD } else { in_a_runtime }
}

/// Returns `true` if tokio's thread-locals are destroyed on this thread.
fn thread_is_ending() -> bool {
    #[cfg(feature = "tokio")]
    return budget::thread_now() == budget::Thread::IsEnding;
    #[cfg(not(feature = "tokio"))]
    false
}

#[cfg(feature = "tokio")]
mod budget {
    use std::fmt::{self, Write};
    use std::task::{Context, Poll, Waker};
    use tokio::runtime::Handle;
    use tokio::task::{self, coop};

    /// More than the cooperative budget that tokio gives a task per poll (128 in tokio 1.x).
    /// Outside of a task there is no such budget.
    const MORE_THAN_A_BUDGET: usize = 1024;

    /// What tokio does on a thread.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) enum Thread {
        IsFree,
        PollsATask,
        /// Its thread-locals are destroyed.
        IsEnding,
    }

    /// Asks first what costs a few nanoseconds. `try_current` clones a handle, whose count
    /// all threads of the runtime share: it is asked only outside of tasks.
    #[inline]
    pub(super) fn thread_now() -> Thread {
        if task::try_id().is_none()
            && let Err(error) = Handle::try_current()
        {
            let is_ending = error.is_thread_local_destroyed();
            return if is_ending { Thread::IsEnding } else { Thread::IsFree };
        }
        if is_limited() { Thread::PollsATask } else { Thread::IsFree }
    }

    fn is_limited() -> bool {
        match coop::poll_proceed(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => true,
            Poll::Ready(unit) => limit_in_text(&unit).unwrap_or_else(runs_out),
        }
    }

    /// Reads from the `Debug` text whether the budget was limited; `None` if the text is
    /// not `RestoreOnPending(Cell { value: Budget(None) }, …)` or `…Budget(Some(128))…`.
    fn limit_in_text(unit: &impl fmt::Debug) -> Option<bool> {
        let mut reader = BudgetReader::default();
        // Ends with an error where the reader has read enough.
        let _ = write!(reader, "{unit:?}");
        reader.is_limited
    }

    /// Uses the budget up and restores it; returns `true` if there was an end.
    pub(super) fn runs_out() -> bool {
        let mut context = Context::from_waker(Waker::noop());
        let mut first = None;
        for _ in 0..MORE_THAN_A_BUDGET {
            match coop::poll_proceed(&mut context) {
                Poll::Pending => return true,
                Poll::Ready(unit) if first.is_none() => first = Some(unit),
                // Only the first unit restores the budget as it was.
                Poll::Ready(unit) => unit.made_progress(),
            }
        }
        false
    }

    /// Takes the pieces of a `Debug` text until the value of the budget.
    #[derive(Default)]
    pub(super) struct BudgetReader {
        is_in_budget: bool,
        pub(super) is_limited: Option<bool>,
    }

    impl Write for BudgetReader {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            match piece {
                "Budget" => self.is_in_budget = true,
                "Some" | "None" if self.is_in_budget => self.is_limited = Some(piece == "Some"),
                _ => {}
            }
            if self.is_limited.is_some() { Err(fmt::Error) } else { Ok(()) }
        }
    }
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use super::budget::{BudgetReader, runs_out};
    use super::*;
    use std::fmt::Write;
    use tokio::task::coop;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn a_plain_thread_may_block() {
        assert!(thread_may_block());
    }

    #[test]
    fn a_task_may_not_block_and_keeps_its_budget() {
        runtime().block_on(async {
            for _ in 0..1_000 {
                assert!(!thread_may_block());
                assert!(runs_out());
            }
            assert!(coop::has_budget_remaining());
        });
    }

    #[test]
    fn a_task_that_has_used_its_budget_up_may_not_block() {
        runtime().block_on(async {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            while let std::task::Poll::Ready(unit) = coop::poll_proceed(&mut context) {
                unit.made_progress();
            }
            assert!(!thread_may_block());
        });
    }

    #[test]
    fn a_thread_for_blocking_work_may_block() {
        let allowed = runtime().block_on(async {
            let both = || thread_may_block() && !runs_out();
            tokio::task::spawn_blocking(both).await.expect("no panic")
        });
        assert!(allowed);
    }

    #[test]
    fn a_task_that_is_polled_on_a_thread_for_blocking_work_may_not_block() {
        let allowed = runtime().block_on(async {
            let nested = || {
                let polled =
                    tokio::runtime::Handle::current().block_on(async { thread_may_block() });
                (polled, thread_may_block())
            };
            tokio::task::spawn_blocking(nested).await.expect("no panic")
        });
        assert_eq!(allowed, (false, true));
    }

    #[test]
    fn a_thread_that_has_only_entered_a_runtime_may_block() {
        let runtime = runtime();
        let _entered = runtime.enter();
        assert!(thread_may_block());
    }

    #[test]
    fn the_text_of_a_budget_is_read_and_any_other_text_is_left_open() {
        let read = |pieces: &[&str]| {
            let mut reader = BudgetReader::default();
            for piece in pieces {
                let _ = reader.write_str(piece);
            }
            reader.is_limited
        };
        assert_eq!(read(&["Restore", "(", "Budget", "(", "Some", "(", "1"]), Some(true));
        assert_eq!(read(&["Restore", "(", "Budget", "(", "None", ")", ")"]), Some(false));
        assert_eq!(read(&["Restore", "(", "None", ")"]), None);
    }
}
