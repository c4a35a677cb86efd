//! May this thread block? The driver runs a runtime of its own on the thread that
//! calls it, and panics on a thread that is polling another runtime's task.

use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::task::coop;

/// More than the share of work that a runtime gives a task at a time (128 in
/// tokio 1.x); outside of a task there is no such share.
const MORE_THAN_A_SHARE: usize = 1024;

/// Tells whether the driver may be used on this thread.
///
/// `Handle::try_current` alone would refuse `spawn_blocking` threads, which belong
/// to a runtime too and are where blocking work is meant to be. What tells them
/// apart is that only a task being polled has a limited share of work.
pub(super) fn thread_may_block() -> bool {
    Handle::try_current().is_err() || !polls_a_task()
}

fn polls_a_task() -> bool {
    let mut context = Context::from_waker(Waker::noop());
    let mut taken = Vec::new();
    let mut exhausted = false;
    while !exhausted && taken.len() < MORE_THAN_A_SHARE {
        match coop::poll_proceed(&mut context) {
            Poll::Ready(unit) => taken.push(unit),
            Poll::Pending => exhausted = true,
        }
    }
    // Each gives back what was there before it: the first must be last.
    while taken.pop().is_some() {}
    exhausted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn a_plain_thread_may_block() {
        assert!(thread_may_block());
    }

    #[test]
    fn a_task_may_not_block_and_keeps_its_share_of_work() {
        runtime().block_on(async {
            for _ in 0..1_000 {
                assert!(!thread_may_block());
            }
            assert!(coop::has_budget_remaining());
        });
    }

    #[test]
    fn a_thread_for_blocking_work_may_block() {
        let allowed = runtime().block_on(async {
            tokio::task::spawn_blocking(thread_may_block).await.expect("no panic")
        });
        assert!(allowed);
    }

    #[test]
    fn a_thread_that_only_knows_a_runtime_may_block() {
        let runtime = runtime();
        let _inside = runtime.enter();
        assert!(thread_may_block());
    }
}
