//! Idle connections that were checked in while no caller waited: a thread takes its last one
//! back without the core's lock.
//!
//! A connection in a slot still counts as in use in the state behind the lock. Whatever needs
//! to know all idle connections collects them from the slots under the lock.
//!
//! Law: no connection stays in a slot while a caller waits. The one that begins to wait shuts
//! the slots and then swaps every slot empty. A check-in swaps its connection in and then
//! looks whether they are shut: if the other swap came first, it sees that, because both are
//! acquiring and releasing swaps of one slot, and takes the connection out again; if it came
//! later, it has found the connection.

use crate::sys::sync::{AtomicBool, Ordering, SLOTS, Slot, slot_of_thread, spins};

pub(super) struct Slots<T> {
    slots: [Slot<T>; SLOTS],
    /// Callers wait, or the pool is closed. Law: written under the core's lock.
    shut: AtomicBool,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots { slots: std::array::from_fn(|_| Slot::new()), shut: AtomicBool::new(false) }
    }

    /// Takes the connection that this thread checked in last, if it is there.
    #[inline]
    pub(super) fn take(&self) -> Option<T> {
        if self.is_shut() {
            return None;
        }
        self.slots[slot_of_thread()].swap(None)
    }

    /// Takes a connection that another thread checked in last, if there is one. The others stay
    /// where they are, so that their threads still find them.
    pub(super) fn take_any(&self) -> Option<T> {
        if self.is_shut() {
            return None;
        }
        let (before, from) = self.slots.split_at(slot_of_thread());
        from.iter().chain(before).find_map(|slot| slot.swap(None))
    }

    /// As `take_any`, and looks several times within some microseconds: another processor may
    /// check one in, which costs less than to sleep until then.
    pub(super) fn take_soon(&self) -> Option<T> {
        spins().find_map(|()| self.take_any())
    }

    /// Puts a connection in; returns those that must be checked in under the lock: this one,
    /// the one that was there before, or both.
    #[inline]
    pub(super) fn put(&self, item: T) -> [Option<T>; 2] {
        if self.is_shut() {
            return [Some(item), None];
        }
        let slot = &self.slots[slot_of_thread()];
        let before = slot.swap(Some(item));
        if self.shut.load(Ordering::Acquire) {
            return [before, slot.swap(None)];
        }
        [before, None]
    }

    /// Takes all connections out. Under the core's lock.
    pub(super) fn collect(&self) -> impl Iterator<Item = T> {
        self.slots.iter().filter_map(|slot| slot.swap(None))
    }

    /// Returns `true` if they are shut; that may change at once, but under the core's lock.
    #[inline]
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }

    /// Under the core's lock.
    pub(super) fn set_shut(&self, shut: bool) {
        if self.is_shut() != shut {
            self.shut.store(shut, Ordering::Release);
        }
    }
}
