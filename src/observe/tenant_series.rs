//! Which tenants have a series of their own, and what each series has counted.
//!
//! What a tenant does is counted where it belongs at that moment: in its own series, or in that
//! of the others. Nothing that was counted moves, so no series falls, and all series together
//! have what all tenants did.

use super::tenant_label::OTHER;
use super::tenant_totals::TenantTotals;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the busiest tenants are chosen anew; the first look counts as one after this time.
const RANK_EVERY: Duration = Duration::from_secs(5);

/// After which time the load of a tenant counts half.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// A tenant without a series takes the place of one that has one if its load is higher by this
/// factor, so that two that are alike do not take turns.
const FACTOR: f64 = 1.5;

/// How many series of tenants that are gone are remembered: a tenant that comes back goes on
/// with its own.
const REMEMBERED: usize = 1_000;

/// The series of the tenants of one `Tenants`.
pub(crate) struct TenantSeries {
    /// How many tenants have a series of their own.
    most: usize,
    /// The tenants that have a pool, and those that are remembered.
    tenants: HashMap<Arc<str>, Tenant>,
    /// Law: how many of them have a series of their own now.
    shown: usize,
    /// Law: those of them that have no pool, in the order in which their last ones ended.
    gone: BTreeMap<u64, Arc<str>>,
    other: TenantTotals,
    ranked: Option<Instant>,
    /// Numbers the tenants whose last pool ended.
    left: u64,
}

#[derive(Default)]
struct Tenant {
    /// How many pools have its label.
    pools: u32,
    /// It has a series of its own now.
    is_shown: bool,
    /// What it did while it had one; `None` if it never had.
    counted: Option<TenantTotals>,
    /// How busy it was lately: seconds in which connections were in use or asked for.
    load: f64,
    /// How long connections were in use since the load was calculated.
    fresh: Duration,
    /// The number of the end of its last pool.
    left: u64,
}

impl Tenant {
    fn show(&mut self) {
        self.is_shown = true;
        self.counted.get_or_insert_default();
    }
}

impl TenantSeries {
    pub(crate) fn new(most: usize) -> TenantSeries {
        TenantSeries {
            most,
            tenants: HashMap::new(),
            shown: 0,
            gone: BTreeMap::new(),
            other: TenantTotals::default(),
            ranked: None,
            left: 0,
        }
    }

    /// Sets how many tenants have a series of their own, from the next ranking on.
    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most;
        self.ranked = None;
    }

    /// Adds a pool with this label.
    pub(crate) fn enter(&mut self, label: &Arc<str>) {
        let tenant = self.tenants.entry(Arc::clone(label)).or_default();
        tenant.pools += 1;
        self.gone.remove(&tenant.left);
        if !tenant.is_shown && self.shown < self.most {
            tenant.show();
            self.shown += 1;
        }
    }

    /// Removes a pool with this label that will count no more.
    pub(crate) fn leave(&mut self, label: &Arc<str>) {
        let Some(tenant) = self.tenants.get_mut(label) else { return };
        tenant.pools -= 1;
        if tenant.pools > 0 {
            return;
        }
        self.shown -= usize::from(tenant.is_shown);
        self.left += 1;
        (tenant.is_shown, tenant.load, tenant.left) = (false, 0.0, self.left);
        if tenant.counted.is_none() {
            self.tenants.remove(label);
            return;
        }
        self.gone.insert(self.left, Arc::clone(label));
        if self.gone.len() > REMEMBERED
            && let Some((_, oldest)) = self.gone.pop_first()
        {
            self.tenants.remove(&oldest);
        }
    }

    /// Counts what a pool with this label did since it was last counted.
    pub(crate) fn count(&mut self, label: &str, growth: &TenantTotals) {
        let tenant = self.tenants.get_mut(label);
        let counted = tenant.and_then(|tenant| {
            tenant.fresh += growth.used;
            tenant.counted.as_mut().filter(|_| tenant.is_shown)
        });
        counted.unwrap_or(&mut self.other).add(growth);
    }

    /// Chooses the busiest tenants, if it is time; `busy` is how many connections of a tenant
    /// are in use or asked for.
    pub(crate) fn rank(&mut self, now: Instant, busy: impl Fn(&str) -> u32) {
        let since = self.ranked.map(|ranked| now.saturating_duration_since(ranked));
        let has_place = self.shown < self.most.min(self.tenants.len() - self.gone.len());
        if since.is_some_and(|since| since < RANK_EVERY) && !has_place {
            return;
        }
        let since = since.unwrap_or(RANK_EVERY).min(HALF_LIFE).as_secs_f64();
        let decay = (-since / HALF_LIFE.as_secs_f64()).exp2();
        for (label, tenant) in &mut self.tenants {
            let fresh = std::mem::take(&mut tenant.fresh).as_secs_f64();
            tenant.load = tenant.load * decay + fresh + f64::from(busy(label)) * since;
        }
        self.ranked = Some(now);
        self.show_the_busiest();
    }

    fn show_the_busiest(&mut self) {
        let claim = |tenant: &Tenant| tenant.load * if tenant.is_shown { FACTOR } else { 1.0 };
        let mut present: Vec<_> =
            self.tenants.iter_mut().filter(|(_, tenant)| tenant.pools > 0).collect();
        present.sort_by(|(one, a), (two, b)| {
            let by_load = claim(b).total_cmp(&claim(a));
            by_load.then(b.is_shown.cmp(&a.is_shown)).then(one.cmp(two))
        });
        self.shown = present.len().min(self.most);
        for (place, (_, tenant)) in present.into_iter().enumerate() {
            if place < self.most {
                tenant.show();
            } else {
                tenant.is_shown = false;
            }
        }
    }

    /// Returns the tenants that have a series of their own, the busiest first.
    pub(crate) fn shown(&self) -> Vec<(Arc<str>, TenantTotals)> {
        let mut shown: Vec<_> = self.tenants.iter().filter(|(_, it)| it.is_shown).collect();
        shown.sort_by(|(one, a), (two, b)| b.load.total_cmp(&a.load).then(one.cmp(two)));
        let totals = |(label, it): (&Arc<str>, &Tenant)| Some((Arc::clone(label), it.counted?));
        shown.into_iter().filter_map(totals).collect()
    }

    /// Returns the series of the others.
    pub(crate) fn other(&self) -> (Arc<str>, TenantTotals) {
        (OTHER.into(), self.other)
    }
}

#[cfg(test)]
mod tests;
