//! Our pool over another crate's manager.

use poolwarden::{CloseReason, Foreign, Manager, Pool, Sqlite};
use r2d2_sqlite::SqliteConnectionManager;

#[test]
fn our_pool_works_with_r2d2_sqlites_manager() {
    let manager = SqliteConnectionManager::memory();
    let pool = Pool::builder().max_size(3).build(Foreign::new(manager)).expect("a pool");
    pool.get().expect("a connection").execute_batch("create table t (n integer)").expect("a table");
    std::thread::scope(|scope| {
        for n in 0..8 {
            let pool = &pool;
            scope.spawn(move || {
                let connection = pool.get().expect("a connection");
                let insert = || connection.execute("insert into t values (?1)", [n]);
                // Its in-memory database has table locks without a wait.
                while insert().is_err() {
                    std::thread::yield_now();
                }
            });
        }
    });
    let count = pool
        .get()
        .expect("a connection")
        .query_row("select count(*) from t", [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(8));
    let books = pool.snapshot();
    assert!(books.levels.open <= 3 && books.pings > 0, "{books}");
    assert!(pool.name().contains("SqliteConnectionManager"), "{}", pool.name());
}

#[test]
fn our_manager_over_sqlite_works_in_a_bare_r2d2_pool() {
    let manager: Manager<Sqlite> = Manager::new(Sqlite::memory());
    let pool = manager.builder().build(manager).expect("a pool");
    pool.get().expect("a connection").execute_batch("create table t (n integer)").expect("a table");
    let connection = pool.get().expect("a connection");
    assert_eq!(connection.execute("insert into t values (1)", []), Ok(1));
}

#[test]
fn an_open_sqlite_transaction_is_rolled_back_at_check_in() {
    let pool = Pool::builder().max_size(2).build(Sqlite::memory()).expect("a pool");
    pool.execute_batch("create table t (n integer)").expect("a table");
    let left_open = pool.get().expect("a connection");
    left_open.execute_batch("begin immediate; insert into t values (1)").expect("it begins");
    drop(left_open);
    pool.execute("insert into t values (2)", []).expect("no transaction holds the lock");
    let rows = pool.query("select n from t", [], |row| row.get::<_, i64>(0)).expect("rows");
    assert_eq!((rows, pool.snapshot().closed_by(CloseReason::Dirty)), (vec![2], 0));
}

#[test]
fn the_row_limit_stops_a_sqlite_query_and_the_connection_stays_usable() {
    let pool =
        Pool::builder().max_size(1).row_limit(1_000).build(Sqlite::memory()).expect("a pool");
    let big = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";
    let error = pool.query(big, [], |row| row.get::<_, i64>(0)).expect_err("too many");
    assert_eq!(error.kind(), poolwarden::ErrorKind::RowLimit);
    let one =
        pool.query("select 1", [], |row| row.get::<_, i64>(0)).expect("the pool stays usable");
    assert_eq!((one, pool.snapshot().opened), (vec![1], 1));
}
