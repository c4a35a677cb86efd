//! The template of every server's data folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Conf, Product, programs, sequence};
use crate::scratch;

/// Users that the tests log in as, besides `root` without a password.
const USERS: &str = "\
CREATE USER app@'%' IDENTIFIED BY 'app';
CREATE USER app@localhost IDENTIFIED BY 'app';
GRANT ALL ON *.* TO app@'%' WITH GRANT OPTION;
GRANT ALL ON *.* TO app@localhost WITH GRANT OPTION;
";

/// Returns the template's data folder, made on the first call.
pub(super) fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(make)
}

fn make() -> PathBuf {
    let account = programs::account();
    let folder = scratch::folder("my-template", account);
    let data = folder.join("data");
    let users = folder.join("users.sql");
    let mut install = account.command(programs::installer(), &folder);
    // It has to be the first argument.
    install.args(Conf::defaults(&data));
    // A server that starts removes the temporary tables of all others in its folder.
    install.arg(format!("--tmpdir={}", folder.display()));
    let users_text = match programs::product() {
        Product::MariaDb => as_mariadb(&mut install, &users),
        Product::MySql => as_mysql(&mut install, &users),
    };
    fs::write(&users, users_text).expect("the server's folder can be written");
    let output = install.output().expect("the installer starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "making a data folder failed: {errors}");
    data
}

// The server that fills the folder does not load the users table by default.
fn as_mariadb(install: &mut Command, users: &Path) -> String {
    install.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
    install.arg(format!("--extra-file={}", users.display()));
    format!("FLUSH PRIVILEGES;\n{USERS}")
}

fn as_mysql(install: &mut Command, users: &Path) -> String {
    install.arg("--initialize-insecure").arg(format!("--init-file={}", users.display()));
    format!("{USERS}{}", sequence::table())
}
