//! The lock and the condition variable that `core` and `budget` are built on.
//!
//! One small door, so that the loom tests can put their own lock behind it and
//! run the very same `core.rs` through every interleaving.

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::Arc;

use std::time::Instant;

/// Waits for a signal, at most until the deadline; wakes may be spurious.
pub(crate) fn wait_until<T>(signal: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Instant) {
    signal.wait_until(guard, deadline);
}
