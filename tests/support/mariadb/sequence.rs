//! MariaDB's tables of numbers, for MySQL.
//!
//! MariaDB provides a table `seq_1_to_N` with the column `seq` in every database. In
//! MySQL each database of a test gets some as views of one table.

use std::fmt::Write as _;

/// The tables that the tests use.
const LENGTHS: [u64; 8] = [5, 7, 1_000, 3_000, 10_000, 20_000, 50_000_000, 1_000_000_000];
/// How many numbers the table has, in their order.
const STORED: u64 = 50_000;

/// Returns the statements that make the table of numbers.
pub(super) fn table() -> String {
    format!(
        "CREATE DATABASE sequence;
CREATE TABLE sequence.stored (n int PRIMARY KEY);
SET SESSION cte_max_recursion_depth = {STORED};
INSERT INTO sequence.stored WITH RECURSIVE s (n) AS \
(SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {STORED}) SELECT n FROM s;
"
    )
}

/// Returns the statements that make the views in the database `name`.
pub(super) fn views(name: &str) -> String {
    let mut text = String::new();
    for length in LENGTHS {
        let select = if length < STORED {
            format!("SELECT n AS seq FROM sequence.stored WHERE n <= {length}")
        } else {
            // Two tables' product is sent while it is made.
            format!(
                "SELECT (a.n - 1) * {STORED} + b.n AS seq \
                 FROM sequence.stored a, sequence.stored b WHERE a.n <= {}",
                length / STORED
            )
        };
        writeln!(text, "CREATE VIEW {name}.seq_1_to_{length} AS {select};").expect("a string");
    }
    text
}
