//! The names of the crate's `sync.rs`, on loom's lock.

use crate::sim::never;
use loom::sync as loomed;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

// Loom's own cannot be the type of a `self`, and nothing here hangs on counting.
pub(crate) use std::sync::Arc;

pub(crate) struct Mutex<T>(loomed::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loomed::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { held: Some(self.hold()), mutex: self }
    }

    fn hold(&self) -> loomed::MutexGuard<'_, T> {
        self.0.lock().expect("no model panics with a lock")
    }
}

pub(crate) struct MutexGuard<'a, T> {
    /// `None` only inside of `wait_until`.
    held: Option<loomed::MutexGuard<'a, T>>,
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

pub(crate) struct Condvar(loomed::Condvar);

impl Condvar {
    pub(crate) fn new() -> Condvar {
        Condvar(loomed::Condvar::new())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Waits for a signal. A deadline that can come has come at once: only a wait
/// without one can last, and must be ended by a signal.
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
