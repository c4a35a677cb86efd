//! Each database is migrated once, and what the pool hands out afterwards works.

use poolwarden::{MySql, Pool, Postgres, Sqlite};
use support::{mariadb, postgres as pg};

#[test]
fn postgres_is_migrated_once() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let pool: Pool<Postgres> = Pool::connect(&database.url()).expect("the server accepts");
    assert_eq!(example_migrations::postgres(&pool).expect("it runs"), 2);
    assert_eq!(example_migrations::postgres(&pool).expect("it runs"), 0);
    assert_eq!(pool.query("select name from orders", &[]).expect("rows").len(), 1);
}

#[test]
fn mariadb_is_migrated_once() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let pool: Pool<MySql> = Pool::connect(&database.url()).expect("the server accepts");
    assert_eq!(example_migrations::mysql(&pool).expect("it runs"), 2);
    assert_eq!(example_migrations::mysql(&pool).expect("it runs"), 0);
}

#[test]
fn sqlite_is_migrated_once() {
    let pool = Pool::builder().build(Sqlite::memory()).expect("it opens");
    assert_eq!(example_migrations::sqlite(&pool).expect("it runs"), 2);
    assert_eq!(example_migrations::sqlite(&pool).expect("it runs"), 0);
}
