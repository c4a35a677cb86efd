//! The reports as JSON.

use super::clock_text::unix_seconds;
use crate::observe::connection_info::{ConnectionInfo, ConnectionStatus, HolderThread};
use crate::observe::histogram::Histogram;
use crate::observe::history::{PastClose, PastOutage};
use crate::observe::report::{LimitsReport, PoolReport};
use crate::observe::tenants_report::{TenantReport, TenantsReport};
use std::fmt::Write as _;
use std::time::Duration;

/// Returns these reports as one object: `{"pools": [...]}`. Times are in seconds.
pub(super) fn text(reports: &[PoolReport]) -> String {
    object(&[("pools", array(reports.iter().map(pool)))])
}

fn pool(report: &PoolReport) -> String {
    let now = &report.snapshot;
    let closed = now.close_reasons().map(|(reason, count)| (reason.as_str(), count.to_string()));
    object(&[
        ("name", string(&report.name)),
        ("server", string(&report.server)),
        ("max_size", now.levels.max_size.to_string()),
        ("open", now.levels.open.to_string()),
        ("idle", now.levels.idle.to_string()),
        ("in_use", now.levels.in_use.to_string()),
        ("pending", now.levels.pending.to_string()),
        ("closing", now.levels.closing.to_string()),
        ("abandoned", now.abandoned.to_string()),
        ("waiting", now.levels.waiting.to_string()),
        ("suspended", report.is_suspended.to_string()),
        ("longest_wait", optional(report.longest_wait.map(seconds))),
        ("down_for", optional(report.down_for().map(seconds))),
        ("encryption", optional(now.encryption.map(|level| string(level.as_str())))),
        ("opened", now.opened.to_string()),
        ("connect_attempts", now.connect_attempts.to_string()),
        ("connect_failures", now.connect_failures.to_string()),
        ("checkouts", now.checkouts.to_string()),
        ("timeouts", now.timeouts.to_string()),
        ("slow_checkouts", now.slow_checkouts.to_string()),
        ("slow_statements", now.slow_statements.to_string()),
        ("held_too_long", now.held_too_long.to_string()),
        ("events_dropped", now.events_dropped.to_string()),
        ("closed", object(&closed.collect::<Vec<_>>())),
        ("wait", times(&now.wait)),
        ("usage", times(&now.usage)),
        ("connect", times(&now.connect)),
        ("connections", array(report.connections.iter().map(connection))),
        ("closes", array(report.closes.iter().map(close))),
        ("outages", array(report.outages.iter().map(outage))),
        ("waits", array(report.waits.iter().copied().map(seconds))),
        ("server_limits", limits(&report.limits)),
        ("tenants", optional(report.tenants.as_ref().map(tenants))),
    ])
}

fn tenants(report: &TenantsReport) -> String {
    let permits = &report.permits;
    object(&[
        ("count", report.count.to_string()),
        ("permits", permits.limit.to_string()),
        ("permits_used", permits.used.to_string()),
        ("permits_wanted", permits.wanted.to_string()),
        ("busiest", array(report.busiest.iter().map(tenant))),
        ("other", tenant(&report.other)),
    ])
}

fn tenant(tenant: &TenantReport) -> String {
    let (now, totals) = (&tenant.now, &tenant.totals);
    object(&[
        ("tenant", string(&tenant.label)),
        ("open", now.levels.open.to_string()),
        ("idle", now.levels.idle.to_string()),
        ("in_use", now.levels.in_use.to_string()),
        ("pending", now.levels.pending.to_string()),
        ("waiting", now.levels.waiting.to_string()),
        ("suspended", now.is_suspended.to_string()),
        ("longest_wait", optional(now.longest_wait.map(seconds))),
        ("longest_use", optional(now.longest_use.map(seconds))),
        ("down_for", optional(now.outage.as_ref().map(|(time, _)| seconds(*time)))),
        ("error", optional(now.outage.as_ref().map(|(_, error)| string(error)))),
        ("checkouts", totals.checkouts.to_string()),
        ("timeouts", totals.timeouts.to_string()),
        ("opened", totals.opened.to_string()),
        ("connect_failures", totals.connect_failures.to_string()),
        ("wait_time", seconds(totals.waited)),
        ("use_time", seconds(totals.used)),
    ])
}

fn times(times: &Histogram) -> String {
    let quantile = |share| optional(times.quantile(share).map(seconds));
    object(&[
        ("count", times.count().to_string()),
        ("sum", seconds(times.sum())),
        ("p50", quantile(0.5)),
        ("p99", quantile(0.99)),
    ])
}

fn connection(info: &ConnectionInfo) -> String {
    let mut fields = vec![
        ("id", info.id.to_string()),
        ("age", seconds(info.age)),
        ("retires_in", optional(info.retires_in.map(seconds))),
        ("server_process", optional(info.server_process.map(|number| number.to_string()))),
        ("checkouts", info.checkouts.to_string()),
        ("peeks", info.peeks.to_string()),
        ("pings", info.pings.to_string()),
        ("resets", info.resets.to_string()),
    ];
    match &info.status {
        ConnectionStatus::Idle { since } => {
            fields.push(("status", string("idle")));
            fields.push(("since", optional(since.map(seconds))));
        }
        ConnectionStatus::InUse { since, site, thread } => {
            let site = site.map(|site| string(&format!("{}:{}", site.file(), site.line())));
            let (name, has_ended) = match thread {
                HolderThread::Running { name } => (name.as_deref(), false),
                HolderThread::Ended => (None, true),
            };
            fields.push(("status", string("in_use")));
            fields.push(("since", seconds(*since)));
            fields.push(("site", optional(site)));
            fields.push(("thread", optional(name.map(string))));
            fields.push(("thread_has_ended", has_ended.to_string()));
        }
    }
    object(&fields)
}

fn close(past: &PastClose) -> String {
    object(&[
        ("reason", string(past.reason.as_str())),
        ("planned", past.reason.is_planned().to_string()),
        ("message", optional(past.message.as_deref().map(string))),
        ("count", past.count.to_string()),
        ("connection", past.connection.to_string()),
        ("at", unix_seconds(past.at).to_string()),
    ])
}

fn outage(past: &PastOutage) -> String {
    object(&[
        ("began", unix_seconds(past.began).to_string()),
        ("lasted", optional(past.lasted.map(seconds))),
        ("error", string(&past.error)),
        ("failed", past.failed.to_string()),
        ("lost", past.lost.to_string()),
    ])
}

fn limits(limits: &LimitsReport) -> String {
    let all: Vec<_> = limits.all.iter().map(|(name, value)| (*name, string(value))).collect();
    object(&[
        ("limits", object(&all)),
        ("calculation", optional(limits.calculation.as_deref().map(string))),
        ("conflicts", array(limits.conflicts.iter().map(|conflict| string(conflict)))),
    ])
}

fn seconds(time: Duration) -> String {
    time.as_secs_f64().to_string()
}

fn optional(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_owned())
}

fn array(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn object(fields: &[(&str, String)]) -> String {
    let field = |(name, value): &(&str, String)| format!("{}:{value}", string(name));
    format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
}

/// Quotes a text. What could end a script element in a page is escaped as well.
fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_so_that_they_end_neither_a_string_nor_a_script() {
        assert_eq!(string("a\"\\\n\u{1}é"), r#""a\"\\\n\u0001é""#);
        assert_eq!(string("</script>&\u{2028}"), r#""\u003c/script\u003e\u0026\u2028""#);
        assert_eq!(
            object(&[("a", array(["1".into(), optional(None)].into_iter()))]),
            r#"{"a":[1,null]}"#
        );
    }
}
