//! The reports as one page without external parts.

use super::clock_text::utc;
use super::connections_html;
use super::escape::escape;
use super::graphics;
use super::tenants_html;
use crate::observe::health::waiting_text;
use crate::observe::histogram::Histogram;
use crate::observe::report::PoolReport;
use crate::sys::human_duration::HumanDuration;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Returns a page with these reports. Law: every text that is not written here passes
/// `escape`.
pub(super) fn text(reports: &[PoolReport], now: SystemTime) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>poolwarden</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Connection pools <small class=\"dim\" \
         id=\"live\"></small></h1>\n<main>\n"
    );
    let _ = writeln!(out, "<p class=\"dim\">{}, process {}</p>", utc(now), std::process::id());
    if reports.is_empty() {
        out.push_str("<p>This process has no pools.</p>\n");
    }
    reports.iter().for_each(|report| pool(&mut out, report));
    let _ = write!(out, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

fn pool(out: &mut String, report: &PoolReport) {
    let (class, state) = state(report);
    let _ = writeln!(
        out,
        "<section>\n<h2>{}</h2>\n<p class=\"dim\">{}</p>\n<p class=\"state {class}\">{}</p>",
        escape(&report.name),
        escape(&report.server),
        escape(&state)
    );
    levels(out, report);
    graphics::meter(out, &report.snapshot);
    times(out, report);
    if let Some(tenants) = &report.tenants {
        tenants_html::tenants(out, tenants);
    }
    connections_html::connections(out, &report.connections);
    closes(out, report);
    outages(out, report);
    limits(out, report);
    out.push_str("</section>\n");
}

/// Returns what the pool is doing, with the class of its colour.
fn state(report: &PoolReport) -> (&'static str, String) {
    let now = &report.snapshot;
    if let Some(outage) = report.outage() {
        let down_for = HumanDuration(report.down_for().unwrap_or_default());
        let state = if now.levels.open == 0 { "down" } else { "degraded" };
        return (
            "down",
            format!("{state}: connecting has failed for {down_for}: {}", outage.error),
        );
    }
    if report.is_suspended {
        return ("saturated", format!("suspended: {} waiting", now.levels.waiting));
    }
    if now.levels.waiting > 0 {
        let longest_wait = report.longest_wait.unwrap_or_default();
        let full = if now.levels.in_use >= now.levels.max_size { "saturated: " } else { "" };
        return ("saturated", format!("{full}{}", waiting_text(now.levels.waiting, longest_wait)));
    }
    ("serving", "serving".to_owned())
}

fn levels(out: &mut String, report: &PoolReport) {
    let now = &report.snapshot;
    out.push_str("<dl>");
    let counts: [(&str, u64); 11] = [
        ("max size", now.levels.max_size.into()),
        ("in use", now.levels.in_use.into()),
        ("idle", now.levels.idle.into()),
        ("pending", now.levels.pending.into()),
        ("closing", now.levels.closing.into()),
        ("waiting", now.levels.waiting.into()),
        ("check-outs", now.checkouts),
        ("timeouts", now.timeouts),
        ("opened", now.opened),
        ("closed", now.closed()),
        ("connect failures", now.connect_failures),
    ];
    for (name, count) in counts {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{count}</dd></div>");
    }
    if let Some(encryption) = now.encryption {
        let _ = write!(out, "<div><dt>encryption</dt><dd>{encryption}</dd></div>");
    }
    out.push_str("</dl>\n");
}

fn times(out: &mut String, report: &PoolReport) {
    let now = &report.snapshot;
    out.push_str(
        "<h3>Times</h3>\n<table><tr><th></th><th>count</th><th>mean</th><th>half within\
                  </th><th>99 % within</th></tr>\n",
    );
    for (name, times) in [("wait", &now.wait), ("use", &now.usage), ("connect", &now.connect)] {
        let _ = writeln!(
            out,
            "<tr><td>{name}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            times.count(),
            mean(times),
            within(times, 0.5),
            within(times, 0.99)
        );
    }
    out.push_str("</table>\n");
    graphics::waits(out, &report.waits);
}

fn mean(times: &Histogram) -> String {
    let count = u32::try_from(times.count()).unwrap_or(u32::MAX);
    times.sum().checked_div(count).map_or("–".to_owned(), |mean| HumanDuration(mean).to_string())
}

fn within(times: &Histogram, share: f64) -> String {
    match times.quantile(share) {
        Some(bound) => HumanDuration(bound).to_string(),
        None if times.count() == 0 => "–".to_owned(),
        None => "over 30 s".to_owned(),
    }
}

fn closes(out: &mut String, report: &PoolReport) {
    if report.closes.is_empty() {
        return;
    }
    out.push_str(
        "<h3>Last closes</h3>\n<table><tr><th>last</th><th>count</th><th>connection</th>\
                  <th>reason</th><th>the server's message</th></tr>\n",
    );
    for past in &report.closes {
        let class = if past.reason.is_planned() { "dim" } else { "lost" };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{}</td></tr>",
            utc(past.at),
            past.count,
            past.connection,
            past.reason.phrase(),
            escape(past.message.as_deref().unwrap_or(""))
        );
    }
    out.push_str("</table>\n");
}

fn outages(out: &mut String, report: &PoolReport) {
    if report.outages.is_empty() {
        return;
    }
    out.push_str(
        "<h3>Outages</h3>\n<table><tr><th>from</th><th>until</th><th>lasted</th>\
                  <th>attempts failed</th><th>connections lost</th><th>first error</th></tr>\n",
    );
    for past in &report.outages {
        let ended = past.lasted.map(|lasted| (utc(past.began + lasted), lasted));
        let (until, lasted) = match ended {
            Some((until, lasted)) => (until, lasted),
            None => ("now".to_owned(), report.down_for().unwrap_or(Duration::ZERO)),
        };
        let counts = match past.lasted {
            Some(_) => format!("<td>{}</td><td>{}</td>", past.failed, past.lost),
            None => "<td></td><td></td>".to_owned(),
        };
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{until}</td><td>{}</td>{counts}<td>{}</td></tr>",
            utc(past.began),
            HumanDuration(lasted),
            escape(&past.error)
        );
    }
    out.push_str("</table>\n");
}

fn limits(out: &mut String, report: &PoolReport) {
    let limits = &report.limits;
    if limits.all.is_empty() {
        return;
    }
    out.push_str("<h3>The server's limits</h3>\n<table>\n");
    for (name, value) in &limits.all {
        let _ = writeln!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    out.push_str("</table>\n");
    if let Some(calculation) = &limits.calculation {
        let _ = writeln!(out, "<p>Maximum size: {}.</p>", escape(calculation));
    }
    for conflict in &limits.conflicts {
        let _ = writeln!(out, "<p class=\"waiting\">{}</p>", escape(conflict));
    }
}
