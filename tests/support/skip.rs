//! Says which test was skipped for want of a server, or fails it.

use std::env;
use std::io::{self, Write};
use std::thread;

/// Reports that the programs of `product` are missing.
///
/// # Panics
///
/// When the environment has `REQUIRE_SERVERS=1`.
pub(crate) fn missing(product: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    let why = format!("no {product} server binaries found");
    if env::var("REQUIRE_SERVERS").is_ok_and(|value| value == "1") {
        panic!("REQUIRE_SERVERS=1, but {test} has {why}");
    }
    // Not `eprintln!`: the test harness hides what a passing test prints.
    let _ = writeln!(io::stderr(), "skipped: {test}: {why}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_missing_server_is_an_error_only_when_servers_are_required() {
        let required = std::env::var("REQUIRE_SERVERS").is_ok_and(|value| value == "1");
        let outcome = std::panic::catch_unwind(|| super::missing("Nosuch"));
        assert_eq!(outcome.is_err(), required);
    }
}
