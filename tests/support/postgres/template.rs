//! The template of every server's data folder.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::programs;
use crate::scratch;

/// Returns the template's data folder, made by `initdb` on the first call.
pub(super) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(make)
}

fn make() -> PathBuf {
    let account = programs::account();
    let folder = scratch::folder("pg-template", account);
    let data = folder.join("data");
    let mut initdb = account.command(&programs::path("initdb"), &folder);
    initdb.arg("-D").arg(&data).args(["-A", "trust", "-U", "postgres", "-E", "UTF8"]);
    // Small write-ahead files: the folder is copied for each server.
    initdb.args(["--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1"]);
    let output = initdb.output().expect("initdb starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb failed: {errors}");
    data
}
