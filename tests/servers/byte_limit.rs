//! The limit on the bytes that one of the pool's own queries returns.

use crate::variant::{My, Pg, Variant};
use poolwarden::{CloseReason, Error, ErrorKind, MySql, Pool, Postgres};
use support::{mariadb, postgres as pg};

const KIB: usize = 1_024;
const LIMIT: usize = 1_024 * KIB;

fn postgres_pools() -> Vec<Pool<Postgres>> {
    if !pg::available() {
        return Vec::new();
    }
    let database = pg::shared().fresh_database();
    let build = |url: String| {
        let builder = Pool::builder().max_size(1).byte_limit(LIMIT);
        builder.build(Pg::new(url).driver()).expect("the server accepts")
    };
    [database.url(), database.unix_url()].map(build).into()
}

fn mariadb_pools() -> Vec<Pool<MySql>> {
    if !mariadb::available() {
        return Vec::new();
    }
    let database = mariadb::shared().fresh_database();
    let build = |url: String| {
        let builder = Pool::builder().max_size(1).byte_limit(LIMIT);
        builder.build(My::new(url).driver()).expect("the server accepts")
    };
    [database.url(), database.unix_url()].map(build).into()
}

#[track_caller]
fn assert_refused(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::ByteLimit, "{error}");
    let text = format!("the query returned more than {LIMIT} bytes (byte_limit)");
    assert!(error.to_string().contains(&text), "{error}");
}

/// Rows of 100 KiB each.
fn of_postgres(rows: usize) -> String {
    format!("select repeat('x', {}) from generate_series(1, {rows})", 100 * KIB)
}

#[test]
fn a_postgres_query_is_stopped_at_the_byte_limit_and_the_pool_stays_usable() {
    for pool in postgres_pools() {
        assert_eq!(pool.query(&of_postgres(9), &[]).expect("it is below").len(), 9);
        assert_refused(&pool.query(&of_postgres(1_000), &[]).map(drop).expect_err("too much"));
        // Each query has a limit of its own.
        for _ in 0..3 {
            assert_eq!(pool.query(&of_postgres(9), &[]).expect("it is below").len(), 9);
        }
        let large = format!("select repeat('x', {})", 20 * LIMIT);
        assert_refused(&pool.query_one(&large, &[]).map(drop).expect_err("one large row"));
        assert_refused(&pool.execute(&of_postgres(1_000), &[]).map(drop).expect_err("too much"));
        assert_eq!(pool.query("select 1", &[]).expect("it goes on").len(), 1);
        let now = pool.snapshot();
        assert_eq!((now.closed_by(CloseReason::ByteLimit), now.closed()), (3, 3), "{now}");
    }
}

#[test]
fn what_a_guard_or_a_transaction_reads_from_postgres_is_not_limited() {
    for pool in postgres_pools() {
        drop(pool.query(&of_postgres(1), &[]).expect("it is below"));
        let mut guard = pool.get().expect("a connection");
        assert_eq!(guard.query(&of_postgres(20), &[]).expect("it is raw").len(), 20);
        drop(guard);
        assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
    }
}

#[test]
fn a_postgres_write_whose_result_exceeds_the_byte_limit_may_have_taken_effect() {
    for pool in postgres_pools() {
        pool.batch_execute("drop table if exists t; create table t (n text)").expect("it runs");
        let insert = format!("insert into t {} returning n", of_postgres(50));
        let error = pool.query(&insert, &[]).map(drop).expect_err("too much");
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert!(error.to_string().contains("byte_limit"), "{error}");
    }
}

/// Rows of 100 KiB each.
fn of_mariadb(rows: usize) -> String {
    format!("select repeat('x', {}) from seq_1_to_{rows}", 100 * KIB)
}

#[test]
fn a_mariadb_query_is_stopped_at_the_byte_limit_and_the_pool_stays_usable() {
    for pool in mariadb_pools() {
        let count = |rows: usize| pool.query::<String>(&of_mariadb(rows)).map(|rows| rows.len());
        assert_eq!(count(9).expect("it is below"), 9);
        assert_refused(&count(1_000).expect_err("too much"));
        assert_eq!(count(9).expect("it is below"), 9);
        let prepared = pool.exec::<String, _>(&of_mariadb(1_000), ());
        assert_refused(&prepared.map(drop).expect_err("too much"));
        let large = format!("select repeat('x', {})", 3 * LIMIT);
        assert_refused(&pool.query_first::<String>(&large).map(drop).expect_err("one large row"));
        let now = pool.snapshot();
        assert_eq!((now.closed_by(CloseReason::ByteLimit), now.closed()), (3, 3), "{now}");
    }
}
