//! MariaDB's faults.

use super::{is_rolled_back, means, refused};
use crate::variant::{Variant, shared_my};
use mysql::prelude::Queryable;
use mysql::{Conn, Opts};
use poolwarden::fault_of;
use poolwarden::{CloseReason, Error, ErrorKind, FaultClass, MySql, Pool, RetrySafety, Usability};
use std::thread;
use std::time::Duration;
use support::mariadb::{self, Product};
use support::wait::eventually;

fn session(url: &str) -> Result<Conn, mysql::Error> {
    Conn::new(Opts::from_url(url).expect("a URL"))
}

fn open(url: &str) -> Conn {
    session(url).expect("a session")
}

fn refusal(url: &str) -> Error {
    refused(MySql::new(url).expect("a driver"))
}

fn number(error: &mysql::Error) -> u16 {
    match error {
        mysql::Error::MySqlError(error) => error.code,
        other => panic!("not a server error: {other}"),
    }
}

#[test]
fn a_deadlock_is_classified_as_rolled_back() {
    let Some((_, database)) = shared_my() else { return };
    let mut first = open(&database.url());
    first.query_drop("create table t (n int primary key, m int)").expect("a table");
    first.query_drop("insert into t values (1, 0), (2, 0)").expect("rows");
    let sessions = [(1, 2), (2, 1)].map(|(first, second)| {
        let mut session = open(&database.url());
        session.query_drop("start transaction").expect("a transaction");
        let update = |n| format!("update t set m = m + 1 where n = {n}");
        session.query_drop(update(first)).expect("a lock");
        (session, update(second))
    });
    let workers = sessions.map(|(mut session, update)| {
        thread::spawn(move || {
            let outcome = session.query_drop(update);
            let _ = session.query_drop("rollback");
            outcome.err()
        })
    });
    let errors: Vec<_> =
        workers.into_iter().filter_map(|one| one.join().expect("no panic")).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(number(&errors[0]), 1213);
    is_rolled_back(fault_of(&errors[0]), FaultClass::Conflict);
}

#[test]
fn a_lock_timeout_and_a_cancelled_statement_leave_the_connection_usable() {
    let Some((variant, database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.query_drop("create table t (n int primary key)").expect("a table");
    pool.query_drop("insert into t values (1)").expect("a row");
    let mut holder = open(&database.url());
    holder.query_drop("start transaction").expect("a transaction");
    holder.query_drop("update t set n = 2").expect("a lock");
    let late = pool.query_drop("set innodb_lock_wait_timeout = 1; update t set n = 3");
    is_rolled_back(late.expect_err("it is locked").fault(), FaultClass::LockTimeout);
    let slow = match mariadb::product() {
        Product::MariaDb => "set statement max_statement_time = 0.05 for select sleep(5) from t",
        Product::MySql => "select /*+ max_execution_time(50) */ sleep(5) from t",
    };
    let slow = pool.query_drop(slow).expect_err("it is cancelled");
    means(slow.fault(), FaultClass::Cancelled, Usability::Usable, RetrySafety::Permanent);
    let cancelled = thread::scope(|scope| {
        let slow = "select count(*) from seq_1_to_1000000000 where seq % 7 = 3";
        let asked = scope.spawn(|| pool.query_drop(slow));
        while !asked.is_finished() {
            if let Some(id) = running(&database) {
                mariadb::shared().sql(&format!("kill query {id}"));
            }
        }
        asked.join().expect("no panic").expect_err("it was cancelled")
    });
    means(cancelled.fault(), FaultClass::Cancelled, Usability::Usable, RetrySafety::Permanent);
    assert_eq!(pool.snapshot().closed(), 0);
}

/// Returns the session that runs a statement.
fn running(database: &mariadb::Database<'_>) -> Option<u64> {
    let mine = |one: &mariadb::Process| one.user == database.user() && one.command == "Query";
    mariadb::shared().processlist().into_iter().find(mine).map(|one| one.id)
}

#[test]
fn a_full_server_or_user_is_classified_as_saturated_and_an_hourly_quota_is_not() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let saturated = |held: usize, expected: u16| {
        let held: Vec<_> = (0..held).map(|_| open(&database.url())).collect();
        let raw = session(&database.url()).map(drop).expect_err("refused");
        assert_eq!(number(&raw), expected, "{raw}");
        means(fault_of(&raw), FaultClass::Saturated, Usability::Broken, RetrySafety::NothingSent);
        let error = refusal(&database.url());
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "it may pass: {error}");
        assert_eq!(error.fault().class(), FaultClass::Saturated, "{error}");
        drop(held);
        let gone = || server.processlist().is_empty();
        assert!(eventually(Duration::from_secs(10), gone));
    };
    server.set_global("max_connections", 10);
    saturated(10, 1040);
    server.set_global("max_connections", 100);
    let user = database.user();
    server.sql(&format!("alter user {user} with max_user_connections 2"));
    saturated(2, 1226);
    server.sql(&format!("alter user {user} with max_user_connections 0"));
    // The limit can only be changed on a server that was started with one.
    let limited = mariadb::Server::with(|conf| {
        conf.set("max-user-connections", "2");
    });
    let own = limited.fresh_database();
    let held = [open(&own.url()), open(&own.url())];
    let raw = session(&own.url()).map(drop).expect_err("refused");
    assert_eq!(number(&raw), 1203, "{raw}");
    means(fault_of(&raw), FaultClass::Saturated, Usability::Broken, RetrySafety::NothingSent);
    drop(held);
    server.sql(&format!("alter user {user} with max_connections_per_hour 1"));
    server.sql("flush user_resources");
    drop(open(&database.url()));
    let raw = session(&database.url()).map(drop).expect_err("refused");
    assert_eq!(
        (number(&raw), fault_of(&raw).retry_safety()),
        (1226, RetrySafety::Permanent),
        "{raw}"
    );
}

#[test]
fn a_read_only_server_is_classified_as_read_only_and_a_callers_read_only_transaction_is_not() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let driver = MySql::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
    pool.query_drop("create table t (n int)").expect("a table");
    let own = pool.query_drop("start transaction read only; insert into t values (1)");
    let own = own.expect_err("a read-only transaction");
    means(own.fault(), FaultClass::ReadOnly, Usability::Usable, RetrySafety::Permanent);
    server.set_global("read_only", 1);
    let error = pool.query_drop("insert into t values (1)").expect_err("read only");
    assert!(error.to_string().contains("1290"), "{error}");
    means(error.fault(), FaultClass::ReadOnly, Usability::Suspect, RetrySafety::RolledBack);
}

#[test]
fn errors_of_the_request_itself_are_classified_as_permanent() {
    let Some((variant, database)) = shared_my() else { return };
    let port = mariadb::shared().port();
    let wrong = refusal(&format!("mysql://{}:wrong@127.0.0.1:{port}/", database.user()));
    assert_eq!(wrong.fault().class(), FaultClass::Authentication);
    assert_eq!(wrong.fault().retry_safety(), RetrySafety::Permanent);
    let unknown = refusal(&mariadb::shared().url("no_such_database"));
    assert_eq!(unknown.fault().class(), FaultClass::UnknownDatabase, "{unknown}");
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    let wrong = pool.query_drop("select * from no_such_table").expect_err("no table");
    means(wrong.fault(), FaultClass::Statement, Usability::Usable, RetrySafety::Permanent);
    let misused = pool.exec_drop("select ?", (1, 2)).expect_err("one too many");
    means(misused.fault(), FaultClass::Usage, Usability::Usable, RetrySafety::Permanent);
    assert_eq!(pool.snapshot().closed(), 0);
    let mut guard = pool.get().expect("a connection");
    let statement = guard.prep("select 1").expect("a statement");
    guard.reset().expect("a reset");
    let gone = guard.exec_drop(&statement, ()).expect_err("it is gone");
    means(fault_of(&gone), FaultClass::Stale, Usability::Suspect, RetrySafety::RolledBack);
}

#[test]
fn a_kill_of_a_running_query_is_a_lost_connection() {
    let Some((variant, database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    for _ in 0..10 {
        let error = thread::scope(|scope| {
            let asked = scope.spawn(|| pool.query_drop("select sleep(30)"));
            while !asked.is_finished() {
                if let Some(id) = running(&database) {
                    mariadb::shared().kill(id);
                }
            }
            asked.join().expect("no panic").expect_err("it was killed")
        });
        let fault = error.fault();
        means(fault, FaultClass::Disconnected, Usability::Broken, RetrySafety::OutcomeUnknown);
    }
    let planned = |reason: &CloseReason| reason.is_planned();
    let planned = pool.snapshot().close_reasons().filter(|(reason, _)| planned(reason)).count();
    assert_eq!((pool.snapshot().closed(), planned), (10, 0));
}

#[test]
fn a_kill_during_commit_is_an_unknown_outcome() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let driver = MySql::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
    pool.query_drop("create table t (n int)").expect("a table");
    let mut blocker = open(&server.url(database.name()));
    let error = thread::scope(|scope| {
        let asked = scope.spawn(|| {
            pool.transaction(|tx| {
                tx.query_drop("insert into t values (1)")?;
                // A global read lock blocks every commit.
                blocker.query_drop("flush tables with read lock")?;
                Ok(())
            })
        });
        let committing = || {
            let list = server.processlist();
            list.into_iter().find(|one| one.user == database.user() && one.command == "Query")
        };
        assert!(
            eventually(Duration::from_secs(10), || committing().is_some()),
            "{}",
            pool.snapshot()
        );
        server.kill(committing().expect("it still commits").id);
        asked.join().expect("no panic").expect_err("it was killed")
    });
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
    assert_eq!(error.fault().retry_safety(), RetrySafety::OutcomeUnknown);
}
