//! The settings of a pgbouncer in between, from its console.

use super::section::Row;
use std::collections::HashMap;

/// The names and values of `SHOW CONFIG`.
pub(super) type Settings = HashMap<String, String>;

/// Returns the settings that concern a pool, and what follows from each; without settings,
/// who may read them.
pub(super) fn rows(settings: &Settings, instances: u32) -> Vec<Row> {
    if settings.is_empty() {
        let text = "not shown to this role: name it in pgbouncer's stats_users, or run SHOW \
                    CONFIG in its console";
        return vec![("", text.into())];
    }
    let mode = settings.get("pool_mode").map_or("session", String::as_str);
    let explained = [
        ("pool_mode", Some(pool_mode(mode).to_owned())),
        ("max_client_conn", Some(format!("for all clients; {instances} x max_size must fit in"))),
        ("default_pool_size", Some(pool_size(mode).to_owned())),
        ("client_idle_timeout", Some(client_idle(seconds(settings, "client_idle_timeout")))),
        ("query_wait_timeout", Some(query_wait(seconds(settings, "query_wait_timeout")))),
        ("server_idle_timeout", Some("for sessions that no client has: ends no connection".into())),
        ("server_lifetime", Some(server_lifetime(mode).to_owned())),
        ("query_timeout", ends("a statement", seconds(settings, "query_timeout"))),
        (
            "idle_transaction_timeout",
            ends("an idle transaction", seconds(settings, "idle_transaction_timeout")),
        ),
    ];
    let row = |(name, text): (&'static str, Option<String>)| {
        Some((name, format!("{}  {}", settings.get(name)?, text?)))
    };
    explained.into_iter().filter_map(row).collect()
}

/// Returns a time of the settings; `None` if it is off.
fn seconds(settings: &Settings, name: &str) -> Option<f64> {
    settings.get(name)?.parse().ok().filter(|time| *time > 0.0)
}

fn pool_mode(mode: &str) -> &'static str {
    match mode {
        "session" => "a client keeps its session until it disconnects",
        "transaction" => "a session for each transaction: SET and LISTEN do not last",
        "statement" => "a session for each statement: transactions are refused",
        _ => "",
    }
}

fn pool_size(mode: &str) -> &'static str {
    match mode {
        "session" => "sessions for each user and database: as many connections of all pools work",
        _ => "sessions for each user and database: further transactions wait",
    }
}

fn client_idle(timeout: Option<f64>) -> String {
    match timeout {
        Some(time) => format!("set proxy_idle_timeout to {time} s: it closes idle clients"),
        None => "off: no proxy_idle_timeout is needed for it".into(),
    }
}

fn query_wait(timeout: Option<f64>) -> String {
    match timeout {
        Some(time) => format!(
            "a statement that gets no session for {time} s fails, and its connection is closed; \
             a shorter statement_timeout keeps the connection"
        ),
        None => "off: a statement waits for a session without end; set statement_timeout".into(),
    }
}

fn server_lifetime(mode: &str) -> &'static str {
    match mode {
        "session" => "for sessions that no client has: max_lifetime renews the pool's own",
        _ => "for sessions between two transactions: ends no connection",
    }
}

fn ends(what: &str, timeout: Option<f64>) -> Option<String> {
    Some(format!("closes the connection of {what} that takes {} s", timeout?))
}
