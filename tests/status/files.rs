//! The dashboard and the alert rules in `examples/observability` use only what is written.

use crate::text::promtool;
use poolwarden::observe::status;
use poolwarden::{Pool, Postgres};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use support::wait::eventually;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/observability")
}

/// The words of a text that could be names of series or labels.
fn words(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    let ours = |word: &&str| word.starts_with("db_client_") || word.starts_with("poolwarden_");
    words.filter(ours).map(str::to_owned).collect()
}

/// All names of series and labels that a pool on a server writes.
fn written() -> Option<BTreeSet<String>> {
    if !support::postgres::available() {
        return None;
    }
    let database = support::postgres::shared().fresh_database();
    let driver = Postgres::new(&database.url()).expect("a driver");
    let pool = Pool::builder().name("written to Prometheus").build(driver).expect("a server");
    let limits = "poolwarden_server_connections{db_client_connection_pool_name=\"written to";
    let are_known = || status::prometheus().contains(limits);
    assert!(eventually(std::time::Duration::from_secs(20), are_known));
    let text = status::prometheus();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let names = series.flat_map(words).collect();
    drop(pool);
    Some(names)
}

#[test]
fn every_query_of_the_dashboard_and_of_the_alerts_names_what_is_written() {
    let Some(written) = written() else { return };
    for file in ["grafana.json", "alerts.yml"] {
        let text = fs::read_to_string(folder().join(file)).expect("it can be read");
        let used = words(&text);
        assert!(used.len() > 8, "{file}: {used:?}");
        let unknown: Vec<_> = used.difference(&written).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}

/// A reason that no longer exists would make an alert silent.
#[test]
fn the_alerts_match_reasons_that_exist() {
    let text = fs::read_to_string(folder().join("alerts.yml")).expect("it can be read");
    let of = text.split("reason=~\"").skip(1).filter_map(|rest| rest.split('"').next());
    let patterns: Vec<_> = of.flat_map(|all| all.split('|')).collect();
    assert!(!patterns.is_empty());
    for pattern in patterns {
        let fits = |reason: &&poolwarden::CloseReason| match pattern.strip_suffix(".*") {
            Some(begin) => reason.as_str().starts_with(begin),
            None => reason.as_str() == pattern,
        };
        assert!(poolwarden::CloseReason::ALL.iter().any(|reason| fits(&reason)), "{pattern}");
    }
}

#[test]
fn promtool_accepts_the_alerts() {
    let Some(mut promtool) = promtool() else { return };
    let file = folder().join("alerts.yml");
    let output = promtool.args(["check", "rules"]).arg(file).output().expect("promtool starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

/// Each query of the dashboard is one that Prometheus can parse.
#[cfg(feature = "serde")]
#[test]
fn promtool_can_parse_every_query_of_the_dashboard() {
    let Some(mut promtool) = promtool() else { return };
    let text = fs::read_to_string(folder().join("grafana.json")).expect("it can be read");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("valid JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    let rule = |query: &str| {
        let query = query.replace("$__rate_interval", "1m").replace("$pool", ".*");
        format!("      - record: checked\n        expr: {}\n", serde_json::Value::from(query))
    };
    let rules: Vec<_> = queries.map(rule).collect();
    assert!(rules.len() >= 10);
    let rules: String = (0..)
        .zip(rules)
        .map(|(number, rule)| rule.replace("checked", &format!("checked{number}")))
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let groups = format!("groups:\n  - name: dashboard\n    rules:\n{rules}");
    fs::write(file.path(), groups).expect("it can be written");
    let output = promtool.args(["check", "rules"]).arg(file.path()).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}
