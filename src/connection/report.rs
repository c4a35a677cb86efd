//! What a pool or manager reports of itself.

use super::shared::Shared;
use crate::config::ServerLimits;
use crate::driver::Driver;
use crate::error::Levels;
use crate::observe::{LimitsReport, PoolReport, Reporting, Snapshot};
use crate::sys::human_duration::HumanDuration;
use std::time::{Duration, Instant};

impl<D: Driver> Shared<D> {
    /// Returns what can be told without knowing which connections are idle.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let usage = self.permits().usage();
        let totals = self.totals();
        let closed: u64 = totals.closed().iter().sum();
        let open = u32::try_from(totals.opened().saturating_sub(closed)).unwrap_or(u32::MAX);
        let closing = usage.used.saturating_sub(open);
        let levels = Levels { max_size: usage.limit, open, closing, ..Levels::default() };
        Snapshot::new(self.name(), levels, usage.abandoned, totals, self.uses())
    }

    /// Returns a report with this snapshot.
    pub(crate) fn report_with(&self, snapshot: Snapshot) -> PoolReport {
        let (log, now) = (self.event_log(), Instant::now());
        PoolReport {
            name: self.name().to_owned(),
            server: self.ask(D::label).unwrap_or_default(),
            snapshot,
            is_suspended: false,
            longest_wait: None,
            connections: self.connections(now),
            closes: log.closes(),
            outages: log.outages(),
            waits: log.waits(now),
            limits: self.limits_report(),
            tenants: None,
        }
    }

    fn limits_report(&self) -> LimitsReport {
        let Some(limits) = self.limits() else { return LimitsReport::default() };
        LimitsReport {
            all: rows(&limits),
            max_connections: limits.max_connections,
            connections: limits.connections,
            calculation: self.calculation(&limits),
            conflicts: self.conflicts(),
        }
    }
}

/// Returns the limits that are known, each with its name.
fn rows(limits: &ServerLimits) -> Vec<(&'static str, String)> {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let time = |time: Option<Duration>| time.map(|time| HumanDuration(time).to_string());
    let yes_or_no = |flag: Option<bool>| flag.map(|flag| if flag { "yes" } else { "no" }.into());
    let product = Some(&limits.product).filter(|product| !product.is_empty());
    let rows = [
        ("product", product.map(ToString::to_string)),
        ("role", limits.role.clone()),
        ("behind a pooler", yes_or_no(limits.behind_pooler)),
        ("max_connections", number(limits.max_connections)),
        ("reserved connections", number(limits.reserved_connections)),
        ("the role's limit", number(limits.role_limit)),
        ("the database's limit", number(limits.database_limit)),
        ("connections now", number(limits.connections)),
        ("the role's connections now", number(limits.role_connections)),
        ("the database's connections now", number(limits.database_connections)),
        ("idle timeout", time(limits.idle_timeout)),
        ("idle-in-transaction timeout", time(limits.idle_in_transaction_timeout)),
        ("statement timeout", time(limits.statement_timeout)),
        ("read-only", yes_or_no(limits.read_only)),
        ("encrypted", yes_or_no(limits.encrypted)),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A bare `r2d2::Pool`, whose levels only r2d2 knows.
impl<D: Driver> Reporting for Shared<D> {
    fn report(&self) -> Option<PoolReport> {
        (!self.is_forked()).then(|| self.report_with(self.snapshot()))
    }
}
