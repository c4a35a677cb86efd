//! Writes to tables without transactions (MyISAM) stand, whatever becomes of the transaction:
//! work that made one is never reported as failed, and never repeated.

use crate::patience::patient_web;
use crate::variant::{My, Variant, shared_my};
use mysql::Conn;
use mysql::prelude::Queryable;
use poolwarden::query::MySqlTransaction;
use poolwarden::{Error, ErrorKind, MySql, Pool, RetrySafety};
use std::error::Error as _;
use std::thread;
use std::time::Duration;
use support::mariadb;
use support::mariadb::Database;
use support::wait::eventually;

const TABLES: &[&str] = &[
    "create table plain (n int primary key) engine = myisam",
    "create table safe (n int primary key, m int) engine = innodb",
    "insert into safe values (1, 0), (2, 0)",
];

fn make_tables(sql: impl Fn(&str)) {
    TABLES.iter().for_each(|table| sql(table));
}

fn pool(variant: &My) -> Pool<MySql> {
    Pool::builder().max_size(2).build(variant.driver()).expect("a pool")
}

fn plain_rows(pool: &Pool<MySql>) -> Vec<u32> {
    pool.query("select n from plain order by n").expect("rows")
}

fn says_what_stands(error: &Error) {
    let reported = (error.kind(), error.fault().retry_safety());
    assert_eq!(reported, (ErrorKind::OutcomeUnknown, RetrySafety::OutcomeUnknown), "{error}");
    assert!(error.to_string().contains("tables without transactions stand"), "{error}");
}

#[test]
fn a_write_to_a_table_without_transactions_is_not_reported_as_rolled_back() {
    let Some((variant, database)) = shared_my() else { return };
    make_tables(|sql| drop(database.sql(sql)));
    let off = |session: &mut Conn| Ok(session.query_drop("set autocommit = 0")?);
    let pool = Pool::builder().max_size(1).init(off).build(variant.driver()).expect("a pool");
    for n in 1..=2 {
        let text = pool.query_drop(&format!("insert into plain values ({n})"));
        says_what_stands(&text.expect_err("autocommit is off"));
        let prepared = pool.exec_drop("insert into plain values (?)", (n + 10,));
        says_what_stands(&prepared.expect_err("autocommit is off"));
    }
    assert_eq!(plain_rows(&pool), [1, 2, 11, 12]);
    let undone = pool.query_drop("update safe set m = 1").expect_err("autocommit is off");
    assert_eq!(undone.fault().retry_safety(), RetrySafety::RolledBack, "{undone}");
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_statement_that_fails_after_its_first_rows_may_have_taken_effect() {
    support::require!(mariadb);
    // Without a binary log the servers do not report it.
    let server = mariadb::Server::with(|conf| {
        conf.set("log-bin", "binlog");
    });
    let database = server.fresh_database();
    make_tables(|sql| drop(database.sql(sql)));
    let pool = pool(&My::new(database.url()));
    let unknown = pool.query_drop("insert into plain values (1), (2), (1)");
    let unknown = unknown.expect_err("a duplicate");
    assert_eq!(unknown.kind(), ErrorKind::OutcomeUnknown, "{unknown}");
    let prepared = pool.exec_drop("insert into plain values (?), (?)", (3, 1));
    let unknown = prepared.expect_err("a duplicate");
    assert_eq!(unknown.kind(), ErrorKind::OutcomeUnknown, "{unknown}");
    assert_eq!(plain_rows(&pool), [1, 2, 3]);
    let failed = pool.query_drop("insert into safe values (3, 0), (1, 0)").expect_err("there");
    assert_eq!(failed.fault().retry_safety(), RetrySafety::Permanent, "{failed}");
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn with_autocommit_off_every_server_reports_that_such_a_statement_took_effect() {
    let Some((variant, database)) = shared_my() else { return };
    make_tables(|sql| drop(database.sql(sql)));
    let off = |session: &mut Conn| Ok(session.query_drop("set autocommit = 0")?);
    let pool = Pool::builder().max_size(1).init(off).build(variant.driver()).expect("a pool");
    let unknown = pool.query_drop("insert into plain values (1), (2), (1)");
    let unknown = unknown.expect_err("a duplicate");
    assert_eq!(unknown.kind(), ErrorKind::OutcomeUnknown, "{unknown}");
    assert_eq!(plain_rows(&pool), [1, 2]);
    let failed = pool.query_drop("insert into safe values (3, 0), (1, 0)").expect_err("there");
    assert_eq!(failed.fault().retry_safety(), RetrySafety::Permanent, "{failed}");
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

type Failure = fn(&mut MySqlTransaction<'_>) -> Result<(), Error>;

#[test]
fn a_closure_that_fails_after_such_a_write_gets_an_error_that_says_what_stands() {
    let Some((variant, database)) = shared_my() else { return };
    make_tables(|sql| drop(database.sql(sql)));
    let pool = pool(&variant);
    let fails: [(&str, Failure); 3] = [
        ("its own error", |_| Err(Error::caller("changed my mind"))),
        ("an error of the server", |tx| Ok(tx.query_drop("insert into safe values (1, 1)")?)),
        ("a rollback of its own", |tx| {
            tx.query_drop("rollback")?;
            Err(Error::caller("changed my mind"))
        }),
    ];
    for (n, (what, fail)) in (1..).zip(fails) {
        let outcome = pool.transaction(|tx| {
            tx.query_drop(format!("insert into plain values ({n})"))?;
            tx.query_drop("update safe set m = 1 where n = 1")?;
            fail(tx)
        });
        let error = outcome.expect_err(what);
        says_what_stands(&error);
        assert!(error.source().is_some(), "{what}: {error:?}");
        assert_eq!(plain_rows(&pool).last(), Some(&n), "{what}");
    }
    let undone = pool.transaction(|tx| {
        tx.query_drop("update safe set m = 1 where n = 1")?;
        Err::<(), _>(Error::caller("changed my mind"))
    });
    assert_eq!(undone.expect_err("it failed").kind(), ErrorKind::Caller);
    let changed: Option<u32> = pool.query_first("select max(m) from safe").expect("rows");
    assert_eq!((changed, pool.snapshot().closed()), (Some(0), 0), "{}", pool.snapshot());
}

/// Makes a transaction the victim of a deadlock. The server prefers one without such writes,
/// so both have made one; then it takes the one that has changed fewer rows.
fn deadlock(url: &str, tx: &mut MySqlTransaction<'_>) -> Result<(), Error> {
    let mut other = Conn::new(mysql::Opts::from_url(url).expect("a URL"))?;
    tx.query_drop("update safe set m = m + 1 where n = 1")?;
    other.query_drop("start transaction")?;
    other.query_drop("insert into plain values (100)")?;
    for n in 100..150 {
        other.query_drop(format!("insert into safe values ({n}, 0)"))?;
    }
    other.query_drop("update safe set m = m + 1 where n = 2")?;
    let waits = thread::spawn(move || {
        let _ = other.query_drop("update safe set m = m + 1 where n = 1");
        let _ = other.query_drop("rollback");
    });
    let outcome = tx.query_drop("update safe set m = m + 1 where n = 2");
    waits.join().expect("no panic");
    Ok(outcome?)
}

#[test]
fn a_deadlock_after_such_a_write_is_not_retried() {
    let Some((variant, database)) = shared_my() else { return };
    make_tables(|sql| drop(database.sql(sql)));
    let (pool, url) = (pool(&variant), database.url());
    let outcome = pool.transaction_with(patient_web(), |tx, attempt| {
        tx.query_drop(format!("insert into plain values ({attempt})"))?;
        deadlock(&url, tx)
    });
    let error = outcome.expect_err("a deadlock");
    says_what_stands(&error);
    assert_eq!(error.attempts(), 1, "{error}");
    assert_eq!(plain_rows(&pool), [1, 100]);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_commit_that_is_refused_after_such_a_write_says_what_stands() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    make_tables(|sql| drop(database.sql(sql)));
    let pool = pool(&My::new(database.url()));
    let commit = |write: Option<&str>| {
        pool.transaction(|tx| {
            write.map_or(Ok(()), |write| tx.query_drop(write))?;
            tx.query_drop("update safe set m = 1 where n = 1")?;
            server.set_global("read_only", 1);
            Ok(())
        })
    };
    let error = commit(Some("insert into plain values (1)")).expect_err("read-only");
    says_what_stands(&error);
    let error = commit(None).expect_err("read-only");
    assert_eq!(error.fault().retry_safety(), RetrySafety::RolledBack, "{error}");
    server.set_global("read_only", 0);
    assert_eq!(plain_rows(&pool), [1]);
    let changed: Option<u32> = pool.query_first("select max(m) from safe").expect("rows");
    assert_eq!(changed, Some(0));
}

/// Ends the session of a transaction.
fn kill(database: &Database, tx: &MySqlTransaction<'_>) {
    database.sql(&format!("kill {}", tx.connection_id()));
}

/// What writes to a table without transactions.
const WRITES: &[&str] = &[
    "insert into plain values (N)",
    "insert into crash_safe values (N)",
    "insert into in_memory values (N)",
    "insert into audited values (N)",
    "call add_plain(N)",
    "update plain set n = n + 1 where n = N",
];

fn make_more(pool: &Pool<MySql>) {
    for sql in [
        "create table crash_safe (n int primary key) engine = aria",
        "create table in_memory (n int primary key) engine = memory",
        "create table audited (n int primary key) engine = innodb",
        "create trigger audit after insert on audited for each row \
         insert into plain values (new.n)",
        "create procedure add_plain(n int) begin insert into plain values (n); end",
        "create function write_plain(n int) returns int modifies sql data \
         begin insert into plain values (n); return n; end",
    ] {
        pool.query_drop(sql).expect(sql);
    }
}

fn is_unknown(error: &Error, what: &str) {
    let reported = (error.kind(), error.fault().retry_safety());
    assert_eq!(
        reported,
        (ErrorKind::OutcomeUnknown, RetrySafety::OutcomeUnknown),
        "{what}: {error}"
    );
    assert_eq!(error.attempts(), 1, "{what}: {error}");
}

type Run = fn(&mut MySqlTransaction<'_>, String) -> mysql::Result<()>;

/// The ways to run a statement whose reply reports what it has written to.
const RUNS: &[(&str, Run)] = &[
    ("a text", |tx, sql| tx.query_drop(sql)),
    ("a prepared statement", |tx, sql| tx.exec_drop(sql, ())),
    ("a text, read later", |tx, sql| tx.query_iter(sql).map(drop)),
    ("a prepared statement, read later", |tx, sql| tx.exec_iter(sql, ()).map(drop)),
];

#[test]
fn a_connection_that_is_lost_before_commit_and_after_such_a_write_is_an_unknown_outcome() {
    support::require!(mariadb);
    let (variant, database) = shared_my().expect("the server accepts");
    make_tables(|sql| drop(database.sql(sql)));
    make_more(&pool(&variant));
    let mut n = 0;
    for (write, (how, run)) in
        WRITES.iter().flat_map(|write| RUNS.iter().map(move |run| (write, run)))
    {
        // A pool that has seen no such write before.
        let pool = pool(&variant);
        for after in ["the next statement", "the closure's own error"] {
            n += 2;
            let outcome = pool.transaction_with(patient_web(), |tx, _| {
                tx.query_drop("update safe set m = 1 where n = 1")?;
                run(tx, write.replace('N', &n.to_string()))?;
                kill(&database, tx);
                match after {
                    "the next statement" => Ok(tx.query_drop("update safe set m = 2")?),
                    _ => Err(Error::caller("changed my mind")),
                }
            });
            is_unknown(&outcome.expect_err("lost"), &format!("{write}, {how}, {after}"));
        }
    }
    assert_eq!(plain_rows(&pool(&variant)).len(), 3 * 2 * RUNS.len());
}

#[test]
fn a_lost_transaction_on_tables_with_transactions_is_still_retried() {
    let Some((variant, database)) = shared_my() else { return };
    make_tables(|sql| drop(database.sql(sql)));
    let pool = pool(&variant);
    let done = pool.transaction_with(patient_web(), |tx, attempt| {
        tx.query_drop("update safe set m = m + 1 where n = 1")?;
        let _: Vec<u32> = tx.query("select n from plain")?;
        tx.exec_drop("insert into safe select ?, count(*) from plain", (3,))?;
        if attempt == 1 {
            kill(&database, tx);
        }
        tx.query_drop("update safe set m = m + 1 where n = 2")?;
        Ok(attempt)
    });
    assert_eq!(done.expect("the second attempt"), 2);
    let changed: Vec<u32> = pool.query("select m from safe order by n").expect("rows");
    assert_eq!(changed, [1, 1, 0]);
}

#[test]
fn a_write_whose_reply_tells_nothing_counts_once_the_pool_has_seen_such_a_write() {
    support::require!(mariadb);
    let (variant, database) = shared_my().expect("the server accepts");
    make_tables(|sql| drop(database.sql(sql)));
    let pool = pool(&variant);
    make_more(&pool);
    pool.transaction(|tx| Ok(tx.query_drop("insert into plain values (1)")?)).expect("it commits");
    let writes: [(&str, Run); 6] = [
        ("insert into plain values (2) returning n", |tx, sql| tx.query_drop(sql)),
        ("select write_plain(3)", |tx, sql| tx.exec_drop(sql, ())),
        ("insert into plain values (4); select 1", |tx, sql| tx.query_drop(sql)),
        ("insert into plain values (?)", |tx, sql| tx.exec_batch(sql, [(5,)])),
        ("insert into plain values (6), (6)", |tx, sql| tx.query_drop(sql).or(Ok(()))),
        ("insert into plain values (7)", |tx, sql| (**tx).query_drop(sql)),
    ];
    for (write, run) in writes {
        let outcome = pool.transaction_with(patient_web(), |tx, _| {
            run(tx, write.to_owned())?;
            kill(&database, tx);
            Ok(tx.query_drop("update safe set m = 2")?)
        });
        is_unknown(&outcome.expect_err("lost"), write);
    }
    // The server ends the session in the middle of the write.
    let outcome = thread::scope(|scope| {
        let (started, begun) = std::sync::mpsc::channel();
        let database = &database;
        scope.spawn(move || {
            let id: u32 = begun.recv().expect("the transaction begins");
            let sleeps = format!(
                "select count(*) from information_schema.processlist \
                 where id = {id} and state = 'User sleep'"
            );
            let is_under_way = || database.sql(&sleeps) == [["1"]];
            assert!(
                eventually(Duration::from_secs(60), is_under_way),
                "the write is not under way"
            );
            database.sql(&format!("kill {id}"));
        });
        pool.transaction_with(patient_web(), |tx, _| {
            let _ = started.send(tx.connection_id());
            Ok(tx.query_drop("insert into plain values (8), (9 + sleep(60))")?)
        })
    });
    is_unknown(&outcome.expect_err("lost"), "a write that is cut off");
    assert_eq!(plain_rows(&pool), (1..=8).collect::<Vec<_>>());
}
