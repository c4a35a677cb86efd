//! Recommendations from the server's limits, with the arithmetic shown.

use super::section::Row;
use poolwarden::config::ServerLimits;
use poolwarden::config::{DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_LIFETIME, DEFAULT_MAX_SIZE};
use std::time::Duration;

/// The connections available to this role, and how they were calculated.
pub(super) struct Share {
    /// For all instances together; `None` if the server's limits are not known.
    pub(super) all: Option<u32>,
    pub(super) arithmetic: Vec<Row>,
}

/// Calculates how many connections are available, as `SizePolicy::PerInstance` does.
pub(super) fn share(limits: &ServerLimits, instances: u32) -> Share {
    let mut arithmetic = Vec::new();
    let mut note = |label, number: u32, why: &str| {
        arithmetic.push((label, format!("{number:>6}  {why}").trim_end().to_owned()));
    };
    if let (Some(max), Some(room)) = (limits.max_connections, limits.head_room()) {
        note("max_connections", max, "");
        note("- reserved", limits.reserved_connections.unwrap_or(0), "not for this role");
        note("- head room", room, "for administrators: a tenth, at least 3");
        note("- others", limits.held_by_others().unwrap_or(0), "held now by other roles");
        note("= left", limits.left_by_server().unwrap_or(0), "");
    }
    let bounds =
        [("limit of role", limits.role_limit), ("limit of database", limits.database_limit)];
    for (label, bound) in bounds {
        bound.into_iter().for_each(|bound| note(label, bound, ""));
    }
    let all = limits.available();
    match all {
        Some(all) => note("= for each", all / instances, &of_instances(instances)),
        None if limits.behind_pooler == Some(true) => {
            arithmetic.push((
                "",
                "not known: the pooler's limits apply, and it does not report them".into(),
            ));
        }
        None => arithmetic.push(("", "not known: the server does not report it".into())),
    }
    Share { all, arithmetic }
}

/// Returns the timeouts found.
pub(super) fn timeouts(limits: &ServerLimits) -> Vec<Row> {
    let describe = |time: Option<Duration>| time.map_or("none known".to_owned(), human);
    vec![
        ("idle session", describe(limits.idle_timeout)),
        ("idle in transaction", describe(limits.idle_in_transaction_timeout)),
        ("statement", describe(limits.statement_timeout)),
    ]
}

/// Returns the recommended settings, with reasons.
pub(super) fn recommended(limits: &ServerLimits, share: &Share, instances: u32) -> Vec<Row> {
    let mut rows = vec![("max_size", max_size(share, instances))];
    if share.all.is_some() {
        let option = format!(
            "size_policy(SizePolicy::PerInstance {{ instances: {instances} }}) applies the above"
        );
        rows.push(("", format!("{option} automatically")));
    }
    rows.push(("max_lifetime", below(DEFAULT_MAX_LIFETIME, limits.idle_timeout)));
    rows.push(("idle_timeout", below(DEFAULT_IDLE_TIMEOUT, limits.idle_timeout)));
    if !limits.product.is_empty() && !limits.product.starts_with("PostgreSQL") {
        let kept = "if set, one connection of max_size is reserved for KILL QUERY";
        rows.push(("statement_timeout", kept.into()));
    }
    if limits.behind_pooler == Some(true) {
        let why = "pgbouncer's client_idle_timeout, if it has one: SHOW CONFIG in its console";
        rows.push(("proxy_idle_timeout", why.into()));
    }
    if limits.read_only == Some(true) {
        rows.push(("", "for writes, another server: this one is read-only".into()));
    }
    rows
}

fn of_instances(instances: u32) -> String {
    match instances {
        1 => "of 1 instance".into(),
        several => format!("of {several} instances"),
    }
}

fn max_size(share: &Share, instances: u32) -> String {
    let preset = DEFAULT_MAX_SIZE;
    match share.all.map(|all| (all, all / instances)) {
        None => format!(
            "{preset}, the default; {instances} x max_size must fit into the pooler's \
             max_client_conn, and into its default_pool_size if its pool_mode is session"
        ),
        Some((all, each)) if each >= preset => format!(
            "{preset}, the default: {instances} x {preset} of {all}. More only if callers wait \
             while the server idles; never above {each}"
        ),
        Some((all, 0)) => format!(
            "1, and {instances} instances are more than the {all} connections: run fewer \
             instances, or raise the limit"
        ),
        Some((all, each)) => format!("{each}: {instances} x {each} of {all}; more do not fit"),
    }
}

/// Returns the default, or a value safely below the server's timeout: by a tenth, at least
/// half a second and at most half a minute; the pool uses the same margin.
fn below(preset: Duration, limit: Option<Duration>) -> String {
    let margin = |limit: Duration| {
        (limit / 10).clamp(Duration::from_millis(500), Duration::from_secs(30)).min(limit / 2)
    };
    match limit.map(|limit| (limit, limit - margin(limit))) {
        Some((limit, safe)) if safe < preset => {
            format!("{}: below the server's {}; the pool enforces this", human(safe), human(limit))
        }
        Some((limit, _)) => {
            format!("{}, the default: below the server's {}", human(preset), human(limit))
        }
        None => format!("{}, the default: no server timeout is shorter", human(preset)),
    }
}

/// Returns the time in a readable unit.
fn human(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        whole if time.subsec_nanos() == 0 && whole.is_multiple_of(3600) => {
            format!("{} h", whole / 3600)
        }
        whole if time.subsec_nanos() == 0 && whole.is_multiple_of(60) => {
            format!("{} min", whole / 60)
        }
        _ => format!("{} s", time.as_secs_f64()),
    }
}
