//! No borrower reads the answer to another's request: on MySQL nothing in a reply
//! tells whose it is.

use crate::flavour::{Flavour, My, shared_my};
use mysql::prelude::Queryable;
use poolwarden::{CloseReason, ErrorKind, MySql, Pool, Repeat};
use std::time::Duration;
use support::proxy::{Fault, Proxy};
use support::script::mysql::{FakeMysql, STRAY_OK};

fn one(url: &str) -> Pool<MySql> {
    Pool::builder()
        .max_size(1)
        .build(My::new(url.to_owned()).driver())
        .expect("the server is there")
}

/// With a default database, and without one.
fn urls(server: &FakeMysql) -> [String; 2] {
    let url = server.url();
    [url.clone(), url.replace("/test?", "/?")]
}

fn answers_rightly(pool: &Pool<MySql>) {
    for n in [8, 9] {
        let answer = pool.query_first::<u64>(&format!("select {n}")).expect("an answer");
        assert_eq!(answer, Some(n), "another's answer");
    }
}

fn closed_dirty(pool: &Pool<MySql>) -> u64 {
    pool.snapshot().closed_by(CloseReason::Dirty)
}

#[test]
fn a_connection_that_answers_one_request_late_is_not_kept_after_a_raw_borrow() {
    let server = FakeMysql::start();
    for url in urls(&server) {
        let pool = one(&url);
        let mut raw = pool.get().expect("a connection");
        raw.query_drop("do 0").expect("it runs");
        server.fall_behind();
        drop(raw);
        answers_rightly(&pool);
        assert_eq!(closed_dirty(&pool), 1, "{}", pool.snapshot());
    }
}

#[test]
fn a_transaction_that_swallows_the_signs_of_another_step_harms_nobody_after_it() {
    let server = FakeMysql::start();
    for url in urls(&server) {
        let pool = one(&url);
        let _ = pool.transaction(|tx| {
            server.fall_behind();
            tx.query_drop("create table t (n int)")?;
            Ok(())
        });
        answers_rightly(&pool);
        assert_eq!(closed_dirty(&pool), 1, "{}", pool.snapshot());
    }
}

#[test]
fn a_commit_that_reads_the_answer_to_something_else_is_not_taken_for_done() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    let outcome = pool.transaction(|tx| {
        server.fall_behind();
        Ok(tx.query_drop("insert into t values (1)")?)
    });
    let error = outcome.expect_err("the answer to COMMIT was never read");
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert!(format!("{error:?}").contains("out of step"), "{error:?}");
    answers_rightly(&pool);
    assert_eq!(pool.snapshot().closed(), 1, "{}", pool.snapshot());
}

#[test]
fn a_transaction_does_not_begin_on_a_connection_that_is_out_of_step() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    server.fall_behind();
    let outcome =
        pool.transaction(|_| -> Result<(), poolwarden::Error> { panic!("it is not run") });
    let error = outcome.expect_err("it could not begin");
    assert_eq!(error.fault().repeat(), Repeat::NothingSent, "{error}");
    answers_rightly(&pool);
}

#[test]
fn a_connection_in_step_is_kept_and_its_proof_costs_no_round_trip_more() {
    let server = FakeMysql::start();
    let pool = one(&server.url());
    let before = server.statements().len();
    for _ in 0..3 {
        pool.get().expect("a connection").query_drop("do 0").expect("it runs");
    }
    let told = server.statements()[before..].to_vec();
    let proofs = told.iter().filter(|text| text.starts_with("use `test`; select ")).count();
    assert_eq!((told.len(), proofs), (6, 3), "{told:#?}");
    assert_eq!((pool.snapshot().closed(), pool.snapshot().resets), (0, 3));
}

#[test]
fn where_several_statements_are_refused_the_proof_is_asked_for_alone() {
    let server = FakeMysql::start();
    server.take_one_statement_at_a_time();
    let pool = one(&server.url());
    for _ in 0..3 {
        pool.get().expect("a connection").query_drop("do 0").expect("it runs");
    }
    let refused = |text: &&String| text.contains(';');
    assert_eq!(server.statements().iter().filter(refused).count(), 1, "it is remembered");
    assert_eq!((pool.snapshot().closed(), pool.snapshot().resets), (0, 3));
    let mut raw = pool.get().expect("a connection");
    raw.query_drop("do 0").expect("it runs");
    server.fall_behind();
    drop(raw);
    answers_rightly(&pool);
    assert_eq!(closed_dirty(&pool), 1, "{}", pool.snapshot());
}

#[test]
fn a_database_of_any_name_is_chosen_again() {
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
fn what_the_server_said_as_it_ended_a_borrowed_connection_is_heard_at_its_check_in() {
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

/// An answer too many comes while the connection is borrowed, and the borrower goes
/// on: each of its answers is the one before. All later answers come late.
#[test]
fn an_answer_too_many_from_a_proxy_reaches_no_other_borrower() {
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
