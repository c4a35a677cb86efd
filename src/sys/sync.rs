//! The lock, the condition variable, the slots and the clock that `core` and `permits` are built on.
//!
//! They are re-exported from this one file, so that the loom tests can substitute
//! loom's lock and run the same source files through every interleaving.

use super::thread_number;
use crossbeam_utils::CachePadded;
use crossbeam_utils::atomic::AtomicCell;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Returns the time, for what asks for it under a lock of its own.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for a signal, until the deadline at most; wake-ups may be spurious.
pub(crate) fn wait_until<T>(signal: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Instant) {
    signal.wait_until(guard, deadline);
}

/// How many threads can each have a slot of their own.
pub(crate) const SLOTS: usize = 16;

/// Holds one value or none; without a lock if the value is as small as a pointer.
pub(crate) struct Slot<T>(CachePadded<AtomicCell<Option<T>>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Slot<T> {
        Slot(CachePadded::new(AtomicCell::new(None)))
    }

    /// Replaces what is there, and returns it; acquires and releases.
    #[inline]
    pub(crate) fn swap(&self, item: Option<T>) -> Option<T> {
        self.0.swap(item)
    }
}

/// Returns after a growing pause each time, some microseconds in all.
pub(crate) fn spins() -> impl Iterator<Item = ()> {
    let backoff = crossbeam_utils::Backoff::new();
    (0..6).map(move |_| backoff.spin())
}

/// Returns the index of this thread's slot, which other threads may share.
#[inline]
pub(crate) fn slot_of_thread() -> usize {
    const COUNT: u64 = SLOTS as u64;
    usize::try_from(thread_number::assign() % COUNT).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_for_a_pointer_has_no_lock() {
        assert!(AtomicCell::<Option<Box<u64>>>::is_lock_free());
        let slot = Slot::new();
        assert_eq!(slot.swap(Some(Box::new(1))), None);
        assert_eq!(slot.swap(None), Some(Box::new(1)));
        assert_eq!(slot.swap(None), None);
    }
}
