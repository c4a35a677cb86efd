//! Both programs of each pair work on a real server.

use example_coming_from::*;
use support::{mariadb, postgres as pg};

#[test]
fn from_r2d2_postgres() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let (before, after) =
        (r2d2_postgres::before::pool(&database.url()), r2d2_postgres::after::pool(&database.url()));
    let (before, after) = (before.expect("it opens"), after.expect("it opens"));
    assert_eq!(r2d2_postgres::before::numbers(&before).expect("rows"), [1, 2, 3]);
    assert_eq!(r2d2_postgres::after::numbers(&after).expect("rows"), [1, 2, 3]);
    assert_eq!(r2d2_postgres::before::in_transaction(&before).expect("a row"), 42);
    assert_eq!(r2d2_postgres::after::in_transaction(&after).expect("a row"), 42);
    assert_eq!(r2d2_postgres::after::in_use(&after), 0);
    assert_eq!(r2d2_postgres::before::in_use(&before), 0);
}

#[test]
fn from_r2d2_mysql_and_from_the_pool_of_mysql() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let url = database.url();
    let before = r2d2_mysql::before::pool(&url).expect("it opens");
    assert_eq!(r2d2_mysql::before::answer(&before).expect("a row"), Some(42));
    let after = r2d2_mysql::after::pool(&url).expect("it opens");
    assert_eq!(r2d2_mysql::after::answer(&after).expect("a row"), Some(42));
    let before = mysql_pool::before::pool(&url).expect("it opens");
    assert_eq!(mysql_pool::before::answer(&before).expect("a row"), Some(42));
    assert_eq!(mysql_pool::before::in_transaction(&before).expect("a row"), Some(42));
    let after = mysql_pool::after::pool(&url).expect("it opens");
    assert_eq!(mysql_pool::after::answer(&after).expect("a row"), Some(42));
    assert_eq!(mysql_pool::after::in_transaction(&after).expect("a row"), Some(42));
}

#[test]
fn from_r2d2_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let before = r2d2_sqlite::before::pool(&path).expect("it opens");
    assert_eq!(r2d2_sqlite::before::answer(&before).expect("a row"), 42);
    let after = r2d2_sqlite::after::pool(&path).expect("it opens");
    assert_eq!(r2d2_sqlite::after::answer(&after).expect("a row"), 42);
}

#[test]
fn from_diesels_pool() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let before = diesel_r2d2::before::pool(&database.url()).expect("it opens");
    assert_eq!(diesel_r2d2::before::answer(&before).expect("a row"), 42);
    let after = diesel_r2d2::after::pool(&database.url(), pg::shared().port()).expect("it opens");
    assert_eq!(diesel_r2d2::after::answer(&after).expect("a row"), 42);
}

#[test]
fn from_a_connect_per_request() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let before = per_request::before::Program::new(&database.url()).expect("a URL");
    assert_eq!(before.request().expect("a row"), 42);
    let after = per_request::after::Program::new(&database.url()).expect("it opens");
    assert_eq!(after.request().expect("a row"), 42);
}
