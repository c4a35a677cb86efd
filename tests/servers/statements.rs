//! The prepared statements of the pool's own PostgreSQL queries.

use crate::variant::{Pg, Variant};
use poolwarden::{CloseReason, FaultClass, Pool, PooledConnection, Postgres, Reset};
use postgres::SimpleQueryMessage;
use support::postgres as pg;

/// A pool of one connection, over TCP and over a unix socket.
fn on_each(
    change: impl Fn(poolwarden::Builder<Postgres>) -> poolwarden::Builder<Postgres>,
    test: impl Fn(&Pool<Postgres>),
) {
    on_each_transport(change, |pool, _| test(pool));
}

/// The same, for a test that wants to know whether it is TCP.
fn on_each_transport(
    change: impl Fn(poolwarden::Builder<Postgres>) -> poolwarden::Builder<Postgres>,
    test: impl Fn(&Pool<Postgres>, bool),
) {
    if !pg::available() {
        return;
    }
    for by_tcp in [true, false] {
        let database = pg::shared().fresh_database();
        let text = if by_tcp { database.url() } else { database.unix_url() };
        let builder = change(Pool::builder().max_size(1));
        test(&builder.build(Pg::new(text).driver()).expect("the server accepts"), by_tcp);
    }
}

/// Returns the texts of the server's prepared statements of the pool's only connection.
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
                    // Raw use, so that the session is dirty.
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
fn two_thousand_texts_leave_only_as_many_statements_as_the_cache_holds() {
    on_each(
        |builder| builder,
        |pool| {
            for n in 0..2_000 {
                assert_eq!(number(pool, &format!("select {n}")), n);
                if n % 200 == 199 {
                    let held = prepared(pool).len();
                    assert!((100..=102).contains(&held), "{held} after {n}");
                }
            }
            // The statements used last are kept.
            let held = prepared(pool);
            assert!(held.contains(&"select 1999".to_owned()), "{held:?}");
            assert!(!held.contains(&"select 1800".to_owned()), "{held:?}");
            assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
        },
    );
}

#[test]
fn the_cache_keeps_the_statement_in_use_and_drops_the_others() {
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
fn no_statement_is_cached_if_the_cache_is_off_or_the_text_is_long() {
    let long = format!("select 7 -- {}", "x".repeat(20_000));
    on_each(
        |builder| builder.statement_cache(0),
        |pool| {
            assert_eq!((number(pool, "select 7"), number(pool, "select 7")), (7, 7));
            // One statement is closed by a message that is sent with the next request.
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
fn a_borrower_that_deallocates_all_statements_causes_no_error() {
    on_each_transport(
        |builder| builder,
        |pool, by_tcp| {
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
            // Over a unix socket nobody sees it.
            let closed = if by_tcp { 2 } else { 0 };
            let books = pool.snapshot();
            assert_eq!(books.closed_by(CloseReason::Dirty), closed, "{books}");
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
            // The driver looks up an unknown type by a statement that it keeps.
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
            // In any language of the server's messages.
            assert_eq!(pool.snapshot().opened, 1, "{}", pool.snapshot());
        },
    );
}

/// What changes behind a cached statement: a name, its text, and what replaces an object
/// that it uses.
const REPLACED: [(&str, &str, &str); 5] = [
    (
        "a type",
        "select 'glad'::mood::text",
        "drop type mood; create type mood as enum ('glad', 'bad')",
    ),
    (
        "a function",
        "select twice(2)::int",
        "drop function twice(int); create function twice(n int) returns bigint language sql \
         as $$ select n * 2::bigint $$",
    ),
    ("a column", "select m from c", "alter table c drop m; alter table c add m bigint default 4"),
    (
        "a table",
        "select m from d",
        "drop table d; create table d (m text); insert into d values ('4')",
    ),
    ("the schema", "select n from s", "set search_path = other"),
];

#[test]
fn a_cached_statement_works_when_an_object_that_it_uses_was_replaced() {
    on_each(
        |builder| builder.reset(Reset::None),
        |pool| {
            pool.batch_execute(
                "create type mood as enum ('glad', 'sad');
                 create function twice(n int) returns int language sql as $$ select n * 2 $$;
                 create table c (m int); insert into c values (4);
                 create table d (m int); insert into d values (4);
                 create table s (n int); insert into s values (4);
                 create schema other; create table other.s (n text);
                 insert into other.s values ('4')",
            )
            .expect("objects");
            for (name, text, change) in REPLACED {
                for round in 0..4 {
                    if round == 2 {
                        pool.batch_execute(change).expect(name);
                    }
                    pool.query_one(text, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
            }
            assert_eq!(pool.snapshot().opened, 1, "{}", pool.snapshot());
        },
    );
}

#[test]
fn a_cached_statement_works_when_the_type_of_its_parameter_has_changed() {
    on_each(
        |builder| builder,
        |pool| {
            pool.batch_execute("create table t (n int)").expect("a table");
            let insert = "insert into t values ($1)";
            pool.execute(insert, &[&1i32]).expect("a row");
            pool.batch_execute("alter table t alter n type bigint").expect("it runs");
            for _ in 0..2 {
                assert_eq!(pool.execute(insert, &[&2i64]).expect("a row"), 1);
            }
            // A wrong type is still refused, and nothing is sent.
            let error = pool.execute(insert, &[&"three"]).expect_err("a wrong type");
            assert_eq!(error.fault().class(), FaultClass::Usage, "{error}");
            assert_eq!(number(pool, "select count(*)::int from t"), 3);
            assert_eq!(pool.snapshot().opened, 1, "{}", pool.snapshot());
        },
    );
}

#[test]
fn a_stale_statement_inside_a_transaction_is_not_retried_outside_of_it() {
    on_each(
        |builder| builder.reset(Reset::None),
        |pool| {
            pool.batch_execute("create table t (n int)").expect("a table");
            pool.execute("insert into t values (1)", &[]).expect("it runs");
            let mut client = pool.get().expect("a connection");
            client.batch_execute("begin; insert into t values (2)").expect("it runs");
            // Inside a DO: after a DEALLOCATE that is seen the connection would be closed.
            let deallocate = "do $$ declare s text; begin for s in select name from \
                              pg_prepared_statements loop execute format('deallocate %I', s); \
                              end loop; end $$";
            client.batch_execute(deallocate).expect("it runs");
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
fn an_error_of_the_statement_itself_is_not_retried() {
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

#[test]
fn a_copy_that_a_query_cannot_carry_out_says_what_can() {
    let text = "the statement failed: COPY with STDIN or STDOUT needs copy_in or copy_out of a \
                checked-out connection";
    on_each(
        |builder| builder,
        |pool| {
            pool.batch_execute("create table copied (n int)").expect("a table");
            let copies = ["copy copied from stdin", "select 1; copy copied to stdout"];
            for sql in copies {
                let error = pool.batch_execute(sql).expect_err("nothing can carry the rows");
                assert!(error.to_string().contains(text), "{sql}: {error}");
            }
            let error = pool.execute(copies[0], &[]).expect_err("nothing can carry the rows");
            assert!(error.to_string().contains(text), "{error}");
            let error = pool.execute("copy nothing from stdin", &[]).expect_err("no such table");
            assert!(!error.to_string().contains(text), "{error}");
            let rows = pool.query("select n from copied", &[]).expect("a query");
            assert!(rows.is_empty());
        },
    );
}
