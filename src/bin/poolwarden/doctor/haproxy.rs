//! The timeouts of a haproxy in between, from its configuration file.

use super::section::Row;
use std::collections::HashMap;
use std::time::Duration;

/// A section of the file, such as `frontend db`.
struct Part {
    kind: String,
    name: String,
    /// The ports that it listens on.
    ports: Vec<u16>,
    default_backend: Option<String>,
    /// By their names: client, server, tunnel.
    timeouts: HashMap<String, Duration>,
    /// Those of the `defaults` section before it.
    defaults: HashMap<String, Duration>,
}

/// Returns, for each section that listens on this port, when it closes an idle connection;
/// of all sections if none listens on it.
pub fn rows(text: &str, port: u16) -> Vec<Row> {
    let parts = parse(text);
    let listeners = || parts.iter().filter(|part| matches!(&*part.kind, "frontend" | "listen"));
    let here: Vec<&Part> = listeners().filter(|part| part.ports.contains(&port)).collect();
    let found = if here.is_empty() { listeners().collect() } else { here };
    if found.is_empty() {
        return vec![("", "the file has no section that listens".into())];
    }
    let mut rows = Vec::new();
    for part in found {
        let ports: Vec<String> = part.ports.iter().map(u16::to_string).collect();
        rows.push(("", format!("{} {}, port {}", part.kind, part.name, ports.join(", "))));
        rows.extend(of_listener(part, &parts));
    }
    rows
}

fn of_listener(part: &Part, parts: &[Part]) -> Vec<Row> {
    let backend = part
        .default_backend
        .as_ref()
        .and_then(|name| parts.iter().find(|part| part.kind == "backend" && part.name == *name))
        .unwrap_or(part);
    let client = timeout(part, "client");
    let server = timeout(backend, "server");
    // It replaces both once bytes have gone in both directions.
    let tunnel = timeout(backend, "tunnel");
    let mut rows: Vec<Row> = [("client", client), ("server", server), ("tunnel", tunnel)]
        .into_iter()
        .filter_map(|(name, time)| Some(("timeout", format!("{name} {}", shown(time?)))))
        .collect();
    let idle = tunnel.or_else(|| client.into_iter().chain(server).min());
    rows.push((
        "proxy_idle_timeout",
        match idle {
            Some(time) => {
                format!("{}: set it in the pool, or a keepalive_ping below it", shown(time))
            }
            None => "not needed: no timeout ends an idle connection".into(),
        },
    ));
    rows
}

fn timeout(part: &Part, name: &str) -> Option<Duration> {
    let time = part.timeouts.get(name).or_else(|| part.defaults.get(name)).copied();
    time.filter(|time| !time.is_zero())
}

fn shown(time: Duration) -> String {
    match time.as_millis() {
        millis if millis.is_multiple_of(1_000) => format!("{} s", time.as_secs()),
        millis => format!("{millis} ms"),
    }
}

fn parse(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut defaults = HashMap::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [
                "global" | "defaults" | "frontend" | "backend" | "listen" | "resolvers" | "peers",
                ..,
            ] => {
                if let Some(last) = parts.last().filter(|part| part.kind == "defaults") {
                    defaults = last.timeouts.clone();
                }
                parts.push(Part {
                    kind: words[0].into(),
                    name: words.get(1).copied().unwrap_or_default().into(),
                    ports: Vec::new(),
                    default_backend: None,
                    timeouts: HashMap::new(),
                    defaults: defaults.clone(),
                });
            }
            ["bind", addresses, ..] => {
                let port = |address: &str| address.rsplit(':').next()?.parse::<u16>().ok();
                if let Some(part) = parts.last_mut() {
                    part.ports.extend(addresses.split(',').filter_map(port));
                }
            }
            ["default_backend", name, ..] => {
                if let Some(part) = parts.last_mut() {
                    part.default_backend = Some(name.into());
                }
            }
            ["timeout", name, time, ..] => {
                if let (Some(part), Some(time)) = (parts.last_mut(), duration(time)) {
                    part.timeouts.insert(name.into(), time);
                }
            }
            _ => {}
        }
    }
    parts
}

/// haproxy's documentation, "Time format": a number and a unit, by default milliseconds.
fn duration(text: &str) -> Option<Duration> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match &text[end..] {
        "us" => Some(Duration::from_micros(number)),
        "ms" | "" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3_600),
        "d" => seconds(24 * 3_600),
        _ => None,
    }
}
