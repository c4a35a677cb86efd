//! The metrics of a pool: one table of their names.

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
    /// The labels beside the pool's name.
    pub(crate) labels: &'static [&'static str],
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

/// The label of the series of one tenant.
pub(crate) const TENANT_LABEL: &str = "tenant";

macro_rules! metrics {
    ($($id:ident = $name:literal, $kind:ident, $is_time:literal, $labels:expr, $help:literal;)+) => {
        $(pub(crate) static $id: Metric = Metric {
            name: $name,
            kind: Kind::$kind,
            is_time: $is_time,
            labels: &$labels,
            help: $help,
        };)+

        /// All metrics, in the order in which they are written.
        pub(crate) static METRICS: &[&Metric] = &[$(&$id),+];
    };
}

metrics! {
    COUNT = "db.client.connection.count", Level, false, [STATE_LABEL],
        "Open connections: idle, or used by a caller.";
    MAX = "db.client.connection.max", Level, false, [],
        "The number of connections that the pool may have.";
    PENDING_REQUESTS = "db.client.connection.pending_requests", Level, false, [],
        "Callers that wait for a connection.";
    TIMEOUTS = "db.client.connection.timeouts", Total, false, [],
        "Check-outs that reached their deadline.";
    WAIT_TIME = "db.client.connection.wait_time", Times, true, [],
        "How long check-outs waited for a connection.";
    USE_TIME = "db.client.connection.use_time", Times, true, [],
        "How long connections were in use.";
    CREATE_TIME = "db.client.connection.create_time", Times, true, [],
        "How long it took to open connections.";
    PENDING = "poolwarden.connections.pending", Level, false, [],
        "Connections that are being opened.";
    CLOSING = "poolwarden.connections.closing", Level, false, [],
        "Connections that the pool closed and the server has not confirmed.";
    ABANDONED = "poolwarden.connections.abandoned", Level, false, [],
        "Connections whose close the server did not confirm in time.";
    LONGEST_WAIT = "poolwarden.longest_wait", Level, true, [],
        "How long the caller has waited that has waited longest; 0 if none waits.";
    OUTAGE = "poolwarden.outage", Level, true, [],
        "How long connecting has failed; 0 if it does not fail.";
    OPENED = "poolwarden.opened", Total, false, [],
        "Connections opened.";
    CLOSED = "poolwarden.closed", Total, false, ["reason"],
        "Connections closed, by reason.";
    CHECKOUTS = "poolwarden.checkouts", Total, false, [],
        "Connections handed out.";
    CONNECT_ATTEMPTS = "poolwarden.connect_attempts", Total, false, [],
        "Attempts to open a connection.";
    CONNECT_FAILURES = "poolwarden.connect_failures", Total, false, [],
        "Attempts to open a connection that failed.";
    OUTAGES = "poolwarden.outages", Total, false, [],
        "Outages, each from a failed attempt to connect to the next success.";
    SLOW_CHECKOUTS = "poolwarden.slow_checkouts", Total, false, [],
        "Check-outs that took longer than slow_checkout.";
    SLOW_STATEMENTS = "poolwarden.slow_statements", Total, false, [],
        "Statements that took longer than slow_statement.";
    HELD_TOO_LONG = "poolwarden.held_too_long", Total, false, [],
        "Check-outs that were held for longer than held_warning.";
    PEEKS = "poolwarden.peeks", Total, false, [],
        "Peeks at idle sockets.";
    PINGS = "poolwarden.pings", Total, false, [],
        "Pings of idle connections.";
    KEEPALIVE_PINGS = "poolwarden.keepalive_pings", Total, false, [],
        "Pings by which keepalive_ping kept connections open.";
    RESETS = "poolwarden.resets", Total, false, [],
        "Sessions reset at check-in.";
    ROLLED_BACK = "poolwarden.rolled_back", Total, false, [],
        "Transactions that were left open and rolled back at check-in.";
    PANICS = "poolwarden.panics", Total, false, [],
        "Panics of drivers, hooks and log sinks that were caught.";
    LEFT_BEHIND = "poolwarden.left_behind", Total, false, [],
        "Threads left behind because foreign code held them up.";
    EVENTS_DROPPED = "poolwarden.events_dropped", Total, false, [],
        "Events dropped because an observer or a log sink blocked.";
    SERVER_MAX = "poolwarden.server.max_connections", Level, false, [],
        "Connections that the server accepts, as last read.";
    SERVER_COUNT = "poolwarden.server.connections", Level, false, [],
        "Connections that all clients of the server had, as last read.";
    TENANTS = "poolwarden.tenants", Level, false, [],
        "Tenants that have a pool.";
    PERMITS_MAX = "poolwarden.permits.max", Level, false, [],
        "Connections that all pools may have that share the permits.";
    PERMITS_USED = "poolwarden.permits.used", Level, false, [],
        "Shared permits in use: connections open, being opened and being closed.";
    PERMITS_WANTED = "poolwarden.permits.wanted", Level, false, [],
        "Shared permits that pools need for callers that wait.";
    TENANT_COUNT = "poolwarden.tenant.connections", Level, false, [TENANT_LABEL, STATE_LABEL],
        "Open connections of a tenant: idle, or used by a caller.";
    TENANT_PENDING_REQUESTS = "poolwarden.tenant.pending_requests", Level, false, [TENANT_LABEL],
        "Callers that wait for a connection of a tenant.";
    TENANT_CHECKOUTS = "poolwarden.tenant.checkouts", Total, false, [TENANT_LABEL],
        "Connections handed out to a tenant's callers.";
    TENANT_TIMEOUTS = "poolwarden.tenant.timeouts", Total, false, [TENANT_LABEL],
        "Check-outs of a tenant's callers that reached their deadline.";
    TENANT_OPENED = "poolwarden.tenant.opened", Total, false, [TENANT_LABEL],
        "Connections opened for a tenant.";
    TENANT_CONNECT_FAILURES = "poolwarden.tenant.connect_failures", Total, false, [TENANT_LABEL],
        "Attempts to open a connection of a tenant that failed.";
    TENANT_WAIT_TIME = "poolwarden.tenant.wait_time", Total, true, [TENANT_LABEL],
        "How long a tenant's check-outs waited, in sum.";
    TENANT_USE_TIME = "poolwarden.tenant.use_time", Total, true, [TENANT_LABEL],
        "How long a tenant's connections were in use, in sum.";
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
            let labels = metric.labels.iter().map(|label| format!("`{}`", label.replace('.', "_")));
            let label = labels.collect::<Vec<_>>().join(", ");
            let prometheus = metric.prometheus_name();
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
