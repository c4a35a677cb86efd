//! What SQLite has done is not reported as failed, and no borrower, file or path spoils
//! the next one.

use poolwarden::{ErrorKind, FaultClass, Pool, RetryPolicy, RetrySafety, Sqlite, Usability};
use std::fs;
use std::path::Path;

fn pool(driver: Sqlite) -> Pool<Sqlite> {
    Pool::builder().max_size(1).row_limit(10).build(driver).expect("a pool")
}

fn rows(pool: &Pool<Sqlite>) -> Vec<i64> {
    pool.query("select n from t order by n", [], |row| row.get(0)).expect("rows")
}

#[test]
fn a_write_whose_result_cannot_be_returned_may_have_been_done() {
    let pool = pool(Sqlite::memory());
    pool.execute_batch("create table t (n integer primary key)").expect("a table");
    let many = "insert into t with recursive c(n) as (select 1 union all select n + 1 from c \
                limit 100) select n from c returning n";
    let number = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    let text = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let limit = pool.query(many, [], number).map(drop).expect_err("too many rows");
    assert!(limit.to_string().contains("row_limit"), "{limit}");
    let mapped = pool.query("insert into t values (101) returning n", [], text).map(drop);
    let returned = pool.execute("insert into t values (102) returning n", []).map(drop);
    let batch = "insert into t values (103); insert into t values (103)";
    let partial = pool.execute_batch(batch).map(drop);
    let in_front = "begin; insert into t values (104); commit; nonsense";
    let committed = pool.execute_batch(in_front);
    let or_fail = pool.execute("insert or fail into t select 105 union all select 1", []);
    let errors = [
        limit,
        mapped.expect_err("no text"),
        returned.expect_err("it returns rows"),
        partial.expect_err("a duplicate"),
        committed.expect_err("nonsense"),
        or_fail.map(drop).expect_err("a duplicate"),
    ];
    for error in errors {
        let told = (error.kind(), error.fault().retry_safety());
        assert_eq!(told, (ErrorKind::OutcomeUnknown, RetrySafety::OutcomeUnknown), "{error}");
    }
    assert_eq!(pool.execute("delete from t", []).expect("rows"), 105, "all of them stand");
}

#[test]
fn a_statement_that_only_fails_is_reported_as_failed() {
    let pool = pool(Sqlite::memory());
    pool.execute_batch("create table t (n integer primary key); insert into t values (1)")
        .expect("a table");
    let more = "with recursive c(n) as (select 1 union all select n + 1 from c limit 100) \
                select n from c";
    let errors = [
        (ErrorKind::Driver, pool.execute("insert into t values (1)", []).map(drop)),
        (ErrorKind::Driver, pool.execute("insert into t values (2), (1)", []).map(drop)),
        (ErrorKind::Driver, pool.execute_batch("begin; insert into t values (2); nonsense")),
        (ErrorKind::Driver, pool.execute_batch("begin; insert into t values (2); rollback; no")),
        (ErrorKind::Driver, pool.execute_batch("select 1; nonsense")),
        (ErrorKind::RowLimit, pool.query(more, [], |_| Ok(())).map(drop)),
    ];
    for (kind, outcome) in errors {
        let error = outcome.expect_err("it fails");
        let told = (error.kind(), error.fault().retry_safety());
        assert_eq!(told, (kind, RetrySafety::Permanent), "{error}");
    }
    assert_eq!(rows(&pool), [1]);
}

#[test]
fn a_write_that_leaves_a_transaction_open_is_not_reported_as_done() {
    let pool = pool(Sqlite::memory());
    pool.execute_batch("create table t (n integer primary key)").expect("a table");
    let open = pool.execute_batch("begin; insert into t values (1)").expect_err("not committed");
    assert_eq!(open.fault().retry_safety(), RetrySafety::RolledBack, "{open}");
    let part = pool.execute_batch("insert into t values (2); begin").expect_err("not all");
    assert_eq!(part.kind(), ErrorKind::OutcomeUnknown, "{part}");
    assert_eq!(rows(&pool), [2]);
}

#[test]
fn work_that_returns_inside_a_transaction_is_not_reported_as_done() {
    let pool = pool(Sqlite::memory());
    pool.execute_batch("create table t (n integer)").expect("a table");
    let run = |text: &str| {
        pool.run(RetryPolicy::none(), |connection, _| Ok(connection.execute_batch(text)?))
    };
    run("begin; insert into t values (1); commit").expect("it is committed");
    let error = run("begin; insert into t values (2)").expect_err("it is rolled back");
    assert!(error.to_string().contains("inside a transaction"), "{error}");
    // The library does not report whether something before that was committed.
    assert_eq!(error.fault().retry_safety(), RetrySafety::OutcomeUnknown, "{error}");
    assert_eq!(rows(&pool), [1]);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_statement_that_a_borrower_forgot_holds_no_snapshot_for_the_next_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    let driver = || Sqlite::file(&file).with_init(|c| c.execute_batch("pragma journal_mode = wal"));
    let (pool, other) = (pool(driver()), pool(driver()));
    other.execute_batch("create table t (n integer); insert into t values (1), (2)").expect("rows");
    {
        let connection = pool.get().expect("a connection");
        let mut statement = connection.prepare("select n from t").expect("a statement");
        let mut open = statement.query([]).expect("rows");
        assert!(open.next().expect("a row").is_some());
        std::mem::forget(open);
        std::mem::forget(statement);
    }
    other.execute("delete from t where n = 1", []).expect("a row");
    assert_eq!(rows(&pool), [2], "the next borrower reads what is there");
    pool.execute("insert into t values (3)", []).expect("and writes");
    assert_eq!(pool.snapshot().closed_by(poolwarden::CloseReason::Dirty), 1);
}

fn replace(file: &Path) {
    fs::remove_file(file).expect("a file");
    let fresh = rusqlite::Connection::open(file).expect("a file");
    fresh.execute_batch("create table t (n integer)").expect("a table");
}

#[test]
fn a_connection_whose_file_was_replaced_is_not_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    let pool = pool(Sqlite::file(&file));
    pool.execute_batch("create table t (n integer); insert into t values (1)").expect("a table");
    replace(&file);
    let error = pool.execute("insert into t values (2)", []).expect_err("its file has gone");
    let fault = error.fault();
    assert_eq!(
        (fault.class(), fault.connection(), fault.retry_safety()),
        (FaultClass::Disconnected, Usability::Broken, RetrySafety::RolledBack),
        "{error}"
    );
    pool.execute("insert into t values (3)", []).expect("the new file");
    assert_eq!(rows(&pool), [3]);
    replace(&file);
    drop(pool.get().expect("a connection"));
    assert_eq!(rows(&pool), [0; 0], "the check-in has seen it");
}

#[test]
fn a_ping_sees_that_the_file_was_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("db");
    let pool = Pool::builder()
        .max_size(1)
        .validation(poolwarden::Validation::AlwaysPing)
        .build(Sqlite::file(&file))
        .expect("a pool");
    pool.execute_batch("create table t (n integer); insert into t values (1)").expect("a table");
    // A connection just opened is not pinged.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    replace(&file);
    assert_eq!(rows(&pool), [0; 0]);
    assert_eq!(pool.snapshot().closed(), 1, "{}", pool.snapshot());
}

#[test]
fn a_file_that_is_no_database_is_refused_at_build() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("letter");
    fs::write(&file, "Dear reader, this is a letter and no database. ".repeat(100))
        .expect("a file");
    let error = Pool::builder().build(Sqlite::file(&file)).expect_err("no database");
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    assert!(format!("{error:?}").contains("not a database"), "{error:?}");
    let absent = folder.path().join("absent/db");
    assert!(Pool::builder().build(Sqlite::file(&absent)).is_err());
}

#[test]
fn a_database_in_memory_is_shared_or_refused() {
    let shared = Pool::builder().max_size(2).build(Sqlite::file(":memory:")).expect("a pool");
    shared.execute_batch("create table t (n integer)").expect("a table");
    let (one, two) = (shared.get().expect("one"), shared.get().expect("two"));
    one.execute("insert into t values (1)", []).expect("a row");
    let seen: i64 = two.query_row("select n from t", [], |row| row.get(0)).expect("the same");
    assert_eq!(seen, 1);
    for private in ["", "file::memory:", "file:name?mode=memory"] {
        let error = Pool::builder().build(Sqlite::file(private)).expect_err("one for each");
        assert!(format!("{error:?}").contains("private database"), "{private}: {error:?}");
    }
    assert!(Pool::builder().build(Sqlite::file("file:ours?mode=memory&cache=shared")).is_ok());
}
