//! Several counts of those who use one engine.
//!
//! Every guard keeps its engine alive. If all threads counted their guards at one place, that
//! would be the one memory that they all write at each check-out and check-in.

use crate::sys::sync::slot_of_thread;
use std::ops::Deref;
use std::sync::{Arc, OnceLock, Weak};

/// How many counts a pool has.
const COUNTS: usize = 4;

/// Keeps the engine alive; on a cache line of its own.
#[repr(align(64))]
pub(crate) struct UseCount<T>(Arc<T>);

impl<T> Deref for UseCount<T> {
    type Target = Arc<T>;

    #[inline]
    fn deref(&self) -> &Arc<T> {
        &self.0
    }
}

/// The counts of one pool, which owns them.
pub(crate) struct UseCounts<T> {
    _counts: [Arc<UseCount<T>>; COUNTS],
}

/// The same counts, as the engine knows them.
pub(super) struct KnownCounts<T>(OnceLock<[Weak<UseCount<T>>; COUNTS]>);

impl<T> KnownCounts<T> {
    pub(super) const fn none() -> KnownCounts<T> {
        KnownCounts(OnceLock::new())
    }

    /// Creates the counts for the engine's pool.
    pub(super) fn make(&self, engine: &Arc<T>) -> UseCounts<T> {
        let counts = std::array::from_fn(|_| Arc::new(UseCount(Arc::clone(engine))));
        let _ = self.0.set(counts.each_ref().map(Arc::downgrade));
        UseCounts { _counts: counts }
    }

    /// Counts one more use of the engine, at a place that few other threads share.
    #[inline]
    pub(super) fn one_more(&self, engine: &Arc<T>) -> Arc<UseCount<T>> {
        let counts = self.0.get();
        let count = counts.and_then(|counts| counts[slot_of_thread() % COUNTS].upgrade());
        // Without a pool, or when it is gone.
        count.unwrap_or_else(|| Arc::new(UseCount(Arc::clone(engine))))
    }
}
