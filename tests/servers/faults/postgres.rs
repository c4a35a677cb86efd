//! PostgreSQL's faults.

use super::{is_rolled_back, means, refused};
use crate::variant::{Pg, Variant, shared_pg};
use poolwarden::{
    CloseReason, Error, ErrorKind, FaultClass, Pool, Postgres, RetrySafety, Usability, fault_of,
};
use postgres::{Client, NoTls};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;
use support::postgres as pg;
use support::wait::eventually;

/// A short deadlock timeout.
static QUICK: LazyLock<pg::Server> = LazyLock::new(|| {
    pg::Server::with(|conf| {
        conf.set("deadlock_timeout", "50ms");
    })
});

fn client(url: &str) -> Client {
    Client::connect(url, NoTls).expect("a session")
}

/// Opens a session where another one was refused, whose predecessor may still be ending.
fn soon(url: &str) -> Client {
    let mut opened = None;
    let open = || {
        opened = Client::connect(url, NoTls).ok();
        opened.is_some()
    };
    assert!(eventually(Duration::from_secs(10), open), "no session");
    opened.expect("it is open")
}

fn refusal(url: &str) -> Error {
    refused(Postgres::new(url).expect("a driver"))
}

fn conflict(error: &postgres::Error, code: &str) {
    assert_eq!(error.code().map(|code| code.code()), Some(code), "{error}");
    is_rolled_back(fault_of(error), FaultClass::Conflict);
}

#[test]
fn a_serialization_failure_is_classified_as_rolled_back() {
    let Some((_, database)) = shared_pg() else { return };
    database.sql("create table t (n int); insert into t values (1); grant all on t to public");
    let (mut one, mut two) = (client(&database.url()), client(&database.url()));
    let mut transaction = one.build_transaction();
    transaction = transaction.isolation_level(postgres::IsolationLevel::RepeatableRead);
    let mut transaction = transaction.start().expect("a transaction");
    transaction.query("select n from t", &[]).expect("a snapshot");
    two.batch_execute("update t set n = 2").expect("a write");
    conflict(&transaction.batch_execute("update t set n = 3").expect_err("too late"), "40001");
    let refused = transaction.batch_execute("select 1").expect_err("it has failed");
    means(
        fault_of(&refused),
        FaultClass::TransactionAborted,
        Usability::Usable,
        RetrySafety::Permanent,
    );
}

#[test]
fn a_deadlock_is_classified_as_rolled_back() {
    support::require!(postgres);
    let database = QUICK.fresh_database();
    database.sql("create table t (n int); insert into t values (1), (2); grant all on t to public");
    let sessions = [(1, 2), (2, 1)].map(|(first, second)| {
        let mut session = client(&database.url());
        session.batch_execute("begin").expect("a transaction");
        let update = |n| format!("update t set n = n where n = {n}");
        session.batch_execute(&update(first)).expect("a lock");
        (session, update(second))
    });
    let workers = sessions.map(|(mut session, update)| {
        thread::spawn(move || {
            let outcome = session.batch_execute(&update);
            let _ = session.batch_execute("rollback");
            outcome.err()
        })
    });
    let errors = workers.into_iter().filter_map(|one| one.join().expect("no panic"));
    let errors: Vec<_> = errors.collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    conflict(&errors[0], "40P01");
}

#[test]
fn a_lock_timeout_and_a_cancelled_statement_leave_the_connection_usable() {
    let Some((variant, database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(2).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    let mut holder = client(&database.url());
    holder.batch_execute("begin; lock table t").expect("a lock");
    let busy = pool.batch_execute("begin; lock table t nowait").expect_err("it is locked");
    is_rolled_back(busy.fault(), FaultClass::LockTimeout);
    let late = "set lock_timeout = '20ms'; select n from t";
    let late = pool.batch_execute(late).expect_err("it is locked");
    is_rolled_back(late.fault(), FaultClass::LockTimeout);
    let slow = "set statement_timeout = '20ms'; select pg_sleep(5)";
    let slow = pool.batch_execute(slow).expect_err("it is cancelled");
    means(slow.fault(), FaultClass::Cancelled, Usability::Usable, RetrySafety::Permanent);
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_full_server_role_or_database_is_classified_as_saturated_with_all_four_messages() {
    support::require!(postgres);
    let server = pg::Server::with(|conf| {
        conf.set("max_connections", "5").set("superuser_reserved_connections", "2");
    });
    server.sql("postgres", "create role app login; create role few login connection limit 1");
    server.sql("postgres", "create database small connection limit 1");
    let mut held =
        vec![client(&server.url("few", "postgres")), client(&server.url("app", "small"))];
    let refused = |url: String, text: &str| {
        let error = refusal(&url);
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "it may pass: {error}");
        let said = (error.fault().class(), error.fault().retry_safety());
        assert_eq!(said, (FaultClass::Saturated, RetrySafety::NothingSent), "{error}");
        assert!(error.to_string().contains(text), "no {text:?} in: {error}");
        let raw = Client::connect(&url, NoTls).map(drop).expect_err("refused");
        means(fault_of(&raw), FaultClass::Saturated, Usability::Broken, RetrySafety::NothingSent);
    };
    refused(server.url("few", "postgres"), "for role");
    refused(server.url("app", "small"), "for database");
    held.push(soon(&server.url("app", "postgres")));
    refused(server.url("app", "postgres"), "remaining connection slots are reserved");
    held.extend((0..2).map(|_| soon(&server.url("postgres", "postgres"))));
    refused(server.url("postgres", "postgres"), "too many clients already");
}

#[test]
fn a_connect_to_a_stopping_server_is_classified_as_not_sent() {
    support::require!(postgres);
    let server = pg::Server::start();
    let url = server.url("postgres", "postgres");
    let held = client(&url);
    server.stop_smart();
    let raw = Client::connect(&url, NoTls).map(drop).expect_err("refused");
    assert_eq!(raw.code().map(|code| code.code()), Some("57P03"));
    means(fault_of(&raw), FaultClass::Starting, Usability::Broken, RetrySafety::NothingSent);
    let error = refusal(&url);
    assert_eq!(error.fault().class(), FaultClass::Starting, "{error}");
    drop(held);
    assert!(server.wait_stopped(Duration::from_secs(10)));
    let down = refusal(&url);
    means(down.fault(), FaultClass::Refused, Usability::Broken, RetrySafety::NothingSent);
}

#[test]
fn a_write_on_a_standby_is_classified_as_read_only() {
    support::require!(postgres);
    let primary = pg::Server::start();
    primary.sql("postgres", "create table t (n int)");
    let standby = primary.standby();
    let driver = Postgres::new(&standby.url("postgres", "postgres")).expect("a driver");
    let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
    let error = pool.execute("insert into t values (1)", &[]).expect_err("a standby");
    assert!(error.to_string().contains("25006"), "{error}");
    means(error.fault(), FaultClass::ReadOnly, Usability::Suspect, RetrySafety::RolledBack);
}

#[test]
fn errors_of_the_request_itself_are_classified_as_permanent() {
    support::require!(postgres);
    let unknown = refusal(&pg::shared().url("postgres", "no_such_database"));
    assert_eq!(unknown.fault().class(), FaultClass::UnknownDatabase);
    assert_eq!(unknown.fault().retry_safety(), RetrySafety::Permanent);
    let nobody = refusal(&pg::shared().url("no_such_role", "postgres"));
    assert_eq!(nobody.fault().class(), FaultClass::Authentication);
    let pool = Postgres::new(&pg::shared().url("postgres", "postgres")).expect("a driver");
    let pool = Pool::builder().max_size(1).build(pool).expect("a pool");
    let wrong = pool.query("select * from no_such_table", &[]).expect_err("no table");
    means(wrong.fault(), FaultClass::Statement, Usability::Usable, RetrySafety::Permanent);
    let misused = pool.query("select $1::int", &[&"text"]).expect_err("not a number");
    means(misused.fault(), FaultClass::Usage, Usability::Usable, RetrySafety::Permanent);
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_plan_whose_columns_changed_is_classified_as_stale() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    guard.batch_execute("create table t (n int)").expect("a table");
    let statement = guard.prepare("select * from t").expect("a statement");
    guard.query(&statement, &[]).expect("rows");
    guard.batch_execute("alter table t add m int").expect("a column");
    let changed = guard.query(&statement, &[]).expect_err("other columns");
    means(fault_of(&changed), FaultClass::Stale, Usability::Suspect, RetrySafety::RolledBack);
    guard.batch_execute("deallocate all").expect("gone");
    let gone = guard.query(&statement, &[]).expect_err("it is gone");
    means(fault_of(&gone), FaultClass::Stale, Usability::Suspect, RetrySafety::RolledBack);
}

/// Ends the session that runs this text, and waits for its end: a session that ended
/// just now is still listed for a moment.
fn kill(database: &pg::Database<'_>, text: &str, asked: &thread::ScopedJoinHandle<'_, impl Sized>) {
    let running = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and state = 'active' and query = '{text}'"
    );
    let ended = || {
        database.sql(&running);
        asked.is_finished()
    };
    assert!(eventually(Duration::from_secs(10), ended), "nothing ended");
}

#[test]
fn the_error_of_a_query_has_the_servers_code_in_50_of_50_kills() {
    let Some((variant, database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    for round in 1..=50 {
        let error = thread::scope(|scope| {
            let asked = scope.spawn(|| pool.query("select pg_sleep(30)", &[]));
            kill(&database, "select pg_sleep(30)", &asked);
            asked.join().expect("no panic").expect_err("it was killed")
        });
        assert!(
            support::error_text::chain(&error).contains("57P01"),
            "round {round}: {}",
            support::error_text::chain(&error)
        );
        let (fault, unsent) = (error.fault(), RetrySafety::NothingSent);
        // The kill may come while the statement is being prepared: then it was not sent yet.
        let expected =
            if fault.retry_safety() == unsent { unsent } else { RetrySafety::OutcomeUnknown };
        means(fault, FaultClass::Starting, Usability::Broken, expected);
    }
    assert_eq!(pool.snapshot().closed_by(CloseReason::ServerShutdown), 50);
}

#[test]
fn a_kill_during_commit_is_an_unknown_outcome() {
    let Some((variant, database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    // The check of a deferred constraint runs inside of COMMIT.
    pool.batch_execute(
        "create table t (n int);
         create function slow() returns trigger language plpgsql
             as 'begin perform pg_sleep(30); return null; end';
         create constraint trigger slow after insert on t deferrable initially deferred
             for each row execute function slow()",
    )
    .expect("a slow commit");
    let error = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            pool.transaction(|tx| {
                tx.execute("insert into t values (1)", &[])?;
                Ok(())
            })
        });
        kill(&database, "savepoint poolwarden; commit", &asked);
        asked.join().expect("no panic").expect_err("it was killed")
    });
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    means(error.fault(), FaultClass::Starting, Usability::Broken, RetrySafety::OutcomeUnknown);
}

#[test]
fn a_session_that_ended_by_idle_in_transaction_timeout_is_classified_as_lost() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    guard.batch_execute("set idle_in_transaction_session_timeout = '500ms'; begin").expect("begun");
    thread::sleep(Duration::from_millis(1_500));
    let error = guard.batch_execute("select 1").expect_err("it was ended");
    means(
        fault_of(&error),
        FaultClass::Disconnected,
        Usability::Broken,
        RetrySafety::OutcomeUnknown,
    );
    let _ = Pg::new(String::new());
}
