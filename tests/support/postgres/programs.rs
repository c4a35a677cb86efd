//! The location and features of PostgreSQL's programs, and the account that they run as.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::template;
use crate::account::Account;
use crate::language::{self, Language};
use crate::programs::{holds, named_folder};

/// Names the folder of another version's programs.
const VARIABLE: &str = "POSTGRES_PROGRAMS";
/// Debian keeps each version's programs in a folder of its own, out of `PATH`.
const DEBIAN: &str = "/usr/lib/postgresql";
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "psql", "pg_basebackup"];

static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let in_path = env::var_os("PATH").unwrap_or_default();
    let candidates = debian_folders().into_iter().chain(env::split_paths(&in_path));
    let found = || candidates.into_iter().find(|folder| holds(folder, &PROGRAMS));
    named_folder(VARIABLE, &[&PROGRAMS]).or_else(found)
});

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let output = account().command(&path("postgres"), Path::new("/")).arg("--version").output();
    let output = output.expect("postgres starts");
    // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.split_whitespace().nth(2).expect("it prints its version").to_owned()
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
pub(crate) fn path(name: &str) -> PathBuf {
    folder().expect("no PostgreSQL server binaries found; call available() first").join(name)
}

pub(super) fn account() -> Account {
    Account::for_server("postgres")
}

/// Returns the whole version, such as `15.18`.
pub(super) fn version() -> &'static str {
    &VERSION
}

/// Returns `true` if the server was built with TLS: without, it refuses the setting.
pub(super) fn built_with_tls() -> bool {
    static BUILT: LazyLock<bool> = LazyLock::new(|| {
        let folder = template::folder();
        let mut ask = account().command(&path("postgres"), folder);
        ask.arg("-D").arg(folder).args(["-c", "ssl=on", "-C", "ssl"]);
        ask.output().expect("postgres starts").status.success()
    });
    *BUILT
}

/// Returns `true` if the server was built with translations of its messages.
pub(super) fn built_with_translations() -> bool {
    static BUILT: LazyLock<bool> = LazyLock::new(|| {
        let help = |locale: &str| {
            let mut ask = account().command(&path("postgres"), Path::new("/"));
            let ask = ask.env_remove("LC_ALL").env("LOCPATH", language::folder());
            let output = ask.env("LC_MESSAGES", locale).arg("--help").output();
            output.expect("postgres starts").stdout
        };
        help("C") != help(&Language::German.locale())
    });
    *BUILT
}

// The newest version first.
fn debian_folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    folders.sort_by_key(|path| std::cmp::Reverse(version(path)));
    folders.into_iter().map(|path| path.join("bin")).collect()
}
