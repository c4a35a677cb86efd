//! The table of connections of a page.

use super::escape::escape;
use crate::observe::connection_info::{ConnectionInfo, ConnectionStatus};
use crate::sys::human_duration::HumanDuration;
use std::fmt::Write as _;
use std::time::Duration;

/// How many connections are listed; the others are counted.
const LISTED: usize = 50;

/// Lists the connections, those that are held longest first.
pub(super) fn connections(out: &mut String, connections: &[ConnectionInfo]) {
    if connections.is_empty() {
        return;
    }
    let mut all: Vec<_> = connections.iter().collect();
    all.sort_by_key(|info| std::cmp::Reverse(info.held_for()));
    out.push_str(
        "<h3>Connections</h3>\n<table><tr><th>connection</th><th>state</th>\
                  <th>holder</th><th>server process</th><th>check-outs</th><th>pings</th><th>resets</th>\
                  <th>age</th><th>retires in</th></tr>\n",
    );
    all.iter().take(LISTED).for_each(|info| row(out, info));
    out.push_str("</table>\n");
    let more = all.len().saturating_sub(LISTED);
    if more > 0 {
        let _ = writeln!(out, "<p class=\"dim\">And {more} more.</p>");
    }
}

fn row(out: &mut String, info: &ConnectionInfo) {
    let (state, holder) = match &info.status {
        ConnectionStatus::Idle { since: Some(since) } => {
            (format!("idle for {}", HumanDuration(*since)), String::new())
        }
        ConnectionStatus::Idle { since: None } => ("being checked".to_owned(), String::new()),
        ConnectionStatus::InUse { since, site, thread } => {
            let site = site.map(|site| format!("{}:{}, ", site.file(), site.line()));
            let holder = format!("{}{thread}", site.unwrap_or_default());
            (format!("in use for {}", HumanDuration(*since)), holder)
        }
    };
    let retires_in = match info.retires_in {
        Some(Duration::ZERO) => "at its check-in".to_owned(),
        Some(left) => HumanDuration(left).to_string(),
        None => "–".to_owned(),
    };
    let process = info.server_process.map_or("–".to_owned(), |number| number.to_string());
    let _ = writeln!(
        out,
        "<tr><td>{}</td><td>{state}</td><td>{}</td><td>{process}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{}</td><td>{retires_in}</td></tr>",
        info.id,
        escape(&holder),
        info.checkouts,
        info.pings,
        info.resets,
        HumanDuration(info.age)
    );
}
