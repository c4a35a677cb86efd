//! The names of the crate's `sync.rs` for a simulation with one thread: no thread
//! waits; a wait is recorded, and whether a signal came after it.

use std::cell::{Cell, RefCell};
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(crate) use parking_lot::{Mutex, MutexGuard};
pub(crate) use std::sync::Arc;

/// Whether a signal came since the last wait; what came before it is lost, as
/// with every condition variable.
#[derive(Clone, Default)]
pub(crate) struct Signal(Arc<AtomicBool>);

impl Signal {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) struct Condvar(Signal);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(Signal::default())
    }

    pub(crate) fn notify_one(&self) {
        self.0.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn notify_all(&self) {
        self.notify_one();
    }
}

/// Fewer than the callers: some share one.
pub(crate) const SLOTS: usize = 3;

pub(crate) struct Slot<T>(Mutex<Option<T>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Slot<T> {
        Slot(Mutex::new(None))
    }

    pub(crate) fn swap(&self, item: Option<T>) -> Option<T> {
        std::mem::replace(&mut self.0.lock(), item)
    }
}

thread_local!(static SLOT: Cell<usize> = const { Cell::new(0) });

/// Makes the caller of the next step one that has this slot.
pub(crate) fn set_slot(slot: usize) {
    SLOT.set(slot);
}

pub(crate) fn slot_of_thread() -> usize {
    SLOT.get()
}

/// No other thread runs that could check a connection in: one look.
pub(crate) fn spins() -> impl Iterator<Item = ()> {
    std::iter::once(())
}

thread_local!(static NOW: Cell<Option<Instant>> = const { Cell::new(None) });

/// Sets the time of this thread's simulation.
pub(crate) fn set_now(now: Instant) {
    NOW.set(Some(now));
}

pub(crate) fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

thread_local!(static LAST_WAIT: RefCell<Option<(Signal, Instant)>> = const { RefCell::new(None) });

/// Records the condition variable and the deadline of a wait.
pub(crate) fn wait_until<T>(signal: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Instant) {
    signal.0.0.store(false, Ordering::Relaxed);
    LAST_WAIT.with(|last| *last.borrow_mut() = Some((signal.0.clone(), deadline)));
    // For the included files' own tests, which do have two threads.
    MutexGuard::unlocked(guard, std::thread::yield_now);
}

/// Returns the signal and the deadline of the last wait.
pub(crate) fn last_wait() -> (Signal, Instant) {
    LAST_WAIT.with(|last| last.borrow().clone()).expect("there was a wait")
}
