//! With `Reset::Full` nothing that a borrower changes in its SQLite connection reaches the
//! next one.

use poolwarden::{CloseReason, Pool, Reset, Sqlite};
use rusqlite::Connection;

/// Statements that change a connection, and a question that is answered with 1 in a clean
/// one.
const CHANGES: &[(&str, &str)] = &[
    ("pragma foreign_keys = off", "select foreign_keys from pragma_foreign_keys"),
    ("pragma query_only = on", "select not query_only from pragma_query_only"),
    ("pragma cache_size = 77", "select cache_size <> 77 from pragma_cache_size"),
    ("pragma synchronous = off", "select synchronous <> 0 from pragma_synchronous"),
    ("pragma busy_timeout = 7", "select timeout <> 7 from pragma_busy_timeout"),
    (
        "pragma recursive_triggers = on",
        "select not recursive_triggers from pragma_recursive_triggers",
    ),
    ("pragma case_sensitive_like = on", "select 'a' like 'A'"),
    ("pragma temp_store = memory", "select temp_store <> 2 from pragma_temp_store"),
    (
        "attach ':memory:' as other",
        "select count(*) = 0 from pragma_database_list where name = 'other'",
    ),
    (
        "create temp table scratch (n)",
        "select count(*) = 0 from sqlite_temp_master where name = 'scratch'",
    ),
    (
        "create temp view scratch as select 1",
        "select count(*) = 0 from sqlite_temp_master where name = 'scratch'",
    ),
    ("begin; pragma cache_size = 78", "select cache_size <> 78 from pragma_cache_size"),
    ("drop table init", "select count(*) from sqlite_temp_master where name = 'init'"),
];

fn pool(reset: Reset) -> Pool<Sqlite> {
    let init = |connection: &mut Connection| {
        connection.execute_batch("pragma foreign_keys = on; create temp table init (n)")
    };
    let builder = Pool::builder().max_size(1).reset(reset);
    builder.build(Sqlite::memory().with_init(init)).expect("a pool")
}

fn is_clean(connection: &Connection, question: &str) -> bool {
    connection.query_row(question, [], |row| row.get(0)).expect("an answer")
}

#[test]
fn a_full_reset_closes_a_connection_that_its_borrower_has_changed() {
    let pool = pool(Reset::Full);
    for (number, (change, question)) in (1..).zip(CHANGES) {
        pool.get().expect("a connection").execute_batch(change).expect("it runs");
        assert!(is_clean(&pool.get().expect("another connection"), question), "{change}");
        assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), number, "{change}");
    }
}

#[test]
fn a_full_reset_keeps_a_connection_that_was_only_used() {
    let pool = pool(Reset::Full);
    pool.execute_batch("create table t (n); insert into t values (1)").expect("it runs");
    for _ in 0..3 {
        let mut connection = pool.get().expect("a connection");
        let count: i64 =
            connection.query_row("select count(*) from t", [], |row| row.get(0)).expect("a row");
        assert!(count >= 1);
        let transaction = connection.transaction().expect("it begins");
        transaction.execute("insert into t values (2)", []).expect("it runs");
        transaction.commit().expect("it commits");
        connection
            .execute_batch("create index if not exists i on t (n); analyze")
            .expect("it runs");
        connection.execute_batch("begin; create temp table scratch (n)").expect("it runs");
    }
    let now = pool.snapshot();
    assert_eq!((now.opened, now.closed(), now.rolled_back), (1, 0, 3), "{now}");
}

#[test]
fn with_other_resets_a_pragma_reaches_the_next_borrower() {
    for reset in [Reset::Auto, Reset::None] {
        let pool = pool(reset);
        let (change, question) = CHANGES[0];
        pool.get().expect("a connection").execute_batch(change).expect("it runs");
        assert!(!is_clean(&pool.get().expect("the same connection"), question));
        assert_eq!(pool.snapshot().closed(), 0);
    }
}
