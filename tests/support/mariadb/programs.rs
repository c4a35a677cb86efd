//! Where MariaDB's programs are, and whom they run as.

use std::path::PathBuf;

use crate::account::Account;
use crate::programs::find;

/// Returns whether all the programs are installed.
pub(super) fn installed() -> bool {
    ["mariadbd", "mariadb", "mariadb-install-db"].iter().all(|name| find(name).is_some())
}

/// Returns the path of one program.
///
/// # Panics
///
/// When it is not installed.
pub(super) fn path(name: &str) -> PathBuf {
    find(name).expect("no MariaDB server binaries found; ask available() first")
}

pub(super) fn account() -> Account {
    Account::for_server("mysql")
}
