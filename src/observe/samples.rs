//! The values of the metrics in one report.

use super::close_reason::CloseReason;
use super::histogram::Histogram;
use super::report::PoolReport;
use super::series::{
    ABANDONED, CHECKOUTS, CLOSED, CLOSING, CONNECT_ATTEMPTS, CONNECT_FAILURES, COUNT, CREATE_TIME,
    EVENTS_DROPPED, HELD_TOO_LONG, KEEPALIVE_PINGS, LEFT_BEHIND, LONGEST_WAIT, MAX, Metric, OPENED,
    OUTAGE, OUTAGES, PANICS, PEEKS, PENDING, PENDING_REQUESTS, PERMITS_MAX, PERMITS_USED,
    PERMITS_WANTED, PINGS, RESETS, ROLLED_BACK, SERVER_COUNT, SERVER_MAX, SLOW_CHECKOUTS,
    SLOW_STATEMENTS, TENANT_CHECKOUTS, TENANT_CONNECT_FAILURES, TENANT_COUNT, TENANT_OPENED,
    TENANT_PENDING_REQUESTS, TENANT_TIMEOUTS, TENANT_USE_TIME, TENANT_WAIT_TIME, TENANTS, TIMEOUTS,
    USE_TIME, WAIT_TIME,
};
use super::tenants_report::{TenantReport, TenantsReport};
use std::borrow::Cow;
use std::time::Duration;

/// The value of a label.
pub(crate) type Text = Cow<'static, str>;

/// One value of a metric, with the values of its own labels.
pub(crate) struct Sample {
    pub(crate) metric: &'static Metric,
    pub(crate) labels: Vec<Text>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Number(f64),
    Total(u64),
    /// A total of times.
    Sum(Duration),
    Times(Histogram),
}

/// Returns the values of one report.
pub(crate) fn samples(report: &PoolReport) -> Vec<Sample> {
    let now = &report.snapshot;
    let level = |metric, level: u32| sample(metric, None, Value::Number(level.into()));
    let state = |state, level: u32| sample(&COUNT, Some(state), Value::Number(level.into()));
    let seconds = |metric, time: Option<Duration>| {
        sample(metric, None, Value::Number(time.unwrap_or_default().as_secs_f64()))
    };
    let mut samples = vec![
        state("idle", now.levels.idle),
        state("used", now.levels.in_use),
        level(&MAX, now.levels.max_size),
        level(&PENDING_REQUESTS, now.levels.waiting),
        level(&PENDING, now.levels.pending),
        level(&CLOSING, now.levels.closing),
        level(&ABANDONED, now.abandoned),
        seconds(&LONGEST_WAIT, report.longest_wait),
        seconds(&OUTAGE, report.down_for()),
    ];
    samples.extend(totals(report));
    samples.extend(report.tenants.iter().flat_map(of_tenants));
    let limits = &report.limits;
    samples.extend(limits.max_connections.map(|most| level(&SERVER_MAX, most)));
    samples.extend(limits.connections.map(|count| level(&SERVER_COUNT, count)));
    samples
}

fn totals(report: &PoolReport) -> impl Iterator<Item = Sample> {
    let now = &report.snapshot;
    let times = [(&WAIT_TIME, &now.wait), (&USE_TIME, &now.usage), (&CREATE_TIME, &now.connect)];
    let times = times.map(|(metric, times)| sample(metric, None, Value::Times(times.clone())));
    let totals = [
        (&TIMEOUTS, now.timeouts),
        (&OPENED, now.opened),
        (&CHECKOUTS, now.checkouts),
        (&CONNECT_ATTEMPTS, now.connect_attempts),
        (&CONNECT_FAILURES, now.connect_failures),
        (&OUTAGES, now.outages),
        (&SLOW_CHECKOUTS, now.slow_checkouts),
        (&SLOW_STATEMENTS, now.slow_statements),
        (&HELD_TOO_LONG, now.held_too_long),
        (&PEEKS, now.peeks),
        (&PINGS, now.pings),
        (&KEEPALIVE_PINGS, now.keepalive_pings),
        (&RESETS, now.resets),
        (&ROLLED_BACK, now.rolled_back),
        (&PANICS, now.panics),
        (&LEFT_BEHIND, now.left_behind),
        (&EVENTS_DROPPED, now.events_dropped),
    ];
    let totals = totals.map(|(metric, total)| sample(metric, None, Value::Total(total)));
    // A series that exists from the beginning can be compared with its past at once.
    let closed = CloseReason::ALL
        .iter()
        .map(|reason| sample(&CLOSED, Some(reason.as_str()), Value::Total(now.closed_by(*reason))));
    times.into_iter().chain(totals).chain(closed)
}

fn sample(metric: &'static Metric, label: Option<&'static str>, value: Value) -> Sample {
    Sample { metric, labels: label.map(Text::from).into_iter().collect(), value }
}

fn of_tenants(report: &TenantsReport) -> Vec<Sample> {
    let permits = &report.permits;
    let count = u32::try_from(report.count).unwrap_or(u32::MAX);
    let levels = [
        (&TENANTS, count),
        (&PERMITS_MAX, permits.limit),
        (&PERMITS_USED, permits.used),
        (&PERMITS_WANTED, permits.wanted),
    ];
    let levels = levels.map(|(metric, level)| sample(metric, None, Value::Number(level.into())));
    let tenants = report.busiest.iter().chain([&report.other]).flat_map(of_tenant);
    levels.into_iter().chain(tenants).collect()
}

/// Returns the values of one tenant.
fn of_tenant(tenant: &TenantReport) -> Vec<Sample> {
    let (levels, totals) = (&tenant.now.levels, &tenant.totals);
    let of = |metric, state: Option<&'static str>, value| {
        let labels = [Text::from(tenant.label.to_string())].into_iter();
        Sample { metric, labels: labels.chain(state.map(Text::from)).collect(), value }
    };
    let level = |level: u32| Value::Number(level.into());
    vec![
        of(&TENANT_COUNT, Some("idle"), level(levels.idle)),
        of(&TENANT_COUNT, Some("used"), level(levels.in_use)),
        of(&TENANT_PENDING_REQUESTS, None, level(levels.waiting)),
        of(&TENANT_CHECKOUTS, None, Value::Total(totals.checkouts)),
        of(&TENANT_TIMEOUTS, None, Value::Total(totals.timeouts)),
        of(&TENANT_OPENED, None, Value::Total(totals.opened)),
        of(&TENANT_CONNECT_FAILURES, None, Value::Total(totals.connect_failures)),
        of(&TENANT_WAIT_TIME, None, Value::Sum(totals.waited)),
        of(&TENANT_USE_TIME, None, Value::Sum(totals.used)),
    ]
}
