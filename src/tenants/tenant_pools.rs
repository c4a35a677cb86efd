//! The pools of tenants as they are reported: those that exist, and what those did that are gone.

use crate::connection::{PoolTotals, Shared, SharedPermits};
use crate::driver::Driver;
use crate::engine::Engine;
use crate::observe::{
    PastOutage, PoolReport, Reporting, SharedPermitsReport, Snapshot, TenantLevels, TenantReport,
    TenantSeries, TenantTotals, TenantsReport, tenant_label,
};
use crate::pool::Pool;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How many outages are listed, the longest first.
const OUTAGES: usize = 10;

/// The pools of the tenants of one `Tenants`, from their first use until they count no more.
///
/// A pool that was removed is still read until its last connection is closed; then what it did
/// is added to the sum of those that are gone.
pub(super) struct TenantPools<D: Driver> {
    /// Law: no pool is asked or dropped under this lock.
    state: Mutex<State<D>>,
}

struct State<D: Driver> {
    pools: BTreeMap<u64, TenantPool<D>>,
    /// Numbers the pools.
    entered: u64,
    /// What the pools did that are gone.
    gone: Snapshot,
    series: TenantSeries,
}

struct TenantPool<D: Driver> {
    label: Arc<str>,
    engine: Weak<Engine<D>>,
    /// It counts as long as this lives.
    shared: Weak<Shared<D>>,
    totals: Arc<PoolTotals>,
    /// What was counted of it.
    counted: TenantTotals,
}

/// What was read of one pool.
struct Reading {
    pool: u64,
    label: Arc<str>,
    snapshot: Snapshot,
    /// `None` if the pool is closed.
    report: Option<PoolReport>,
}

impl<D: Driver> TenantPools<D> {
    pub(super) fn new(most: usize) -> TenantPools<D> {
        let (gone, series) = (Snapshot::empty(""), TenantSeries::new(most));
        let state = State { pools: BTreeMap::new(), entered: 0, gone, series };
        TenantPools { state: Mutex::new(state) }
    }

    /// Sets how many tenants have a series of their own.
    pub(super) fn set_most_series(&self, most: usize) {
        self.state.lock().series.set_most(most);
    }

    /// Adds the pool of a tenant.
    pub(super) fn enter(&self, pool: &Pool<D>) {
        let (engine, shared) = (pool.engine(), pool.engine().shared());
        let pool = TenantPool {
            label: tenant_label(pool.name()),
            engine: Arc::downgrade(engine),
            shared: Arc::downgrade(shared),
            totals: Arc::clone(shared.pool_totals()),
            counted: TenantTotals::default(),
        };
        let mut state = self.state.lock();
        state.entered += 1;
        let number = state.entered;
        state.series.enter(&pool.label);
        state.pools.insert(number, pool);
    }

    /// Adds what the pools did that count no more to the sum of those that are gone; returns how
    /// many are left.
    pub(super) fn settle(&self) -> usize {
        let mut state = self.state.lock();
        let State { pools, gone, series, .. } = &mut *state;
        let has_ended = |(_, pool): &(&u64, &TenantPool<D>)| pool.shared.strong_count() == 0;
        let ended: Vec<_> = pools.iter().filter(has_ended).map(|(number, _)| *number).collect();
        let ended: Vec<_> = ended.iter().filter_map(|number| pools.remove(number)).collect();
        for pool in &ended {
            let snapshot = pool.totals.snapshot(&pool.label);
            let mut counted = pool.counted;
            series.count(&pool.label, &counted.raise_to(&TenantTotals::of(&snapshot)));
            series.leave(&pool.label);
            gone.add(&snapshot);
        }
        let left = pools.len();
        drop(state);
        drop(ended);
        left
    }

    /// Reads every pool; returns what they did that are gone as well.
    fn read(&self) -> (Snapshot, Vec<Reading>) {
        self.settle();
        let (gone, pools): (_, Vec<_>) = {
            let state = self.state.lock();
            let parts = |(number, pool): (&u64, &TenantPool<D>)| {
                let (label, engine) = (Arc::clone(&pool.label), Weak::clone(&pool.engine));
                (*number, label, engine, Arc::clone(&pool.totals))
            };
            (state.gone.clone(), state.pools.iter().map(parts).collect())
        };
        let read =
            |(pool, label, engine, totals): (u64, Arc<str>, Weak<Engine<D>>, Arc<PoolTotals>)| {
                let engine = engine.upgrade();
                let report = engine.as_ref().and_then(|engine| engine.report());
                let snapshot = match (&report, &engine) {
                    (Some(report), _) => report.snapshot.clone(),
                    (None, Some(engine)) => engine.snapshot(),
                    (None, None) => totals.snapshot(&label),
                };
                Reading { pool, label, snapshot, report }
            };
        (gone, pools.into_iter().map(read).collect())
    }

    /// Returns the sum of all pools, of those that are gone as well.
    pub(super) fn snapshot(&self, name: &str, permits: &SharedPermits) -> Snapshot {
        let (gone, readings) = self.read();
        sum(name, permits, gone, &readings)
    }

    /// Returns the sum of all pools, with the busiest tenants.
    pub(super) fn report(
        &self,
        name: &str,
        tenants: usize,
        permits: &SharedPermits,
        now: Instant,
    ) -> PoolReport {
        let (gone, readings) = self.read();
        let snapshot = sum(name, permits, gone, &readings);
        let reports = || readings.iter().filter_map(|reading| reading.report.as_ref());
        let longest_wait = reports().filter_map(|report| report.longest_wait).max();
        let (outages, waits) = (outages(&readings), waits(reports()));
        PoolReport {
            name: name.to_owned(),
            server: format!("tenants with a pool: {tenants}"),
            snapshot,
            is_suspended: false,
            longest_wait,
            connections: Vec::new(),
            closes: Vec::new(),
            outages,
            waits,
            limits: Default::default(),
            tenants: Some(self.tenants_report(readings, tenants, permits, now)),
        }
    }

    fn tenants_report(
        &self,
        readings: Vec<Reading>,
        count: usize,
        permits: &SharedPermits,
        now: Instant,
    ) -> TenantsReport {
        let mut levels: HashMap<Arc<str>, TenantLevels> = HashMap::new();
        let mut state = self.state.lock();
        let State { pools, series, .. } = &mut *state;
        for reading in readings {
            if let Some(pool) = pools.get_mut(&reading.pool) {
                let growth = pool.counted.raise_to(&TenantTotals::of(&reading.snapshot));
                series.count(&pool.label, &growth);
            }
            let sum = levels.entry(Arc::clone(&reading.label)).or_default();
            sum.add(tenant_levels(&reading));
        }
        let busy =
            |label: &str| levels.get(label).map_or(0, |now| now.levels.in_use + now.levels.waiting);
        series.rank(now, busy);
        let (shown, other) = (series.shown(), series.other());
        drop(state);
        let report = |now: Option<TenantLevels>, (label, totals)| TenantReport {
            label,
            now: now.unwrap_or_default(),
            totals,
        };
        let busiest = shown.into_iter().map(|it| report(levels.remove(&it.0), it)).collect();
        let others = levels.into_values().reduce(|mut sum, now| {
            sum.add(now);
            sum
        });
        TenantsReport {
            count,
            permits: SharedPermitsReport {
                limit: permits.limit(),
                used: permits.used(),
                wanted: permits.wanted(),
            },
            busiest,
            other: report(others, other),
        }
    }
}

fn sum(name: &str, permits: &SharedPermits, gone: Snapshot, readings: &[Reading]) -> Snapshot {
    let mut sum = gone;
    name.clone_into(&mut sum.name);
    readings.iter().for_each(|reading| sum.add(&reading.snapshot));
    sum.levels.max_size = permits.limit();
    sum
}

/// Returns the outages of now, the longest first, each with its tenant.
fn outages(readings: &[Reading]) -> Vec<PastOutage> {
    let current = readings.iter().filter_map(|reading| {
        let outage = reading.report.as_ref()?.outage()?;
        let error = format!("{}: {}", reading.label, outage.error);
        Some(PastOutage { error, ..outage.clone() })
    });
    let mut current: Vec<_> = current.collect();
    current.sort_by_key(|outage| outage.began);
    current.truncate(OUTAGES);
    current
}

/// Returns the longest wait of each period in any of the pools, the newest last.
fn waits<'a>(reports: impl Iterator<Item = &'a PoolReport>) -> Vec<Duration> {
    let longest = |mut longest: Vec<Duration>, report: &PoolReport| {
        longest.resize(longest.len().max(report.waits.len()), Duration::ZERO);
        let pairs = longest.iter_mut().rev().zip(report.waits.iter().rev());
        pairs.for_each(|(most, wait)| *most = (*most).max(*wait));
        longest
    };
    reports.fold(Vec::new(), longest)
}

fn tenant_levels(reading: &Reading) -> TenantLevels {
    let levels = TenantLevels { levels: reading.snapshot.levels, ..TenantLevels::default() };
    let Some(report) = &reading.report else { return levels };
    let error = report.outage().map(|outage| outage.error.clone());
    TenantLevels {
        is_suspended: report.is_suspended,
        longest_wait: report.longest_wait,
        longest_use: report.connections.iter().filter_map(|info| info.held_for()).max(),
        outage: report.down_for().zip(error),
        ..levels
    }
}
