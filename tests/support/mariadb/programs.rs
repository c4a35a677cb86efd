//! The location of the programs of MariaDB or MySQL, and the account that they run as.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use super::Product;
use crate::account::Account;
use crate::programs::{find, named_folder};

/// Names the folder of another version's, or the other product's, programs.
const VARIABLE: &str = "MYSQL_PROGRAMS";
const MARIADB: [&str; 3] = ["mariadbd", "mariadb", "mariadb-install-db"];
const MYSQL: [&str; 2] = ["mysqld", "mysql"];

static FOUND: LazyLock<Option<(Product, [PathBuf; 3])>> = LazyLock::new(|| {
    let folder = named_folder(VARIABLE, &[&MARIADB, &MYSQL]);
    let path = |name: &str| match &folder {
        Some(folder) => Some(folder.join(name)).filter(|path| path.is_file()),
        None => find(name),
    };
    // MariaDB's first: it may bring its own `mysqld` and `mysql`.
    let [server, client, install] = MARIADB.map(path);
    let mariadb = || Some((Product::MariaDb, [server?, client?, install?]));
    let [server, client] = MYSQL.map(path);
    let mysql = || Some((Product::MySql, [server.clone()?, client?, server?]));
    mariadb().or_else(mysql)
});

static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut ask = account().command(server(), Path::new("/"));
    let output = ask.args(["--no-defaults", "--version"]).output().expect("the server starts");
    // "/usr/sbin/mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64"
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = words.split_once(" Ver ").expect("it prints its version").1;
    version.split(['-', ' ']).next().expect("a split has a first part").to_owned()
});

/// Returns `true` if all programs of one product are installed.
pub(super) fn installed() -> bool {
    FOUND.is_some()
}

/// Returns the product.
pub(super) fn product() -> Product {
    found().0
}

/// Returns the whole version, such as `10.11.19`.
pub(super) fn version() -> &'static str {
    &VERSION
}

pub(super) fn server() -> &'static Path {
    &found().1[0]
}

pub(super) fn client() -> &'static Path {
    &found().1[1]
}

/// Returns the program that makes a data folder: MySQL's server does it itself.
pub(super) fn installer() -> &'static Path {
    &found().1[2]
}

pub(super) fn account() -> Account {
    Account::for_server("mysql")
}

fn found() -> &'static (Product, [PathBuf; 3]) {
    FOUND.as_ref().expect("no MariaDB or MySQL server binaries found; call available() first")
}
