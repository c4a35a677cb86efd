//! The table of tenants of a page.

use super::escape::escape;
use crate::observe::health::waiting_text;
use crate::observe::tenants_report::{TenantLevels, TenantReport, TenantsReport};
use crate::sys::human_duration::HumanDuration;
use std::fmt::Write as _;
use std::time::Duration;

/// Lists the busiest tenants, and the others as one row; above them the permits that they share.
pub(super) fn tenants(out: &mut String, report: &TenantsReport) {
    let permits = &report.permits;
    out.push_str("<h3>Shared permits</h3>\n<dl>");
    for (name, count) in
        [("permits", permits.limit), ("used", permits.used), ("wanted", permits.wanted)]
    {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{count}</dd></div>");
    }
    let shown = report.busiest.len();
    let others = report.count.saturating_sub(shown);
    let _ = writeln!(out, "</dl>\n<h3>Tenants</h3>");
    out.push_str(
        "<table><tr><th>tenant</th><th>state</th><th>in use</th><th>idle</th><th>pending</th>\
         <th>waiting</th><th>held longest</th><th>check-outs</th><th>timeouts</th>\
         <th>connect failures</th><th>time in use</th><th>time waited</th></tr>\n",
    );
    report.busiest.iter().for_each(|tenant| row(out, &escape(&tenant.label), tenant));
    row(out, &format!("<span class=\"dim\">{others} others</span>"), &report.other);
    out.push_str("</table>\n");
}

/// Writes a row; `name` is escaped.
fn row(out: &mut String, name: &str, tenant: &TenantReport) {
    let TenantReport { now, totals, .. } = tenant;
    let (class, state) = state(now);
    let _ = writeln!(
        out,
        "<tr><td>{name}</td><td class=\"{class}\">{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&state),
        now.levels.in_use,
        now.levels.idle,
        now.levels.pending,
        now.levels.waiting,
        now.longest_use.map_or("–".to_owned(), |time| HumanDuration(time).to_string()),
        totals.checkouts,
        totals.timeouts,
        totals.connect_failures,
        time(totals.used),
        time(totals.waited)
    );
}

fn time(time: Duration) -> String {
    if time.is_zero() { "–".to_owned() } else { HumanDuration(time).to_string() }
}

/// Returns what a tenant's pool is doing, with the class of its colour.
fn state(now: &TenantLevels) -> (&'static str, String) {
    if let Some((down_for, error)) = &now.outage {
        return (
            "lost",
            format!("connecting has failed for {}: {error}", HumanDuration(*down_for)),
        );
    }
    if now.is_suspended {
        return ("waiting", "suspended".to_owned());
    }
    match now.longest_wait {
        Some(longest) if now.levels.waiting > 0 => {
            ("waiting", waiting_text(now.levels.waiting, longest))
        }
        _ => ("dim", "serving".to_owned()),
    }
}
