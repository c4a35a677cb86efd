//! What a pool has done in all, which can be read when the pool is gone.

use super::checkouts::{CheckoutInfo, Checkouts};
use crate::error::Levels;
use crate::observe::{Counters, Snapshot, Uses};
use std::sync::Arc;

/// The running totals of one pool or manager, and those of its open connections.
pub(crate) struct PoolTotals {
    pub(super) counters: Counters,
    pub(super) checkouts: Checkouts,
}

impl PoolTotals {
    /// Creates them; `is_exact`: the times in use are exact from the first one on.
    pub(super) fn new(is_exact: bool) -> PoolTotals {
        PoolTotals { counters: Counters::new(), checkouts: Checkouts::new(is_exact) }
    }

    /// Returns how often connections were checked out and peeked at.
    pub(super) fn uses(&self) -> Uses {
        self.checkouts.uses(&self.counters)
    }

    /// Removes a connection that is closed, and adds its uses to the totals.
    pub(super) fn unregister(&self, checkout: &Arc<CheckoutInfo>) {
        self.checkouts.unregister(checkout, &self.counters);
    }

    /// Returns the totals of a pool that is gone.
    pub(crate) fn snapshot(&self, name: &str) -> Snapshot {
        Snapshot::new(name, Levels::default(), 0, &self.counters, self.uses())
    }
}
