//! The reports of the process's pools in each format.

use super::{json as json_text, page, prometheus as prometheus_text};
use crate::observe::report::reports;
use std::time::SystemTime;

/// The media type of [`prometheus`].
pub const CONTENT_TYPE_PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The media type of [`json`].
pub const CONTENT_TYPE_JSON: &str = "application/json";

/// The media type of [`html`].
pub const CONTENT_TYPE_HTML: &str = "text/html; charset=utf-8";

/// Returns the metrics of all pools of this process in Prometheus' text format.
///
/// The guide's page [`observability`](crate::guide::observability) lists the names. A pool
/// whose name another pool has already is reported with a number behind it, so that no series
/// appears twice.
///
/// # Blocking
///
/// Does not block.
pub fn prometheus() -> String {
    prometheus_text::text(&reports())
}

/// Returns what is known of all pools of this process as JSON: levels, totals, times,
/// connections with their holders, the last closes and outages, the server's limits.
///
/// Times are numbers of seconds, instants are seconds since 1970. Fields are added in later
/// versions.
///
/// # Blocking
///
/// Does not block.
pub fn json() -> String {
    json_text::text(&reports())
}

/// Returns a page about all pools of this process, for a person.
///
/// It has no external parts. With JavaScript it shows twice a second what its own address
/// returns; without, it shows the moment at which it was loaded. Texts of servers and names of
/// pools are escaped. It shows call sites, thread names and the server's messages: serve it
/// behind the program's own access control.
///
/// # Blocking
///
/// Does not block.
pub fn html() -> String {
    page::text(&reports(), SystemTime::now())
}
