//! The text that begins a transaction on MySQL or MariaDB.

use crate::pool::query::transaction_options::TransactionOptions;

/// Returns the text that begins a transaction; `report_state` is added to its SET.
pub(super) fn beginning(
    options: &TransactionOptions,
    is_reset: bool,
    report_state: &str,
) -> String {
    let session = match is_reset {
        true => format!("set autocommit = 0{report_state}; "),
        false => String::new(),
    };
    let level = options.isolation_level.map(|level| {
        // Of the next transaction only.
        format!("set transaction isolation level {level}; ")
    });
    let level = level.unwrap_or_default();
    let access = if options.read_only { " read only" } else { "" };
    format!("{session}{level}start transaction{access}; savepoint poolwarden")
}
