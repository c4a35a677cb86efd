//! The metrics of a pool: one table of their names, and the values of one report.

use super::close_reason::CloseReason;
use super::histogram::Histogram;
use super::report::PoolReport;
use std::time::Duration;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A level at one moment.
    Level,
    /// A running total.
    Total,
    /// Times in buckets, in seconds.
    Times,
}

impl Kind {
    /// Returns its name in Prometheus.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Level => "gauge",
            Kind::Total => "counter",
            Kind::Times => "histogram",
        }
    }
}

/// One metric.
pub(crate) struct Metric {
    /// Its name with dots, as OpenTelemetry writes it.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// It is a time in seconds.
    pub(crate) is_time: bool,
    /// The label beside the pool's name, if it has one.
    pub(crate) label: Option<&'static str>,
    pub(crate) help: &'static str,
}

impl Metric {
    /// Returns its name as Prometheus has it, formed as OpenTelemetry's specification
    /// "Prometheus and OpenMetrics Compatibility" says.
    pub(crate) fn prometheus_name(&self) -> String {
        let unit = if self.is_time { "_seconds" } else { "" };
        let total = if self.kind == Kind::Total { "_total" } else { "" };
        format!("{}{unit}{total}", self.name.replace('.', "_"))
    }
}

/// The label of every series: the pool's name.
pub(crate) const POOL_LABEL: &str = "db.client.connection.pool.name";

/// The label of the levels of connections.
pub(crate) const STATE_LABEL: &str = "db.client.connection.state";

/// One value of a metric, with the value of its own label.
pub(crate) struct Sample {
    pub(crate) metric: &'static Metric,
    pub(crate) label: Option<&'static str>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Number(f64),
    Total(u64),
    Times(Histogram),
}

macro_rules! metrics {
    ($($id:ident = $name:literal, $kind:ident, $is_time:literal, $label:expr, $help:literal;)+) => {
        $(pub(crate) static $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            is_time: $is_time,
            label: $label,
            help: $help,
        };)+

        /// All metrics, in the order in which they are written.
        pub(crate) static METRICS: &[&Metric] = &[$(&$id),+];
    };
}

metrics! {
    COUNT = "db.client.connection.count", Level, false, Some(STATE_LABEL),
        "Open connections: idle, or used by a caller.";
    MAX = "db.client.connection.max", Level, false, None,
        "The number of connections that the pool may have.";
    PENDING_REQUESTS = "db.client.connection.pending_requests", Level, false, None,
        "Callers that wait for a connection.";
    TIMEOUTS = "db.client.connection.timeouts", Total, false, None,
        "Check-outs that reached their deadline.";
    WAIT_TIME = "db.client.connection.wait_time", Times, true, None,
        "How long check-outs waited for a connection.";
    USE_TIME = "db.client.connection.use_time", Times, true, None,
        "How long connections were in use.";
    CREATE_TIME = "db.client.connection.create_time", Times, true, None,
        "How long it took to open connections.";
    PENDING = "poolwarden.connections.pending", Level, false, None,
        "Connections that are being opened.";
    CLOSING = "poolwarden.connections.closing", Level, false, None,
        "Connections that the pool closed and the server has not confirmed.";
    ABANDONED = "poolwarden.connections.abandoned", Level, false, None,
        "Connections whose close the server did not confirm in time.";
    LONGEST_WAIT = "poolwarden.longest_wait", Level, true, None,
        "How long the caller has waited that has waited longest; 0 if none waits.";
    OUTAGE = "poolwarden.outage", Level, true, None,
        "How long connecting has failed; 0 if it does not fail.";
    OPENED = "poolwarden.opened", Total, false, None,
        "Connections opened.";
    CLOSED = "poolwarden.closed", Total, false, Some("reason"),
        "Connections closed, by reason.";
    CHECKOUTS = "poolwarden.checkouts", Total, false, None,
        "Connections handed out.";
    CONNECT_ATTEMPTS = "poolwarden.connect_attempts", Total, false, None,
        "Attempts to open a connection.";
    CONNECT_FAILURES = "poolwarden.connect_failures", Total, false, None,
        "Attempts to open a connection that failed.";
    OUTAGES = "poolwarden.outages", Total, false, None,
        "Outages, each from a failed attempt to connect to the next success.";
    SLOW_CHECKOUTS = "poolwarden.slow_checkouts", Total, false, None,
        "Check-outs that took longer than slow_checkout.";
    SLOW_STATEMENTS = "poolwarden.slow_statements", Total, false, None,
        "Statements that took longer than slow_statement.";
    HELD_TOO_LONG = "poolwarden.held_too_long", Total, false, None,
        "Check-outs that were held for longer than held_warning.";
    PEEKS = "poolwarden.peeks", Total, false, None,
        "Peeks at idle sockets.";
    PINGS = "poolwarden.pings", Total, false, None,
        "Pings of idle connections.";
    KEEPALIVE_PINGS = "poolwarden.keepalive_pings", Total, false, None,
        "Pings by which keepalive_ping kept connections open.";
    RESETS = "poolwarden.resets", Total, false, None,
        "Sessions reset at check-in.";
    ROLLED_BACK = "poolwarden.rolled_back", Total, false, None,
        "Transactions that were left open and rolled back at check-in.";
    PANICS = "poolwarden.panics", Total, false, None,
        "Panics of drivers, hooks and log sinks that were caught.";
    LEFT_BEHIND = "poolwarden.left_behind", Total, false, None,
        "Threads left behind because foreign code held them up.";
    EVENTS_DROPPED = "poolwarden.events_dropped", Total, false, None,
        "Events dropped because an observer or a log sink blocked.";
    SERVER_MAX = "poolwarden.server.max_connections", Level, false, None,
        "Connections that the server accepts, as last read.";
    SERVER_COUNT = "poolwarden.server.connections", Level, false, None,
        "Connections that all clients of the server had, as last read.";
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
    Sample { metric, label, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide's table is that of the code.
    #[test]
    fn the_guide_lists_every_metric() {
        let guide = include_str!("../guide/observability.md");
        let mut listed: Vec<_> = guide.lines().filter(|line| line.starts_with("| `")).collect();
        listed.retain(|line| line.contains("` | `"));
        let row = |metric: &&Metric| {
            let label = metric.label.map(|label| format!("`{}`", label.replace('.', "_")));
            let (prometheus, label) = (metric.prometheus_name(), label.unwrap_or_default());
            format!(
                "| `{prometheus}` | `{}` | {} | {label} | {} |",
                metric.name,
                metric.kind.as_str(),
                metric.help
            )
        };
        let rows: Vec<_> = METRICS.iter().map(row).collect();
        assert_eq!(listed, rows);
    }

    #[test]
    fn names_have_the_units_and_endings_of_prometheus_and_are_unique() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.prometheus_name()).collect();
        for wanted in [
            "db_client_connection_count",
            "db_client_connection_timeouts_total",
            "db_client_connection_wait_time_seconds",
            "poolwarden_longest_wait_seconds",
            "poolwarden_closed_total",
        ] {
            assert!(names.iter().any(|name| name == wanted), "{wanted}: {names:?}");
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
