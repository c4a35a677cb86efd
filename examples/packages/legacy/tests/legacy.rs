//! Both programs of each pair do the same, and the second one with few sessions.

use example_legacy::{Timing, on_mysql, on_postgres, on_sqlite, time_mysql, time_postgres};
use support::{mariadb, postgres as pg};

/// A pool has at most ten connections, and the timings' own clients connect too.
fn assert_few_sessions([before, after]: [Timing; 2]) {
    println!("before: {before:?}, after: {after:?}");
    assert!(before.sessions >= 800, "{before:?}");
    assert!(after.sessions <= 50, "{after:?}");
}

#[test]
fn on_postgres_requests_share_ten_sessions() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let url = database.url();
    assert_eq!(on_postgres::before::request(&url).expect("it runs"), 42);
    assert_eq!(on_postgres::after::request(&url).expect("it runs"), 42);
    assert_few_sessions(time_postgres(&url).expect("requests succeed"));
}

#[test]
fn on_mariadb_requests_share_ten_sessions() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let url = database.url();
    assert_eq!(on_mysql::before::request(&url).expect("it runs"), Some(42));
    assert_eq!(on_mysql::after::request(&url).expect("it runs"), Some(42));
    assert_few_sessions(time_mysql(&url).expect("requests succeed"));
}

#[test]
fn on_sqlite_a_request_opens_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("orders.db");
    assert_eq!(on_sqlite::before::request(&path).expect("it runs"), 42);
    assert_eq!(on_sqlite::after::request(&path).expect("it runs"), 42);
}
