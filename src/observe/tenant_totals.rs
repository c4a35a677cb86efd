//! The running totals of one tenant that have a series.

use super::snapshot::Snapshot;
use std::time::Duration;

/// Running totals of one tenant, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TenantTotals {
    pub(crate) checkouts: u64,
    pub(crate) timeouts: u64,
    pub(crate) opened: u64,
    pub(crate) connect_failures: u64,
    /// How long check-outs waited, and how long connections were in use.
    pub(crate) waited: Duration,
    pub(crate) used: Duration,
}

impl TenantTotals {
    /// Returns the totals of a pool.
    pub(crate) fn of(now: &Snapshot) -> TenantTotals {
        TenantTotals {
            checkouts: now.checkouts,
            timeouts: now.timeouts,
            opened: now.opened,
            connect_failures: now.connect_failures,
            waited: now.wait.sum(),
            used: now.usage.sum(),
        }
    }

    /// Adds the totals of another one.
    pub(crate) fn add(&mut self, other: &TenantTotals) {
        self.checkouts += other.checkouts;
        self.timeouts += other.timeouts;
        self.opened += other.opened;
        self.connect_failures += other.connect_failures;
        self.waited += other.waited;
        self.used += other.used;
    }

    /// Raises each total to that of `now`; returns by how much. A total that was read before
    /// another reader's raises nothing.
    pub(crate) fn raise_to(&mut self, now: &TenantTotals) -> TenantTotals {
        let growth = TenantTotals {
            checkouts: now.checkouts.saturating_sub(self.checkouts),
            timeouts: now.timeouts.saturating_sub(self.timeouts),
            opened: now.opened.saturating_sub(self.opened),
            connect_failures: now.connect_failures.saturating_sub(self.connect_failures),
            waited: now.waited.saturating_sub(self.waited),
            used: now.used.saturating_sub(self.used),
        };
        self.add(&growth);
        growth
    }
}
