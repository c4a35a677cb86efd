//! Where PostgreSQL's programs are, and whom they run as.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::account::Account;

/// Debian keeps each version's programs in a folder of its own, out of `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let in_path = env::var_os("PATH").unwrap_or_default();
    let candidates = debian_folders().into_iter().chain(env::split_paths(&in_path));
    let complete = |folder: &PathBuf| {
        ["postgres", "initdb", "psql"].iter().all(|name| folder.join(name).is_file())
    };
    candidates.into_iter().find(complete)
});

/// Returns the folder with the server's programs, if they are installed.
pub(super) fn folder() -> Option<&'static Path> {
    FOLDER.as_deref()
}

/// Returns the path of one program.
///
/// # Panics
///
/// When they are not installed.
pub(super) fn path(name: &str) -> PathBuf {
    folder().expect("no PostgreSQL server binaries found; ask available() first").join(name)
}

pub(super) fn account() -> Account {
    Account::for_server("postgres")
}

// The newest version first.
fn debian_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(version(path)));
    folders.into_iter().map(|path| path.join("bin")).collect()
}
