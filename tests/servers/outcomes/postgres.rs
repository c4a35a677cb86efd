//! On PostgreSQL.

use crate::patience::patient_web;
use crate::variant::{Pg, Variant, shared_pg};
use poolwarden::{
    Error, ErrorKind, FaultClass, IsolationLevel, Pool, Postgres, RetryPolicy, RetrySafety,
};
use support::postgres as pg;
use support::proxy::{Fault, Proxy};

fn is_unknown(error: &Error) {
    let reported = (error.kind(), error.fault().retry_safety());
    assert_eq!(reported, (ErrorKind::OutcomeUnknown, RetrySafety::OutcomeUnknown), "{error}");
}

fn rows(pool: &Pool<Postgres>) -> i64 {
    pool.query_one("select count(*) from t", &[]).expect("a count").get(0)
}

#[test]
fn a_write_whose_result_cannot_be_returned_may_have_been_done() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).row_limit(10).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let two = "insert into t values (1), (2) returning n";
    is_unknown(&pool.query_one(two, &[]).expect_err("two rows"));
    is_unknown(&pool.query_opt(two, &[]).expect_err("two rows"));
    assert_eq!(rows(&pool), 4);
    let none = "with gone as (delete from t) select 1 where false";
    is_unknown(&pool.query_one(none, &[]).expect_err("no row"));
    assert_eq!(rows(&pool), 0);
    let many = "insert into t select generate_series(1, 100) returning n";
    let limit = pool.query(many, &[]).expect_err("too many rows");
    is_unknown(&limit);
    assert!(limit.to_string().contains("row_limit"), "{limit}");
    let call = "select pg_sleep(0) from generate_series(1, 100)";
    let called = pool.query(call, &[]).expect_err("too many rows");
    let reported = (called.kind(), called.fault().retry_safety());
    assert_eq!(reported, (ErrorKind::RowLimit, RetrySafety::OutcomeUnknown), "{called}");
    let read = pool.query_one("select 1 where false", &[]).expect_err("no row");
    let reported = (read.kind(), read.fault().retry_safety());
    assert_eq!(reported, (ErrorKind::RowCount, RetrySafety::Permanent), "{read}");
}

#[test]
fn a_lost_read_that_may_have_written_is_an_unknown_outcome() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let variant = Pg::new(database.url_via(proxy.port()));
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute(
        "create table t (n int); create function f() returns int language sql as \
         'insert into t values (1) returning n'",
    )
    .expect("a function");
    let cases = [
        ("select f()", ErrorKind::OutcomeUnknown),
        ("explain analyze insert into t values (1)", ErrorKind::OutcomeUnknown),
        ("/* route */ insert into t values (1)", ErrorKind::OutcomeUnknown),
        ("select n from t", ErrorKind::Driver),
        ("select count(*) from t", ErrorKind::Driver),
        ("explain insert into t values (1)", ErrorKind::Driver),
    ];
    for (sql, kind) in cases {
        // Prepared before, so that the only reply to come is the statement's.
        pool.query(sql, &[]).expect(sql);
        proxy.apply(&Fault::CloseAfter(1));
        let error = pool.query(sql, &[]).expect_err(sql);
        assert_eq!(error.kind(), kind, "{sql}: {error}");
        proxy.apply(&Fault::Pass);
    }
}

#[test]
fn a_write_that_leaves_its_session_in_a_transaction_is_not_reported_as_done() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let error = pool.batch_execute("begin; insert into t values (1)").expect_err("not committed");
    let reported = (error.kind(), error.fault().retry_safety());
    assert_eq!(reported, (ErrorKind::Driver, RetrySafety::RolledBack), "{error}");
    let error = pool
        .batch_execute("begin; insert into t values (1); commit; begin; insert into t values (2)")
        .expect_err("not all is committed");
    assert_eq!(rows(&pool), 1);
    is_unknown(&error);
    pool.batch_execute("begin; insert into t values (3); commit").expect("it is committed");
    assert_eq!(rows(&pool), 2);
}

#[test]
fn a_closure_that_ends_its_own_transaction_gets_an_error() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    for ender in ["rollback", "commit"] {
        pool.batch_execute("truncate t").expect("an empty table");
        let outcome = pool.transaction(|tx| {
            tx.batch_execute("insert into t values (1)")?;
            tx.batch_execute(ender)?;
            let _ = tx.batch_execute("insert into t values (2)");
            Ok(())
        });
        let error = outcome.expect_err(ender);
        let stand = rows(&pool);
        assert!(stand == 0 || error.kind() == ErrorKind::OutcomeUnknown, "{ender}: {error}");
    }
}

#[test]
fn more_parameters_than_the_protocol_allows_are_refused_before_sending() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let values: Vec<&(dyn postgres::types::ToSql + Sync)> = vec![&1i32; 70_000];
    let error = pool.query("select 1", &values).expect_err("too many");
    assert_eq!(error.fault().class(), FaultClass::Usage, "{error}");
    assert!(error.to_string().contains("65535"), "{error}");
    let in_closure = pool.transaction(|tx| Ok(tx.execute("select 1", &values)?));
    let error = in_closure.expect_err("too many");
    assert_eq!(error.fault().class(), FaultClass::Usage, "{error}");
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_transaction_begins_with_the_options_that_were_asked_for() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let settings = ["transaction_isolation", "transaction_read_only", "transaction_deferrable"];
    let read = |tx: &mut postgres::Transaction<'_>| -> Result<Vec<String>, Error> {
        let show = |name| -> Result<String, Error> {
            Ok(tx.query_one(&format!("select current_setting('{name}')"), &[])?.get(0))
        };
        settings.map(show).into_iter().collect()
    };
    let plain = pool.transaction(|tx| read(tx)).expect("settings");
    assert_eq!(plain, ["read committed", "off", "off"]);
    let level = IsolationLevel::Serializable;
    let options = pool.build_transaction().isolation_level(level).read_only(true).deferrable(true);
    let asked = options.run(|tx, _| read(tx)).expect("settings");
    assert_eq!(asked, ["serializable", "on", "on"]);
}

#[derive(Debug)]
enum App {
    Pool(Error),
    Empty,
}

impl std::fmt::Display for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for App {}

impl From<Error> for App {
    fn from(error: Error) -> App {
        App::Pool(error)
    }
}

#[test]
fn a_closures_own_error_is_the_source_where_the_rollback_was_not_confirmed() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let variant = Pg::new(database.url_via(proxy.port()));
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let outcome: Result<(), App> = pool.try_transaction(|_| {
        proxy.apply(&Fault::Stall);
        Err(App::Empty)
    });
    let Err(App::Pool(error)) = outcome else { panic!("{outcome:?}") };
    is_unknown(&error);
    let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<App>());
    assert!(matches!(source, Some(App::Empty)), "{source:?}");
    proxy.apply(&Fault::Fin);
    let outcome: Result<(), App> = pool.try_transaction(|_| Err(App::Empty));
    assert!(matches!(outcome, Err(App::Empty)), "{outcome:?}");
}

#[test]
fn a_write_that_leaves_a_transaction_open_is_not_reported_as_done() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    database.sql("create table t (n int); grant all on t to public");
    for url in [database.url(), database.unix_url()] {
        let pool = Pool::builder().max_size(1).build(Pg::new(url.clone()).driver());
        let pool = pool.expect("a pool");
        for round in 0..2 {
            let opened = pool.batch_execute("begin; insert into t values (1)");
            let error = opened.expect_err("it is rolled back");
            assert!(error.to_string().contains("inside a transaction"), "{url}: {error}");
            let fault = error.fault();
            assert_eq!(fault.class(), FaultClass::Usage, "{url}: {error}");
            assert_eq!(fault.retry_safety(), RetrySafety::RolledBack, "{url}: {error}");
            assert_eq!(rows(&pool), round, "{url}");
            pool.execute("insert into t values ($1)", &[&1]).expect("it commits by itself");
            assert_eq!(rows(&pool), round + 1, "{url}");
        }
        assert_eq!(pool.execute("delete from t", &[]).expect("it commits by itself"), 2);
        assert_eq!(pool.snapshot().closed(), 0, "{url}: {}", pool.snapshot());
    }
}

#[test]
fn work_that_returns_inside_a_transaction_is_not_reported_as_done() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let run = |before: &str, after: &str| {
        pool.run(RetryPolicy::none(), |client, _| {
            client.batch_execute(before)?;
            client.batch_execute("begin; insert into t values (1)")?;
            Ok(client.batch_execute(after)?)
        })
    };
    run("", "commit").expect("it is committed");
    run("", "rollback").expect("nothing is left open");
    let error = run("", "").expect_err("it is rolled back");
    assert!(error.to_string().contains("inside a transaction"), "{error}");
    assert_eq!(error.fault().retry_safety(), RetrySafety::RolledBack, "{error}");
    assert_eq!(rows(&pool), 1);
    let error = run("insert into t values (2)", "").expect_err("a part is rolled back");
    assert_eq!(error.fault().retry_safety(), RetrySafety::OutcomeUnknown, "{error}");
    assert_eq!(rows(&pool), 2);
    // The second attempt commits what the first one has left open.
    let twice = pool.run(patient_web(), |client, attempt| {
        client.batch_execute("begin; insert into t values (3)")?;
        if attempt == 2 {
            client.batch_execute("commit")?;
        }
        Ok(attempt)
    });
    assert_eq!(twice.expect("the second attempt"), 2);
    assert_eq!(rows(&pool), 3);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}
