//! The types of the crate's `sync.rs`, implemented with loom's lock.

use crate::sim::{at, never};
use loom::sync as loom_sync;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

// Loom's `Arc` cannot be the type of a `self`, and no model depends on the reference count.
pub(crate) use std::sync::Arc;

pub(crate) use loom_sync::atomic::{AtomicBool, Ordering};

/// All threads meet in one slot: the most that can go wrong with the fewest schedules.
pub(crate) const SLOTS: usize = 1;

/// An exchange under a lock acquires and releases, as the crate's does.
pub(crate) struct Slot<T>(loom_sync::Mutex<Option<T>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Slot<T> {
        Slot(loom_sync::Mutex::new(None))
    }

    pub(crate) fn swap(&self, item: Option<T>) -> Option<T> {
        std::mem::replace(&mut self.0.lock().expect("no model panics with a lock"), item)
    }
}

pub(crate) fn slot_of_thread() -> usize {
    0
}

/// One look: more of them meet nothing that one does not.
pub(crate) fn spins() -> impl Iterator<Item = ()> {
    std::iter::once(())
}

pub(crate) struct Mutex<T>(loom_sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom_sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { held: Some(self.hold()), mutex: self }
    }

    fn hold(&self) -> loom_sync::MutexGuard<'_, T> {
        self.0.lock().expect("no model panics with a lock")
    }
}

pub(crate) struct MutexGuard<'a, T> {
    /// `None` only inside of `wait_until`.
    held: Option<loom_sync::MutexGuard<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held")
    }
}

pub(crate) struct Condvar(loom_sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(loom_sync::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// The time stands still: no decision depends on it.
pub(crate) fn now() -> Instant {
    at(0)
}

/// Waits for a signal. A deadline other than `never()` counts as passed immediately: only a
/// wait without a deadline blocks, and a signal must end it.
pub(crate) fn wait_until<T>(signal: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Instant) {
    let held = guard.held.take().expect("it is held");
    guard.held = Some(if deadline >= never() {
        signal.0.wait(held).expect("no model panics with a lock")
    } else {
        drop(held);
        loom::thread::yield_now();
        guard.mutex.hold()
    });
}
