//! Where MariaDB's programs are, and whom they run as.

use std::env;
use std::path::PathBuf;

use crate::account::Account;

/// The server is no user's command: its folder is often not in `PATH`.
const MORE_FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

fn find(name: &str) -> Option<PathBuf> {
    let in_path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&in_path).chain(MORE_FOLDERS.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

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
