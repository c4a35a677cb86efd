//! Transactions on SQLite that end before their commit: nothing of them stands.

use poolwarden::{Error, ErrorKind, Pool, Sqlite};
use std::time::Duration;

fn pool() -> Pool<Sqlite> {
    let pool = Pool::builder().max_size(1).build(Sqlite::memory()).expect("a pool");
    let tables = "create table t (n integer primary key); create table fails (n integer); \
                  create trigger always before insert on fails begin \
                  select raise(rollback, 'never'); end";
    pool.execute_batch(tables).expect("tables");
    pool
}

fn rows(pool: &Pool<Sqlite>) -> Vec<i64> {
    pool.query("select n from t", [], |row| row.get(0)).expect("rows")
}

/// Statements that end a transaction, and what is done after them.
const ENDERS: &[&str] = &[
    "insert or rollback into t values (1)",
    "insert into fails values (1)",
    "rollback",
    "commit",
    "end",
    "rollback; insert into t values (3)",
    "commit; insert into t values (3)",
    "rollback; begin",
    "rollback; begin; insert into t values (3); commit",
];

#[test]
fn nothing_stands_of_a_transaction_that_ended_before_its_commit() {
    let pool = pool();
    for ender in ENDERS {
        for fails in [false, true] {
            let outcome = pool.transaction(|tx| {
                tx.execute("insert into t values (1)", [])?;
                let _ = tx.execute_batch(ender);
                // Outside of any transaction these would be committed one by one.
                for n in [2, 4] {
                    let _ = tx.execute("insert into t values (?1)", [n]);
                }
                if fails { Err(Error::caller("no")) } else { Ok(()) }
            });
            let error = outcome.expect_err(ender);
            let kind = if fails { ErrorKind::Caller } else { ErrorKind::Driver };
            assert_eq!(error.kind(), kind, "{ender}: {error}");
            assert!(error.to_string().contains("nothing was committed"), "{ender}: {error}");
            assert_eq!(rows(&pool), [0; 0], "{ender}");
        }
    }
    pool.transaction(|tx| Ok(tx.execute("insert into t values (5)", [])?)).expect("it commits");
    pool.execute("insert into t values (6)", []).expect("a statement by itself commits");
    assert_eq!(rows(&pool), [5, 6]);
    assert_eq!(pool.snapshot().closed(), 0, "the connection is as good as before");
}

#[test]
fn a_transaction_that_the_commit_refuses_is_rolled_back_and_says_so() {
    let driver = Sqlite::memory().with_init(|c| c.execute_batch("pragma foreign_keys = on"));
    let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
    let tables = "create table t (n integer primary key); \
                  create table child (parent integer references t deferrable initially deferred)";
    pool.execute_batch(tables).expect("tables");
    let outcome = pool.transaction(|tx| Ok(tx.execute("insert into child values (1)", [])?));
    let error = outcome.expect_err("there is no such parent");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let text = error.to_string();
    assert!(text.contains("rolled back at its commit: FOREIGN KEY constraint failed"), "{text}");
    let children = pool.query("select parent from child", [], |row| row.get::<_, i64>(0));
    assert!(children.expect("rows").is_empty());
    assert_eq!(pool.snapshot().closed(), 0, "the connection is as good as before");
}

#[test]
fn a_statement_that_would_be_committed_after_the_end_is_refused() {
    let pool = pool();
    let outcome = pool.transaction(|tx| {
        tx.execute_batch("rollback")?;
        assert!(tx.execute("insert into t values (2)", []).is_err(), "it is refused");
        assert!(tx.execute_batch("create table u (n integer)").is_err(), "it is refused");
        Ok(())
    });
    assert!(outcome.is_err());
    assert!(pool.query("select n from u", [], |_| Ok(())).is_err(), "there is no such table");
}

#[test]
fn a_savepoint_that_is_rolled_back_leaves_its_transaction_open() {
    let pool = pool();
    let outcome = pool.transaction(|tx| {
        tx.execute("insert into t values (1)", [])?;
        tx.execute_batch("savepoint s; insert into t values (2); rollback to s; release s")?;
        assert!(tx.execute("insert or fail into t values (1)", []).is_err());
        Ok(())
    });
    outcome.expect("it was open until its commit");
    assert_eq!(rows(&pool), [1]);
}

#[test]
fn nothing_stands_of_a_transaction_that_a_statement_timeout_interrupted() {
    let pool = Pool::builder()
        .max_size(1)
        .statement_timeout(Duration::from_millis(100))
        .build(Sqlite::memory())
        .expect("a pool");
    pool.execute_batch("create table t (n integer)").expect("a table");
    let outcome = pool.transaction(|tx| {
        let endless = "insert into t with recursive c(n) as (select 1 union all select n + 1 \
                       from c) select n from c";
        assert!(tx.execute(endless, []).is_err(), "it is interrupted");
        for n in 0..40 {
            let _ = tx.execute("insert into t values (?1)", [n]);
        }
        Err::<(), _>(Error::caller("no"))
    });
    assert!(outcome.is_err());
    assert_eq!(rows(&pool), [0; 0]);
}

#[test]
fn nothing_stands_of_a_transaction_that_met_a_full_disk() {
    let pool = pool();
    pool.execute_batch("create table blobs (b blob); pragma max_page_count = 20").expect("set");
    let outcome = pool.transaction(|tx| {
        tx.execute("insert into t values (1)", [])?;
        assert!(tx.execute("insert into blobs values (zeroblob(1000000))", []).is_err());
        let _ = tx.execute("insert into t values (2)", []);
        Err::<(), _>(Error::caller("no"))
    });
    assert!(outcome.is_err());
    assert_eq!(rows(&pool), [0; 0]);
}
