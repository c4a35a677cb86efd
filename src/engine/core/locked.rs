//! The lock of the core, which keeps the slots shut while callers wait.

use super::slots::Slots;
use super::state::State;
use crate::sys::sync::MutexGuard;
use std::ops::{Deref, DerefMut};

/// The locked state. The slots are shut when it is unlocked with callers in the queue.
pub(super) struct Locked<'a, T, E> {
    pub(super) state: MutexGuard<'a, State<T, E>>,
    pub(super) slots: &'a Slots<T>,
}

impl<T, E: Clone> Locked<'_, T, E> {
    /// Shuts the slots; then as `collect`.
    pub(super) fn shut(&mut self) {
        if !self.slots.is_shut() {
            // Before the search: what is checked in from now on passes the lock.
            self.slots.set_shut(true);
            self.empty_slots();
        }
    }

    /// Makes the connections in the slots idle ones. Whoever has put one into slots that are
    /// shut takes it out again.
    pub(super) fn collect(&mut self) {
        if !self.slots.is_shut() {
            self.empty_slots();
        }
    }

    fn empty_slots(&mut self) {
        for item in self.slots.collect() {
            self.state.one_less_in_use();
            self.state.idle.push_back(item);
        }
        // The check-in finds its connection gone, and offers it to nobody.
        self.state.wake_head();
    }
}

impl<T, E> Deref for Locked<'_, T, E> {
    type Target = State<T, E>;

    fn deref(&self) -> &State<T, E> {
        &self.state
    }
}

impl<T, E> DerefMut for Locked<'_, T, E> {
    fn deref_mut(&mut self) -> &mut State<T, E> {
        &mut self.state
    }
}

impl<T, E> Drop for Locked<'_, T, E> {
    fn drop(&mut self) {
        self.slots.set_shut(self.state.closed || !self.state.queue.is_empty());
    }
}
