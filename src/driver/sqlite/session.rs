//! What a borrower can change in a SQLite connection, as far as SQLite reports it.

use super::file_identity::FileIdentity;
use rusqlite::Connection;
use std::fmt::Write as _;

/// What the driver keeps beside each connection.
#[derive(Debug, Default)]
pub struct ConnectionState {
    pub(super) file: FileIdentity,
    /// The settings of the connection when it was clean; `None` if they could not be read.
    clean: Option<String>,
}

impl ConnectionState {
    pub(super) fn new(file: FileIdentity) -> ConnectionState {
        ConnectionState { file, clean: None }
    }

    /// Records that the connection is as a borrower is to find it.
    pub(super) fn mark_clean(&mut self, connection: &Connection) {
        self.clean = settings(connection).ok();
    }

    /// Returns `true` if the settings are as they were then.
    pub(super) fn is_clean(&self, connection: &Connection) -> bool {
        self.clean.is_some() && settings(connection).ok() == self.clean
    }
}

/// Pragmas that change one connection and no database, and whose value can be read.
///
/// SQLite documentation, "PRAGMA Statements". One that a version of SQLite does not know
/// has no value there.
const PRAGMAS: &[&str] = &[
    "analysis_limit",
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cache_spill",
    "cell_size_check",
    "checkpoint_fullfsync",
    "count_changes",
    "defer_foreign_keys",
    "empty_result_callbacks",
    "foreign_keys",
    "full_column_names",
    "fullfsync",
    "ignore_check_constraints",
    "journal_size_limit",
    "legacy_alter_table",
    "locking_mode",
    "max_page_count",
    "mmap_size",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "secure_delete",
    "short_column_names",
    "synchronous",
    "temp_store",
    "threads",
    "trusted_schema",
    "wal_autocheckpoint",
    "writable_schema",
];

/// Returns the connection's pragmas, its attached databases and its temporary objects, as
/// one text.
fn settings(connection: &Connection) -> rusqlite::Result<String> {
    let mut text = String::new();
    let mut read = |sql: &str| -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                let _ = write!(text, "{:?} ", row.get_ref(column)?);
            }
        }
        text.push('\n');
        Ok(())
    };
    for pragma in PRAGMAS {
        read(&format!("pragma {pragma}"))?;
    }
    // The only way to read the pragma case_sensitive_like.
    read("select 'a' like 'A'")?;
    read("select name, file from pragma_database_list where name <> 'temp'")?;
    read("select type, name, sql from sqlite_temp_master")?;
    Ok(text)
}
