//! What is known of one pool at one moment, and all pools of the process.

use super::connection_info::ConnectionInfo;
use super::history::{PastClose, PastOutage};
use super::snapshot::Snapshot;
use super::tenants_report::TenantsReport;
use crate::sys::process;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

/// Everything that is known of one pool or manager at one moment.
pub(crate) struct PoolReport {
    /// Its name, unique among the pools of the process.
    pub(crate) name: String,
    /// The driver's label: where it connects to.
    pub(crate) server: String,
    pub(crate) snapshot: Snapshot,
    pub(crate) is_suspended: bool,
    /// How long the caller has waited that has waited longest.
    pub(crate) longest_wait: Option<Duration>,
    pub(crate) connections: Vec<ConnectionInfo>,
    /// The last closes, outages and waits; the newest first, of waits last.
    pub(crate) closes: Vec<PastClose>,
    pub(crate) outages: Vec<PastOutage>,
    pub(crate) waits: Vec<Duration>,
    pub(crate) limits: LimitsReport,
    /// If it stands for many pools: those, and the permits that they share.
    pub(crate) tenants: Option<TenantsReport>,
}

impl PoolReport {
    /// Returns for how long connecting has failed; `None` if it does not fail.
    pub(crate) fn down_for(&self) -> Option<Duration> {
        Some(SystemTime::now().duration_since(self.outage()?.began).unwrap_or_default())
    }

    /// Returns the outage of now, if there is one.
    pub(crate) fn outage(&self) -> Option<&PastOutage> {
        self.outages.iter().find(|outage| outage.lasted.is_none())
    }
}

/// What is known of the server's limits.
#[derive(Default)]
pub(crate) struct LimitsReport {
    /// Each limit with its name.
    pub(crate) all: Vec<(&'static str, String)>,
    pub(crate) max_connections: Option<u32>,
    pub(crate) connections: Option<u32>,
    /// How the maximum size of the pool follows from them.
    pub(crate) calculation: Option<String>,
    /// The options that exceed them.
    pub(crate) conflicts: Vec<String>,
}

/// A pool or manager that can be reported.
pub(crate) trait Reporting: Send + Sync {
    /// Returns the report, with the name that the pool was given; `None` if it has nothing
    /// left to report. Does not block.
    fn report(&self) -> Option<PoolReport>;
}

/// The pools of the process.
///
/// Law: nothing is reported or dropped under the lock.
static POOLS: Mutex<Vec<Registered>> = Mutex::new(Vec::new());

struct Registered {
    /// Unique among those that are registered.
    name: String,
    source: Weak<dyn Reporting>,
}

/// Adds a pool to the reports of the process, as long as it lives; one that is in them gets
/// another name. A name that another one has gets a number.
pub(crate) fn register<R: Reporting + 'static>(given: &str, source: &Arc<R>) {
    let source: Weak<dyn Reporting> = Arc::downgrade(source) as Weak<dyn Reporting>;
    let mut pools = POOLS.lock();
    pools.retain(|pool| pool.source.strong_count() > 0 && !pool.source.ptr_eq(&source));
    let is_free = |name: &str| pools.iter().all(|pool| pool.name != name);
    let numbered = (2..).map(|number| format!("{given} ({number})"));
    let mut names = std::iter::once(given.to_owned()).chain(numbered);
    let name = names.find(|name| is_free(name)).expect("there is no last number");
    pools.push(Registered { name, source });
}

/// Returns the reports of all pools of the process, in the order in which they were built.
pub(crate) fn reports() -> Vec<PoolReport> {
    if process::is_forked() {
        return Vec::new();
    }
    let pools: Vec<_> = {
        let pools = POOLS.lock();
        pools.iter().map(|pool| (pool.name.clone(), Weak::clone(&pool.source))).collect()
    };
    let report = |(name, source): (String, Weak<dyn Reporting>)| {
        Some(PoolReport { name, ..source.upgrade()?.report()? })
    };
    pools.into_iter().filter_map(report).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Levels;
    use crate::observe::{Counters, Histogram, Uses};

    struct Named(&'static str);

    impl Reporting for Named {
        fn report(&self) -> Option<PoolReport> {
            let times = Histogram::default();
            let uses = Uses { times, ..Uses::default() };
            let snapshot = Snapshot::new(self.0, Levels::default(), 0, &Counters::new(), uses);
            Some(PoolReport {
                name: self.0.to_owned(),
                server: self.0.to_owned(),
                snapshot,
                is_suspended: false,
                longest_wait: None,
                connections: Vec::new(),
                closes: Vec::new(),
                outages: Vec::new(),
                waits: Vec::new(),
                limits: LimitsReport::default(),
                tenants: None,
            })
        }
    }

    #[test]
    fn a_pool_that_is_registered_again_has_its_new_name_only() {
        let pool = Arc::new(Named("renamed"));
        register("renamed", &pool);
        register("renamed as well", &pool);
        let all = reports().into_iter().map(|report| report.name);
        let names: Vec<_> = all.filter(|name| name.starts_with("renamed")).collect();
        assert_eq!(names, ["renamed as well"]);
    }

    #[test]
    fn the_name_of_each_pool_is_unique_as_long_as_it_lives() {
        let build = || {
            let pool = Arc::new(Named("twins"));
            register(pool.0, &pool);
            pool
        };
        let names = || {
            let all = reports().into_iter().map(|report| report.name);
            all.filter(|name| name.starts_with("twins")).collect::<Vec<_>>()
        };
        let (first, second) = (build(), build());
        assert_eq!(names(), ["twins", "twins (2)"]);
        drop(first);
        let third = build();
        assert_eq!(names(), ["twins (2)", "twins"]);
        drop((second, third));
        assert_eq!(names(), [""; 0]);
    }
}
