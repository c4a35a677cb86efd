//! The data folder that every server's is a copy of.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Conf, programs};
use crate::scratch;

/// Users that the tests log in as, besides `root` without a password. The server that
/// fills the folder knows no users until it is told to.
const USERS: &str = "\
FLUSH PRIVILEGES;
CREATE USER app@'%' IDENTIFIED BY 'app';
CREATE USER app@localhost IDENTIFIED BY 'app';
GRANT ALL ON *.* TO app@'%' WITH GRANT OPTION;
GRANT ALL ON *.* TO app@localhost WITH GRANT OPTION;
";

/// Returns the template's data folder, made by `mariadb-install-db` on the first call.
pub(super) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(make)
}

fn make() -> PathBuf {
    let account = programs::account();
    let folder = scratch::folder("my-template", account);
    let data = folder.join("data");
    let users = folder.join("users.sql");
    fs::write(&users, USERS).expect("the server's folder can be written");
    let output = account
        .command(&programs::path("mariadb-install-db"), &folder)
        // The first argument of all: it counts only there.
        .args(Conf::defaults(&data))
        .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--extra-file={}", users.display()))
        // A server that starts removes the temporary tables of all others in its folder.
        .arg(format!("--tmpdir={}", folder.display()))
        .output()
        .expect("mariadb-install-db starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "mariadb-install-db failed: {errors}");
    data
}
