//! The metrics in Prometheus' format, and JSON.

use crate::tenants::tenants;
use poolwarden::observe::status;
use poolwarden::{Pool, Sqlite};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// A name that tries to end its label, its line, its string and its element.
pub(crate) const HOSTILE: &str = "</script><img src=x onerror=\"document.title='pwned'\">\"\\{}&";

#[track_caller]
pub(crate) fn sqlite(name: &str) -> Pool<Sqlite> {
    Pool::builder().name(name).max_size(2).build(Sqlite::memory()).expect("a database in memory")
}

/// The lines of the series of one pool.
fn lines_of(pool: &str) -> Vec<String> {
    let label = format!("{{db_client_connection_pool_name=\"{pool}\"");
    let text = status::prometheus();
    text.lines().filter(|line| line.contains(&label)).map(str::to_owned).collect()
}

#[test]
fn the_levels_totals_and_times_of_a_pool_are_written() {
    let pool = sqlite("written");
    let held = pool.get().expect("a connection");
    let lines = lines_of("written");
    let label = "db_client_connection_pool_name=\"written\"";
    for wanted in [
        format!("db_client_connection_count{{{label},db_client_connection_state=\"used\"}} 1"),
        format!("db_client_connection_count{{{label},db_client_connection_state=\"idle\"}} 0"),
        format!("db_client_connection_max{{{label}}} 2"),
        format!("poolwarden_checkouts_total{{{label}}} 2"),
        format!("poolwarden_closed_total{{{label},reason=\"max_lifetime\"}} 0"),
        format!("db_client_connection_wait_time_seconds_bucket{{{label},le=\"+Inf\"}} 2"),
        format!("db_client_connection_use_time_seconds_count{{{label}}} 1"),
        format!("db_client_connection_create_time_seconds_count{{{label}}} 1"),
    ] {
        assert!(lines.contains(&wanted), "{wanted}\n{}", lines.join("\n"));
    }
    drop(held);
    drop(pool);
    assert_eq!(lines_of("written"), [""; 0], "a pool that is gone is not reported");
}

#[test]
fn no_series_appears_twice_though_two_pools_have_one_name() {
    let (first, second) = (sqlite("twins"), sqlite("twins"));
    let text = status::prometheus();
    let mut seen = BTreeSet::new();
    for line in text.lines() {
        let series = line.rsplit_once(' ').expect("a value").0;
        assert!(seen.insert(series.to_owned()), "{series}");
    }
    assert_eq!(lines_of("twins").len(), lines_of("twins (2)").len());
    assert!(!lines_of("twins").is_empty());
    drop((first, second));
}

#[test]
fn the_pool_of_a_bare_r2d2_pool_is_reported_as_well() {
    let manager = Pool::builder().name("a manager").manager(Sqlite::memory()).expect("a manager");
    let pool = r2d2::Pool::builder().max_size(1).build(manager).expect("a pool");
    drop(pool.get().expect("a connection"));
    let label = "db_client_connection_pool_name=\"a manager\"";
    let wanted = format!("poolwarden_opened_total{{{label}}} 1");
    assert!(lines_of("a manager").contains(&wanted), "{:?}", lines_of("a manager"));
}

/// Prometheus' own checker reads all of it, hostile names included.
#[test]
fn promtool_accepts_the_text() {
    let _pools = (sqlite(HOSTILE), sqlite("plain"));
    let tenants = tenants("of the checker", 2);
    drop(tenants.get(HOSTILE).expect("a connection"));
    let Some(mut promtool) = promtool() else { return };
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let text = status::prometheus();
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // OpenTelemetry's name for the number of connections ends as a histogram's count does.
    let is_known = |line: &str| line.starts_with("db_client_connection_count non-histogram");
    let remarks: Vec<_> = said.lines().filter(|line| !is_known(line)).collect();
    assert!(remarks.is_empty(), "{remarks:?}\n{text}");
    let code = output.status.code().expect("it was not killed");
    assert!(matches!(code, 0 | LINT_REMARKS), "{code}: {said}");
}

/// The exit code of `promtool check metrics` if it has remarks about style only.
const LINT_REMARKS: i32 = 3;

/// Returns the command, unless Prometheus is not installed.
pub(crate) fn promtool() -> Option<Command> {
    let found = Command::new("promtool").arg("--version").output().is_ok();
    let required = std::env::var("REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(found || !required, "REQUIRE_SERVERS=1, but promtool is missing (package prometheus)");
    found.then(|| Command::new("promtool"))
}

#[cfg(feature = "serde")]
#[test]
fn the_json_has_what_the_page_shows() {
    let pool = sqlite(&format!("{HOSTILE} in JSON"));
    let held = pool.get().expect("a connection");
    let text = status::json();
    assert!(!text.contains("</"), "it can stand in a script element");
    let all: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    let pools = all["pools"].as_array().expect("an array").iter();
    let named = |one: &&serde_json::Value| {
        one["name"].as_str().is_some_and(|name| name == format!("{HOSTILE} in JSON"))
    };
    assert_eq!(pools.clone().filter(named).count(), 1);
    let one = pools.clone().find(named).expect("the pool");
    assert_eq!((&one["max_size"], &one["checkouts"]), (&2.into(), &2.into()));
    let connection = &one["connections"][0];
    assert_eq!(connection["status"], "in_use");
    assert!(connection["site"].as_str().expect("a site").starts_with(file!()));
    assert_eq!((&connection["checkouts"], &connection["resets"]), (&2.into(), &0.into()));
    assert_eq!(one["wait"]["count"], 2);
    assert!(one["down_for"].is_null() && one["waits"].as_array().expect("an array").len() == 60);
    drop(held);
}
