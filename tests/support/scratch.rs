//! The process's temporary folder, and the orphan guard that outlives the process.
//!
//! Statics are never dropped and a killed process drops nothing, so `Drop`
//! alone cannot guarantee that every server is stopped. A shell holds the read end
//! of a pipe whose write end is ours. When the pipe closes, however this process ended,
//! the shell stops every server that still has a `pid` file and removes all.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::statvfs::{Statvfs, statvfs};

use crate::account::Account;

/// A unix socket's address holds 107 bytes; below this folder we need about 40.
const LONGEST_BASE: usize = 60;

/// Linux's file system in memory.
const MEMORY: &str = "/dev/shm";
/// A server's folder takes 30 MB and a test process has a dozen at most; containers
/// often give 64 MB of this file system, which is too little.
const ENOUGH_MEMORY: u64 = 1 << 30;

const WATCHDOG: &str = include_str!("orphan_guard.sh");

struct Scratch {
    path: PathBuf,
    /// Holds the write end of the pipe: closing it is the signal.
    _guard: Child,
}

static SCRATCH: LazyLock<Scratch> = LazyLock::new(|| {
    let made = tempfile::Builder::new()
        .prefix("poolwarden-")
        // Servers run as another user and must reach their folders in here.
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(base());
    let path = made.expect("a temporary folder can be made").keep();
    let _guard = watch(&path);
    Scratch { path, _guard }
});

// A data folder has a thousand files that exist for seconds. ext4 does not soon reuse
// the inodes of deleted files, and each further folder takes a second to make.
// So: the folder that the environment names, else memory if there is enough, else the disk.
fn base() -> PathBuf {
    let named = env::var_os("TMPDIR").map(PathBuf::from);
    let named = named.filter(|base| base.as_os_str().len() <= LONGEST_BASE);
    let roomy = |free: &Statvfs| free.blocks_available() * free.fragment_size() >= ENOUGH_MEMORY;
    let memory = || statvfs(MEMORY).ok().filter(roomy).map(|_| PathBuf::from(MEMORY));
    named.or_else(memory).unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn watch(path: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", WATCHDOG, "orphan-guard"])
        .arg(path)
        .stdin(Stdio::piped())
        // Held open, they would keep the reader of our output waiting.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .expect("/bin/sh starts")
}

/// Makes a new folder, named after `kind`, that belongs to `account`.
pub(crate) fn folder(kind: &str, account: Account) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let path = SCRATCH.path.join(format!("{kind}{}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&path).expect("the temporary folder is ours");
    account.own(&path);
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::eventually;
    use crate::{mariadb, postgres, process};
    use std::time::Duration;

    const INNER: &str = "SUPPORT_TEST_INNER";

    /// Not a test of its own: [`a_killed_process_leaves_no_server_behind`] runs it.
    #[test]
    fn inner_process_that_kills_itself() {
        if env::var_os(INNER).is_none() {
            return;
        }
        println!("folder {}", SCRATCH.path.display());
        let frozen = postgres::Server::start();
        frozen.freeze();
        postgres::shared();
        mariadb::shared();
        for child in process::children_of(std::process::id() as i32) {
            println!("child {child}");
        }
        process::send(std::process::id() as i32, nix::sys::signal::Signal::SIGKILL);
    }

    #[test]
    fn a_killed_process_leaves_no_server_behind() {
        crate::require!(postgres);
        crate::require!(mariadb);
        let myself = env::current_exe().expect("a test has a program");
        let output = Command::new(myself)
            .args(["--exact", "scratch::tests::inner_process_that_kills_itself", "--nocapture"])
            .env(INNER, "1")
            .output()
            .expect("a test can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        let words = |key| said.lines().filter_map(move |line| line.strip_prefix(key));
        let folder = words("folder ").next().expect("it prints its folder");
        let pids: Vec<i32> = words("child ").map(|pid| pid.parse().expect("a pid")).collect();
        // Two PostgreSQL servers, one MariaDB server and the orphan guard.
        assert_eq!(pids.len(), 4, "{said}");
        let gone = || pids.iter().all(|pid| process::ended(*pid)) && !Path::new(folder).exists();
        assert!(eventually(Duration::from_secs(15), gone), "{folder} {pids:?}");
    }
}
