//! The names of the crate's `sync.rs` for a world of one thread: nobody ever
//! waits; a wait is noted, and whether a signal came after it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::sync::Arc;

/// Whether a signal came since the last wait; what came before it is lost, as
/// with every condition variable.
#[derive(Clone, Default)]
pub(crate) struct Bell(Arc<AtomicBool>);

impl Bell {
    pub(crate) fn has_rung(&self) -> bool {
        self.0.load(Relaxed)
    }
}

pub(crate) struct Condvar(Bell);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(Bell::default())
    }

    pub(crate) fn notify_one(&self) {
        self.0.0.store(true, Relaxed);
    }

    pub(crate) fn notify_all(&self) {
        self.notify_one();
    }
}

thread_local!(static LAST_WAIT: RefCell<Option<(Bell, Instant)>> = const { RefCell::new(None) });

/// Notes who would sleep now, and until when at most.
pub(crate) fn wait_until<T>(signal: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Instant) {
    signal.0.0.store(false, Relaxed);
    LAST_WAIT.with(|last| *last.borrow_mut() = Some((signal.0.clone(), deadline)));
    // For the included files' own tests, which do have two threads.
    MutexGuard::unlocked(guard, std::thread::yield_now);
}

/// The bell and the deadline of the last wait.
pub(crate) fn last_wait() -> (Bell, Instant) {
    LAST_WAIT.with(|last| last.borrow().clone()).expect("somebody waited")
}
