//! What is known of many tenants at one moment.

use super::tenant_totals::TenantTotals;
use crate::error::Levels;
use std::sync::Arc;
use std::time::Duration;

/// The tenants of one `Tenants`, and the permits that they share.
pub(crate) struct TenantsReport {
    /// How many tenants have a pool.
    pub(crate) count: usize,
    pub(crate) permits: SharedPermitsReport,
    /// Those that have a series of their own, the busiest first.
    pub(crate) busiest: Vec<TenantReport>,
    /// All others together.
    pub(crate) other: TenantReport,
}

/// The counts of shared permits.
pub(crate) struct SharedPermitsReport {
    pub(crate) limit: u32,
    pub(crate) used: u32,
    pub(crate) wanted: u32,
}

/// One tenant, or several together.
pub(crate) struct TenantReport {
    /// Its label, unique among the tenants.
    pub(crate) label: Arc<str>,
    pub(crate) now: TenantLevels,
    /// What was counted in its series.
    pub(crate) totals: TenantTotals,
}

/// What is the case with a tenant at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct TenantLevels {
    pub(crate) levels: Levels,
    pub(crate) is_suspended: bool,
    /// How long the caller has waited that has waited longest.
    pub(crate) longest_wait: Option<Duration>,
    /// How long the connection has been in use that has been longest.
    pub(crate) longest_use: Option<Duration>,
    /// For how long connecting has failed, and the first error.
    pub(crate) outage: Option<(Duration, String)>,
}

impl TenantLevels {
    /// Adds another pool of the same tenant, or another tenant.
    pub(crate) fn add(&mut self, other: TenantLevels) {
        self.levels.add(&other.levels);
        self.is_suspended |= other.is_suspended;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
        self.longest_use = self.longest_use.max(other.longest_use);
        let down_for = |outage: &Option<(Duration, String)>| outage.as_ref().map(|(time, _)| *time);
        if down_for(&other.outage) > down_for(&self.outage) {
            self.outage = other.outage;
        }
    }
}
