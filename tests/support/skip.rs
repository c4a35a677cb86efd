//! Reports a test as skipped if a server or a feature of it is missing, or fails the test.

use std::env;
use std::io::{self, Write};
use std::thread;

/// Reports that the programs of `product` are missing.
///
/// # Panics
///
/// If the environment has `REQUIRE_SERVERS=1`.
pub(crate) fn missing(product: &str) {
    let required = env::var("REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    match verdict(product, &test, required) {
        // Not `eprintln!`: the test harness hides what a passing test prints.
        Ok(skipped) => drop(writeln!(io::stderr(), "{skipped}")),
        Err(failed) => panic!("{failed}"),
    }
}

/// Reports that a test is skipped on the servers that it would run on, and why.
pub(crate) fn because(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not `eprintln!`: the test harness hides what a passing test prints.
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}

fn verdict(product: &str, test: &str, required: bool) -> Result<String, String> {
    let why = format!("{test}: no {product} server binaries found");
    if required {
        Err(format!("REQUIRE_SERVERS=1, but {why}"))
    } else {
        Ok(format!("skipped: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn a_missing_server_is_an_error_only_when_servers_are_required() {
        let skipped = "skipped: t: no PostgreSQL server binaries found".to_owned();
        assert_eq!(verdict("PostgreSQL", "t", false), Ok(skipped));
        let failed = "REQUIRE_SERVERS=1, but t: no PostgreSQL server binaries found".to_owned();
        assert_eq!(verdict("PostgreSQL", "t", true), Err(failed));
    }
}
