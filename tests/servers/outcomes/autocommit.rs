//! What is reported as done on MySQL and MariaDB is committed, also where each statement
//! begins a transaction: with autocommit off.

use crate::variant::{My, Variant, shared_my};
use mysql::prelude::Queryable;
use poolwarden::{Error, ErrorKind, FaultClass, MySql, Pool, RetrySafety};
use support::mariadb;

fn pool(variant: &My) -> Pool<MySql> {
    Pool::builder().max_size(1).build(variant.driver()).expect("a pool")
}

fn pool_with_autocommit_off(variant: &My) -> Pool<MySql> {
    let off = |session: &mut mysql::Conn| Ok(session.query_drop("set autocommit = 0")?);
    Pool::builder().max_size(1).init(off).build(variant.driver()).expect("a pool")
}

fn is_rolled_back(error: &Error) {
    assert!(error.to_string().contains("inside a transaction"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let fault = error.fault();
    assert_eq!(fault.class(), FaultClass::Usage, "{error}");
    assert_eq!(fault.retry_safety(), RetrySafety::RolledBack, "{error}");
}

fn refuses_writes(pool: &Pool<MySql>, rows: impl Fn() -> usize) {
    let before = rows();
    for _ in 0..2 {
        is_rolled_back(&pool.query_drop("insert into t values (1)").expect_err("not committed"));
        let prepared = pool.exec_drop("insert into t values (?)", (2,));
        is_rolled_back(&prepared.expect_err("not committed"));
        assert_eq!(rows(), before);
    }
    assert!(pool.query::<i32>("select n from t").is_ok(), "a read changes nothing");
    pool.transaction(|tx| Ok(tx.query_drop("insert into t values (3)")?)).expect("it commits");
    pool.query_drop("create table other (n int)").expect("it commits by itself");
    pool.query_drop("drop table other").expect("it commits by itself");
    assert_eq!(rows(), before + 1);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_write_with_autocommit_off_is_not_reported_as_done() {
    support::require!(mariadb);
    let server = mariadb::Server::with(|conf| {
        conf.set("autocommit", "0");
    });
    let database = server.fresh_database();
    database.sql("create table t (n int)");
    let rows = || database.sql("select n from t").len();
    for url in [database.url(), database.unix_url()] {
        refuses_writes(&pool(&My::new(url)), rows);
    }
}

#[test]
fn a_write_after_an_init_that_switches_autocommit_off_is_not_reported_as_done() {
    let Some((_, database)) = shared_my() else { return };
    database.sql("create table t (n int)");
    let rows = || database.sql("select n from t").len();
    for url in [database.url(), database.unix_url()] {
        refuses_writes(&pool_with_autocommit_off(&My::new(url)), rows);
    }
}

#[test]
fn a_text_that_leaves_a_transaction_open_is_not_reported_as_done() {
    let Some((variant, database)) = shared_my() else { return };
    database.sql("create table t (n int)");
    let pool = pool(&variant);
    pool.query_drop(
        "create procedure opens() begin start transaction; insert into t values (1); end",
    )
    .expect("a procedure");
    let rows = || database.sql("select n from t").len();
    for text in [
        "begin; insert into t values (1)",
        "start transaction; insert into t values (1); select 1",
        "set autocommit = 0; insert into t values (1)",
        "call opens()",
    ] {
        let error = pool.query_drop(text).expect_err(text);
        assert!(error.to_string().contains("inside a transaction"), "{text}: {error}");
        // A part of such a text may be committed.
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{text}: {error}");
        assert_eq!(rows(), 0, "{text}");
        pool.query_drop("insert into t values (1)").expect("it commits by itself");
        pool.query_drop("delete from t").expect("it commits by itself");
    }
    for text in [
        "begin; insert into t values (1); commit",
        "set autocommit = 0; insert into t values (1); commit; set autocommit = 1",
        "insert into t values (1); insert into t values (1)",
    ] {
        pool.query_drop("delete from t").expect("it commits by itself");
        pool.query_drop(text).expect(text);
        assert!(rows() > 0, "{text}");
    }
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}
