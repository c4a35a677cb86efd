//! Rows hold no connection, and no query fills the memory.

use crate::variant::{My, Variant, shared_my, shared_pg};
use poolwarden::{CloseReason, ErrorKind, Pool};
use std::time::{Duration, Instant};

/// The process's memory in use, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib / 1024
}

/// Runs a query that would return 50 million rows: it ends in a second, without
/// filling the memory, and the pool stays usable.
fn stops_at_the_limit(query: impl Fn() -> poolwarden::Error, goes_on: impl FnOnce()) {
    let (began, before) = (Instant::now(), resident_mib());
    let error = query();
    let (took, grown) = (began.elapsed(), resident_mib().saturating_sub(before));
    assert_eq!(error.kind(), ErrorKind::RowLimit, "{error}");
    assert!(took <= Duration::from_secs(1), "took {took:?}");
    assert!(grown < 200, "grew by {grown} MiB");
    goes_on();
}

#[test]
fn a_loop_over_postgres_rows_may_query_inside_with_one_connection() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table seen (n bigint)").expect("a table");
    let rows = pool.query("select n::bigint from generate_series(1, 10000) n", &[]);
    for row in rows.expect("rows") {
        let n: i64 = row.get(0);
        if n % 10 == 0 {
            let again = pool.query("select $1::bigint", &[&n]).expect("a query");
            assert_eq!(again[0].get::<_, i64>(0), n);
        } else {
            assert_eq!(pool.execute("insert into seen values ($1)", &[&n]).expect("a row"), 1);
        }
    }
    let count: i64 = pool.query_one("select count(*) from seen", &[]).expect("a count").get(0);
    assert_eq!((count, pool.snapshot().opened), (9_000, 1));
}

#[test]
fn a_loop_over_mariadb_rows_may_query_inside_with_one_connection() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.query_drop("create table seen (n bigint)").expect("a table");
    let rows: Vec<u64> = pool.query("select seq from seq_1_to_10000").expect("rows");
    for n in rows {
        if n % 10 == 0 {
            let again: Vec<u64> = pool.exec("select ?", (n,)).expect("a query");
            assert_eq!(again, [n]);
        } else {
            pool.exec_drop("insert into seen values (?)", (n,)).expect("a row");
        }
    }
    let count: Option<u64> = pool.query_first("select count(*) from seen").expect("a count");
    assert_eq!((count, pool.snapshot().opened), (Some(9_000), 1));
}

#[test]
fn the_row_limit_stops_a_postgres_query_and_the_pool_stays_usable() {
    let Some((variant, database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).row_limit(1_000).build(variant.driver());
    let pool = pool.expect("a pool");
    let big = "select generate_series(1, 50000000)";
    stops_at_the_limit(
        || pool.query(big, &[]).map(drop).expect_err("too many"),
        || assert_eq!(pool.query("select 1", &[]).expect("the pool stays usable").len(), 1),
    );
    stops_at_the_limit(
        || pool.execute(big, &[]).map(drop).expect_err("too many"),
        || assert!(pool.query_one("select 1", &[]).is_ok()),
    );
    assert_eq!(pool.snapshot().closed_by(CloseReason::RowLimit), 2);
    let gone = support::wait::eventually(Duration::from_secs(5), || {
        database.backends().iter().all(|one| one.state != "active")
    });
    assert!(gone, "the statement still runs: {:?}", database.backends());
}

#[test]
fn the_row_limit_stops_a_mariadb_query_and_the_pool_stays_usable() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).row_limit(1_000).build(variant.driver());
    let pool = pool.expect("a pool");
    let big = "select seq from seq_1_to_50000000";
    let one = || assert_eq!(pool.query::<u64>("select 1").expect("the pool stays usable"), [1]);
    stops_at_the_limit(|| pool.query::<u64>(big).map(drop).expect_err("too many"), one);
    stops_at_the_limit(|| pool.query_first::<u64>(big).map(drop).expect_err("too many"), one);
    stops_at_the_limit(|| pool.query_drop(big).expect_err("too many"), one);
    stops_at_the_limit(|| pool.exec_drop(big, ()).expect_err("too many"), one);
    assert_eq!(pool.snapshot().closed_by(CloseReason::RowLimit), 4);
}

#[test]
fn a_result_of_exactly_the_row_limit_is_returned() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().row_limit(5).build(variant.driver()).expect("a pool");
    assert_eq!(pool.query("select generate_series(1, 5)", &[]).expect("rows").len(), 5);
    assert!(pool.query("select generate_series(1, 6)", &[]).is_err());
}

#[test]
fn the_error_of_a_query_for_one_row_has_the_number_of_rows() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().name("rows").build(variant.driver()).expect("a pool");
    let none = pool.query_one("select 1 where false", &[]).map(drop).expect_err("no row");
    assert_eq!(
        (none.kind(), &*none.to_string()),
        (ErrorKind::RowCount, "pool rows: the query returned 0 rows, not one")
    );
    let many = pool.query_opt("select generate_series(1, 3)", &[]).map(drop).expect_err("3 rows");
    assert_eq!(many.kind(), ErrorKind::RowCount);
    assert!(pool.query_opt("select 1 where false", &[]).expect("no error").is_none());
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn an_error_of_a_later_mysql_statement_or_row_is_reported() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let late = pool.query_drop("select 1; select * from no_such_table").expect_err("an error");
    assert_eq!(late.kind(), ErrorKind::Driver);
    assert_eq!(pool.query::<u64>("select 7").expect("in sync"), [7]);
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_mysql_row_that_does_not_fit_its_type_is_an_error_and_not_a_panic() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let error = pool.query::<u8>("select 'text'").expect_err("not a number");
    assert_eq!(error.kind(), ErrorKind::Driver);
    assert_eq!(pool.snapshot().closed(), 0);
    let _ = My::new(String::new());
}

#[test]
fn an_error_of_a_mysql_row_names_its_columns_and_shows_no_value() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().name("rows").build(variant.driver()).expect("a pool");
    let sql = "select 'hushhush' as word, null as gap";
    let error = pool.query::<(u8, u8)>(sql).expect_err("no numbers");
    let texts = [error.to_string(), format!("{error:?}"), format!("{error:#?}")];
    assert!(texts.iter().all(|text| !text.contains("hushhush")), "{texts:?}");
    assert_eq!(
        texts[0],
        "pool rows: a row does not fit the type asked for: its columns are word (text or bytes), \
         gap (NULL)"
    );
}
