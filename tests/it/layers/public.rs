//! Which names are public, and where: what an application uses at the root, and each name once.

use super::source::{self, Crate};
use std::collections::BTreeMap;

/// What an application names: pools, drivers, options and errors.
const ROOT: &[&str] = &[
    // What it holds.
    "Pool",
    "Builder",
    "PooledConnection",
    "CancelHandle",
    "RetryPolicy",
    "CheckinAction",
    "Manager",
    "ManagedConnection",
    "Foreign",
    "Tenants",
    // Drivers and where they connect.
    "Postgres",
    "MySql",
    "Sqlite",
    "Settings",
    "Credentials",
    "Secret",
    "Tls",
    "SslMode",
    // Options.
    "PoolOptions",
    "SizePolicy",
    "SharedPermits",
    "Validation",
    "Reset",
    "Role",
    "IsolationLevel",
    // Errors.
    "Error",
    "ErrorKind",
    "Result",
    "BoxError",
    "ConnectError",
    "Fault",
    "FaultClass",
    "RetrySafety",
    "Usability",
    "Classify",
    "fault_of",
    // What it sees.
    "Snapshot",
    "Health",
    "Observer",
    "CloseReason",
    // The crates of the drivers, and modules that stand in private ones.
    "postgres",
    "mysql",
    "rusqlite",
    "r2d2",
    "query",
    "rocket",
    "dropin",
];

/// The public modules with names, and the files that declare them.
const MODULES: &[(&str, &str)] = &[
    ("config", "config/mod.rs"),
    ("driver", "driver/mod.rs"),
    ("observe", "observe/mod.rs"),
    ("query", "pool/query/mod.rs"),
    ("rocket", "pool/rocket/mod.rs"),
];

/// The names that a file passes on to everybody.
fn passed_on(path: &str) -> Vec<String> {
    let names = source::passed_on_by(&source::text(path)).into_iter();
    names.map(|path| path.rsplit("::").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_root_has_the_names_that_an_application_uses_and_no_others() {
    let mut found = passed_on("lib.rs");
    found.sort();
    let mut intended: Vec<_> = ROOT.iter().map(|name| (*name).to_owned()).collect();
    intended.sort();
    assert_eq!(found, intended);
}

#[test]
fn each_public_name_has_one_place() {
    let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (module, path) in [("the root", "lib.rs")].iter().chain(MODULES) {
        let names = passed_on(path);
        assert!(names.len() >= 4, "{module}: {names:?}");
        names.into_iter().for_each(|name| places.entry(name).or_default().push(module));
    }
    places.retain(|_, modules| modules.len() > 1);
    assert_eq!(places, BTreeMap::new());
}

/// Returns `true` if a declaration, with the lines in front of it, is a public type that others
/// can build or match in full.
fn is_open(before: &[&str], line: &str, body: &[&str]) -> bool {
    let is_enum = line.starts_with("pub enum ");
    let is_open_struct = line.starts_with("pub struct ")
        && line.ends_with('{')
        && body.iter().take_while(|line| **line != "}").any(|line| line.starts_with("    pub "));
    let attributes = before.iter().rev().take_while(|line| line.starts_with("#["));
    (is_enum || is_open_struct) && !attributes.into_iter().any(|a| a.contains("non_exhaustive"))
}

#[test]
fn every_public_type_that_may_grow_says_so() {
    let mut found = Vec::new();
    for source in Crate::read().sources() {
        let lines: Vec<&str> = source.code.lines().collect();
        let open = (0..lines.len()).filter(|at| is_open(&lines[..*at], lines[*at], &lines[*at..]));
        found.extend(open.map(|at| format!("{}: {}", source.path.display(), lines[at])));
    }
    assert_eq!(found, [""; 0]);
    assert!(is_open(&["#[derive(Debug)]"], "pub enum E {", &[]));
    assert!(is_open(&[], "pub struct S {", &["pub struct S {", "    pub field: u8,", "}"]));
    assert!(!is_open(&["#[non_exhaustive]"], "pub enum E {", &[]));
}
