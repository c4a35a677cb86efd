//! No borrower reads the reply to another's request: on MySQL a reply does not
//! identify its request.

use crate::variant::{My, Variant, shared_my};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, ErrorKind, MySql, Pool, RetrySafety};
use std::time::Duration;
use support::proxy::{Fault, Proxy};
use support::script::mysql::{FakeMysql, STRAY_OK};

fn one(url: &str) -> Pool<MySql> {
    Pool::builder().max_size(1).build(My::new(url.to_owned()).driver()).expect("the server accepts")
}

/// With a default database, and without one.
fn urls(server: &FakeMysql) -> [String; 2] {
    let url = server.url();
    [url.clone(), url.replace("/test?", "/?")]
}

fn answers_rightly(pool: &Pool<MySql>) {
    for n in [8, 9] {
        let answer = pool.query_first::<u64>(&format!("select {n}")).expect("an answer");
        assert_eq!(answer, Some(n), "the reply to another request");
    }
}

fn closed_dirty(pool: &Pool<MySql>) -> u64 {
    pool.snapshot().closed_by(CloseReason::Dirty)
}

#[test]
fn a_connection_whose_replies_come_one_request_late_is_not_kept_after_raw_use() {
    let server = FakeMysql::start();
    for url in urls(&server) {
        let pool = one(&url);
        let mut raw = pool.get().expect("a connection");
        raw.query_drop("do 0").expect("it runs");
        server.answer_one_request_late();
        drop(raw);
        answers_rightly(&pool);
        assert_eq!(closed_dirty(&pool), 1, "{}", pool.snapshot());
    }
}

#[test]
fn a_transaction_that_hides_a_lost_sync_affects_no_later_borrower() {
    let server = FakeMysql::start();
    for url in urls(&server) {
        let pool = one(&url);
        let _ = pool.transaction(|tx| {
            server.answer_one_request_late();
            tx.query_drop("create table t (n int)")?;
            Ok(())
        });
        answers_rightly(&pool);
        assert_eq!(pool.snapshot().closed(), 1, "{}", pool.snapshot());
    }
}

#[test]
fn a_commit_that_reads_the_reply_to_another_request_is_not_reported_as_done() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    let outcome = pool.transaction(|tx| {
        server.answer_one_request_late();
        Ok(tx.query_drop("insert into t values (1)")?)
    });
    let error = outcome.expect_err("the answer to COMMIT was never read");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(format!("{error:?}").contains("protocol out of sync"), "{error:?}");
    answers_rightly(&pool);
    assert_eq!(pool.snapshot().closed(), 1, "{}", pool.snapshot());
}

#[test]
fn a_transaction_does_not_begin_on_a_connection_that_is_out_of_sync() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    server.answer_one_request_late();
    let outcome =
        pool.transaction(|_| -> Result<(), poolwarden::Error> { panic!("it is not run") });
    let error = outcome.expect_err("it could not begin");
    assert_eq!(error.fault().retry_safety(), RetrySafety::NothingSent, "{error}");
    answers_rightly(&pool);
}

#[test]
fn a_connection_in_sync_is_kept_and_its_check_needs_no_extra_round_trip() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    let before = server.statements().len();
    for _ in 0..3 {
        pool.get().expect("a connection").query_drop("do 0").expect("it runs");
    }
    let reported = server.statements()[before..].to_vec();
    let proofs = reported.iter().filter(|text| text.contains("use `test`; select ")).count();
    assert_eq!((reported.len(), proofs), (6, 3), "{reported:#?}");
    assert_eq!((pool.snapshot().closed(), pool.snapshot().resets), (0, 3));
}

#[test]
fn where_multi_statements_are_refused_the_sync_check_is_a_statement_of_its_own() {
    let server = FakeMysql::start();
    server.refuse_multi_statements();
    let pool = one(&server.url());
    for _ in 0..3 {
        pool.get().expect("a connection").query_drop("do 0").expect("it runs");
    }
    let refused = |text: &&String| text.contains(';');
    assert_eq!(server.statements().iter().filter(refused).count(), 1, "it is remembered");
    assert_eq!((pool.snapshot().closed(), pool.snapshot().resets), (0, 3));
    let mut raw = pool.get().expect("a connection");
    raw.query_drop("do 0").expect("it runs");
    server.answer_one_request_late();
    drop(raw);
    answers_rightly(&pool);
    assert_eq!(closed_dirty(&pool), 1, "{}", pool.snapshot());
}

#[test]
fn a_default_database_of_any_name_is_restored() {
    let Some((_, database)) = shared_my() else { return };
    let server = support::mariadb::shared();
    for name in ["back`tick", "se;mi", "größe"] {
        server.sql(&format!("create database `{}`", name.replace('`', "``")));
        let escaped = name.replace('`', "%60").replace(';', "%3B").replace('ö', "%C3%B6");
        let escaped = escaped.replace('ß', "%C3%9F");
        let pool = one(&server.url(&escaped));
        for _ in 0..2 {
            let mut raw = pool.get().expect("a connection");
            raw.query_drop(format!("use `{}`", database.name())).expect("it runs");
            drop(raw);
            let chosen: Option<String> = pool.query_first("select database()").expect("a row");
            assert_eq!(chosen.as_deref(), Some(name));
        }
        assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
        drop(pool);
        server.sql(&format!("drop database `{}`", name.replace('`', "``")));
    }
}

#[test]
fn the_servers_final_message_on_a_borrowed_connection_is_read_at_its_check_in() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    let mut raw = pool.get().expect("a connection");
    raw.query_drop("do 0").expect("it runs");
    server.time_out_clients();
    std::thread::sleep(Duration::from_millis(50));
    drop(raw);
    let books = pool.snapshot();
    assert_eq!(books.closed_by(CloseReason::ServerIdleTimeout), 1, "{books}");
}

/// An extra reply comes while the connection is borrowed, and the borrower continues:
/// each of its replies is the one before. All later replies come late.
#[test]
fn an_extra_reply_from_a_proxy_reaches_no_other_borrower() {
    let Some((_, database)) = shared_my() else { return };
    for delay in [0, 1, 30] {
        for statement in ["do 0", "select 7"] {
            let proxy = Proxy::to_port(support::mariadb::shared().port());
            let port = format!(":{}/", support::mariadb::shared().port());
            let pool = one(&database.url().replace(&port, &format!(":{}/", proxy.port())));
            let mut raw = pool.get().expect("a connection");
            proxy.apply(&Fault::Inject(STRAY_OK.to_vec()));
            proxy.apply(&Fault::Delay(Duration::from_millis(delay)));
            let _ = raw.query_first::<u64, _>(statement);
            drop(raw);
            answers_rightly(&pool);
            assert_eq!(closed_dirty(&pool), 1, "{statement}: {}", pool.snapshot());
        }
    }
}
