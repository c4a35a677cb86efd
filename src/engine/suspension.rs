//! A pool that hands out no connection until it is resumed.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// Whether a pool is suspended, and the callers that wait until it is not.
#[derive(Default)]
pub(super) struct Suspension {
    /// Law: changed under the lock of `waiting`. A check-out that reads an old value is one that
    /// came a moment earlier.
    is_suspended: AtomicBool,
    /// How many callers wait.
    waiting: Mutex<u32>,
    resumed: Condvar,
}

/// What became of a caller that met a suspended pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    Resumed,
    TimedOut,
    /// So many callers wait already.
    Full(u32),
}

impl Suspension {
    #[inline]
    pub(super) fn is_suspended(&self) -> bool {
        self.is_suspended.load(Relaxed)
    }

    /// Suspends or resumes; returns `true` if that is a change.
    pub(super) fn set(&self, is_suspended: bool) -> bool {
        let _waiting = self.waiting.lock();
        let was_suspended = self.is_suspended.swap(is_suspended, Relaxed);
        if !is_suspended {
            self.resumed.notify_all();
        }
        was_suspended != is_suspended
    }

    pub(super) fn waiting(&self) -> u32 {
        *self.waiting.lock()
    }

    /// Waits until it is resumed, until the deadline at most.
    pub(super) fn wait(&self, max_waiting: Option<u32>, until: Instant) -> Awaited {
        let mut waiting = self.waiting.lock();
        if let Some(limit) = max_waiting.filter(|limit| *waiting >= *limit) {
            return Awaited::Full(limit);
        }
        *waiting += 1;
        while self.is_suspended() {
            if self.resumed.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        *waiting -= 1;
        if self.is_suspended() { Awaited::TimedOut } else { Awaited::Resumed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn callers_wait_until_it_is_resumed_or_their_deadline() {
        let suspension = Suspension::default();
        let soon = || Instant::now() + Duration::from_millis(10);
        assert_eq!(suspension.wait(Some(1), soon()), Awaited::Resumed, "it is not suspended");
        assert!(suspension.set(true) && !suspension.set(true));
        assert_eq!(suspension.wait(None, soon()), Awaited::TimedOut);
        let far = Instant::now() + Duration::from_secs(60);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| suspension.wait(Some(1), far));
            while suspension.waiting() == 0 {
                thread::yield_now();
            }
            assert_eq!(suspension.wait(Some(1), far), Awaited::Full(1));
            assert!(suspension.set(false));
            assert_eq!(waiter.join().expect("no panic"), Awaited::Resumed);
        });
        assert_eq!(suspension.waiting(), 0);
    }
}
