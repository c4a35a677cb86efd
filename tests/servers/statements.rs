//! The prepared statements of the pool's own PostgreSQL queries.

use crate::flavour::{Flavour, Pg};
use poolwarden::{CloseReason, Pool, PooledConnection, Postgres, Reset};
use postgres::SimpleQueryMessage;
use support::postgres as pg;

/// A pool of one connection, over TCP and over a unix socket.
fn on_each(
    change: impl Fn(poolwarden::Builder<Postgres>) -> poolwarden::Builder<Postgres>,
    test: impl Fn(&Pool<Postgres>),
) {
    if !pg::available() {
        return;
    }
    for by_tcp in [true, false] {
        let database = pg::shared().fresh_database();
        let text = if by_tcp { database.url() } else { database.unix_url() };
        let builder = change(Pool::builder().max_size(1));
        test(&builder.build(Pg::new(text).driver()).expect("the server is there"));
    }
}

/// What the server has prepared for the pool's only connection, by text.
fn prepared(pool: &Pool<Postgres>) -> Vec<String> {
    let mut client = pool.get().expect("a connection");
    let query = "select statement from pg_prepared_statements";
    let rows = client.simple_query(query).expect("rows");
    let texts = rows.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    texts.collect()
}

fn number(pool: &Pool<Postgres>, sql: &str) -> i32 {
    pool.query_one(sql, &[]).expect("a row").get(0)
}

#[test]
fn a_text_is_prepared_once_and_survives_every_reset() {
    for reset in [Reset::Auto, Reset::Full, Reset::None] {
        on_each(
            |builder| builder.reset(reset),
            |pool| {
                for n in 0..20i32 {
                    let row = pool.query_one("select $1::int + 1", &[&n]).expect("a row");
                    assert_eq!(row.get::<_, i32>(0), n + 1);
                    // A raw borrow, so that there is something to reset.
                    let mut client = pool.get().expect("a connection");
                    client.batch_execute("set statement_timeout = '1h'").expect("a setting");
                }
                let mut client = pool.get().expect("a connection");
                let prepares: i64 = client
                    .query_one(
                        "select count(*) from pg_prepared_statements \
                     where statement = 'select $1::int + 1'",
                        &[],
                    )
                    .expect("a row")
                    .get(0);
                assert_eq!(prepares, 1, "{reset:?}");
                drop(client);
                assert_eq!(pool.snapshot().opened, 1, "{reset:?}");
            },
        );
    }
}

#[test]
fn ten_thousand_texts_leave_no_more_than_the_cache_holds() {
    on_each(
        |builder| builder,
        |pool| {
            for n in 0..10_000 {
                assert_eq!(number(pool, &format!("select {n}")), n);
                if n % 1_000 == 999 {
                    let held = prepared(pool).len();
                    assert!((100..=102).contains(&held), "{held} after {n}");
                }
            }
            // Those used last are those that are kept.
            let held = prepared(pool);
            assert!(held.contains(&"select 9999".to_owned()), "{held:?}");
            assert!(!held.contains(&"select 9000".to_owned()), "{held:?}");
            assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
        },
    );
}

#[test]
fn the_statement_in_use_stays_and_the_others_go() {
    on_each(
        |builder| builder.statement_cache(3),
        |pool| {
            for n in 0..50 {
                assert_eq!(number(pool, "select -1"), -1);
                assert_eq!(number(pool, &format!("select {n}")), n);
            }
            let held = prepared(pool);
            assert!(held.len() <= 4, "{held:?}");
            assert!(held.contains(&"select -1".to_owned()), "{held:?}");
        },
    );
}

#[test]
fn nothing_is_kept_when_the_cache_is_off_or_the_text_is_long() {
    let long = format!("select 7 -- {}", "x".repeat(20_000));
    on_each(
        |builder| builder.statement_cache(0),
        |pool| {
            assert_eq!((number(pool, "select 7"), number(pool, "select 7")), (7, 7));
            // One statement is closed by the message that travels with the next request.
            assert!(prepared(pool).len() <= 1);
            assert_eq!(prepared(pool), [""; 0]);
        },
    );
    on_each(
        |builder| builder,
        |pool| {
            assert_eq!((number(pool, &long), number(pool, &long)), (7, 7));
            prepared(pool);
            assert_eq!(prepared(pool), [""; 0]);
        },
    );
}

#[test]
fn a_user_who_deallocates_everything_costs_nobody_an_error() {
    on_each(
        |builder| builder,
        |pool| {
            pool.batch_execute("create table t (n int); create type mood as enum ('glad', 'sad')")
                .expect("a table");
            for (round, forget) in ["deallocate all", "discard all"].into_iter().enumerate() {
                for text in ["insert into t values (1)", "insert into t values (2)"] {
                    pool.execute(text, &[]).expect("it runs");
                }
                pool.get().expect("a connection").batch_execute(forget).expect("it runs");
                for text in ["insert into t values (1)", "insert into t values (2)"] {
                    assert_eq!(pool.execute(text, &[]).expect("it runs again"), 1);
                }
                let count: i64 =
                    pool.query_one("select count(*) from t", &[]).expect("a row").get(0);
                assert_eq!(count, 4 * (round as i64 + 1), "each ran once");
            }
            assert_eq!(pool.snapshot().opened, 1, "{}", pool.snapshot());
        },
    );
}

#[test]
fn a_driver_that_has_lost_its_own_statements_is_replaced() {
    on_each(
        |builder| builder,
        |pool| {
            pool.batch_execute(
            "create type mood as enum ('glad', 'sad'); create type tone as enum ('high', 'low')",
        )
        .expect("types");
            // The driver asks for a type that it does not know by a statement that it keeps.
            pool.query("select 'glad'::mood", &[]).expect("rows");
            pool.get().expect("a connection").batch_execute("discard all").expect("it runs");
            let rows = pool.query("select 'high'::tone", &[]).expect("rows, on a new connection");
            assert_eq!(rows.len(), 1);
            let books = pool.snapshot();
            assert_eq!((books.closed_by(CloseReason::Dirty), books.opened), (1, 2), "{books}");
        },
    );
}

#[test]
fn a_result_type_that_changed_is_prepared_again() {
    on_each(
        |builder| builder,
        |pool| {
            pool.batch_execute("create table t (n int); insert into t values (1)")
                .expect("a table");
            assert_eq!(number(pool, "select * from t"), 1);
            pool.batch_execute("alter table t alter n type text using n::text").expect("it runs");
            let row = pool.query_one("select * from t", &[]).expect("a row");
            assert_eq!(row.get::<_, String>(0), "1");
            pool.batch_execute("alter table t add m bigint default 5").expect("it runs");
            let row = pool.query_one("select * from t", &[]).expect("a row");
            assert_eq!((row.len(), row.get::<_, i64>(1)), (2, 5));
            // In whatever language the server speaks.
            assert_eq!(pool.snapshot().opened, 1, "{}", pool.snapshot());
        },
    );
}

#[test]
fn a_statement_that_went_stale_inside_a_transaction_is_not_run_outside_of_it() {
    on_each(
        |builder| builder.reset(Reset::None),
        |pool| {
            pool.batch_execute("create table t (n int)").expect("a table");
            pool.execute("insert into t values (1)", &[]).expect("it runs");
            let mut client = pool.get().expect("a connection");
            client
                .batch_execute("begin; insert into t values (2); deallocate all")
                .expect("it runs");
            drop(client);
            let error = pool.execute("insert into t values (1)", &[]).expect_err("it is stale");
            assert!(error.to_string().contains("26000"), "{error}");
            let mut client = pool.get().expect("a connection");
            client.batch_execute("rollback").expect("it runs");
            PooledConnection::discard(client);
            let count: i64 = pool.query_one("select count(*) from t", &[]).expect("a row").get(0);
            assert_eq!(count, 1);
        },
    );
}

#[test]
fn an_error_of_the_statement_itself_is_not_tried_again() {
    on_each(
        |builder| builder,
        |pool| {
            pool.batch_execute(
            "create sequence runs; create function fail(code text) returns int language plpgsql as \
             $$ begin perform nextval('runs'); raise exception using errcode = code; end $$",
        )
        .expect("a function");
            for code in ["26000", "0A000", "42P05"] {
                for _ in 0..3 {
                    let error = pool.query("select fail($1)", &[&code]).expect_err("it fails");
                    assert!(error.to_string().contains(code), "{error}");
                }
            }
            let runs: i64 =
                pool.query_one("select last_value from runs", &[]).expect("a row").get(0);
            assert_eq!(runs, 9, "sequences do not roll back: each ran once");
        },
    );
}
