//! On MariaDB and MySQL.

use crate::long_parameters::assert_refused_unsent;
use crate::patience::patient_web;
use crate::variant::{My, Variant, shared_my};
use mysql::Conn;
use mysql::prelude::Queryable;
use poolwarden::query::MySqlTransaction;
use poolwarden::{Error, ErrorKind, FaultClass, MySql, Pool, RetrySafety};
use std::thread;
use std::time::Duration;

fn pool_with_tables(variant: &My) -> Pool<MySql> {
    let pool = Pool::builder().max_size(2).row_limit(10).build(variant.driver()).expect("a pool");
    for sql in [
        "create table t (n int auto_increment primary key, what varchar(20))",
        "create table locks (id int primary key, m int)",
        "insert into locks values (1, 0), (2, 0)",
        "create procedure add_and_list() begin insert into t (what) values ('row'); \
         select a.n from t a, locks b, locks c, locks d, locks e; end",
        "create procedure add_and_name() begin insert into t (what) values ('row'); \
         select 'text'; end",
        "create procedure add_and_fail() begin insert into t (what) values ('row'); \
         signal sqlstate '45000' set message_text = 'no'; end",
        "create procedure add_and_commit() begin insert into t (what) values ('row'); commit; end",
        "create procedure plain_add() begin insert into t (what) values ('row'); end",
    ] {
        pool.query_drop(sql).expect(sql);
    }
    pool
}

fn rows(pool: &Pool<MySql>) -> u64 {
    pool.query_first("select count(*) from t").expect("a count").expect("a row")
}

fn is_unknown(error: &Error) {
    let reported = (error.kind(), error.fault().retry_safety());
    assert_eq!(reported, (ErrorKind::OutcomeUnknown, RetrySafety::OutcomeUnknown), "{error}");
}

#[test]
fn a_write_whose_result_cannot_be_returned_may_have_been_done() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let calls: [(&str, &dyn Fn() -> Error); 6] = [
        ("past the row limit", &|| {
            pool.query_drop("call add_and_list()").expect_err("too many rows")
        }),
        ("a row of another type", &|| {
            pool.query::<u8>("call add_and_name()").map(drop).expect_err("no number")
        }),
        ("a first row of another type", &|| {
            pool.query_first::<u8>("call add_and_name()").map(drop).expect_err("no number")
        }),
        ("an error in the middle of a procedure", &|| {
            pool.query_drop("call add_and_fail()").expect_err("it fails")
        }),
        ("an end of the session by its second statement", &|| {
            let sql = "insert into t (what) values ('row'); kill connection_id()";
            pool.query_drop(sql).expect_err("it ended itself")
        }),
        ("an error of the second statement", &|| {
            let sql = "insert into t (what) values ('row'); insert into locks values (1, 1)";
            pool.query_drop(sql).expect_err("a duplicate")
        }),
    ];
    for (what, call) in calls {
        pool.query_drop("delete from t").expect("an empty table");
        // Enough rows to make the procedure's result longer than the limit.
        let before = rows(&pool);
        is_unknown(&call());
        assert_eq!(rows(&pool), before + 1, "{what}");
    }
}

#[test]
fn a_statement_that_only_fails_is_reported_as_failed() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    for sql in ["insert into locks values (1, 1)", "select * from nothing; select 1", "nonsense"] {
        let error = pool.query_drop(sql).expect_err(sql);
        let reported = (error.kind(), error.fault().retry_safety());
        assert_eq!(reported, (ErrorKind::Driver, RetrySafety::Permanent), "{sql}: {error}");
    }
    let read = pool.query::<u8>("select 'text'").expect_err("no number");
    assert_eq!(read.kind(), ErrorKind::Driver, "{read}");
}

/// Brings a transaction into a deadlock in which it is the victim.
fn deadlock(url: &str, tx: &mut MySqlTransaction<'_>, last: &str) -> mysql::Result<()> {
    let mut other = Conn::new(mysql::Opts::from_url(url).expect("a URL"))?;
    tx.query_drop("update locks set m = m + 1 where id = 1")?;
    other.query_drop("start transaction")?;
    for _ in 0..50 {
        other.query_drop("insert into t (what) values ('weight')")?;
    }
    other.query_drop("update locks set m = m + 1 where id = 2")?;
    let waits = thread::spawn(move || {
        let _ = other.query_drop("update locks set m = m + 1 where id = 1");
        let _ = other.query_drop("rollback");
    });
    thread::sleep(Duration::from_millis(200));
    let outcome = tx.query_drop(last);
    waits.join().expect("no panic");
    outcome
}

const MEET: &str = "/* route=pay */ update locks set m = m + 1 where id = 2";

#[test]
fn a_procedure_that_committed_before_a_deadlock_is_not_retried() {
    let Some((variant, database)) = shared_my() else { return };
    let (pool, url) = (pool_with_tables(&variant), database.url());
    let policy = patient_web();
    let work = |call: &'static str| {
        let url = &url;
        move |tx: &mut MySqlTransaction<'_>, attempt: u32| {
            tx.query_drop(call)?;
            if attempt == 1 {
                deadlock(url, tx, MEET)?;
            }
            Ok(attempt)
        }
    };
    let error = pool.transaction_with(policy, work("call add_and_commit()")).expect_err("once");
    is_unknown(&error);
    assert_eq!((error.attempts(), rows(&pool)), (1, 1), "{error}");
    // A procedure without a commit is rolled back with the rest, and retried.
    pool.query_drop("delete from t").expect("an empty table");
    let done = pool.transaction_with(policy, work("call plain_add()")).expect("the second attempt");
    assert_eq!((done, rows(&pool)), (2, 1));
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_closure_that_ends_its_own_transaction_gets_an_error_and_its_later_writes_are_undone() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let add = "insert into t (what) values ('row')";
    let enders = [
        ("rollback", 0),
        ("commit", 1),
        ("commit and chain", 1),
        ("/* done */ commit", 1),
        ("begin", 1),
        ("start transaction", 1),
        ("set autocommit = 1", 1),
        ("create table made (n int)", 1),
        ("drop table made", 1),
        ("rollback; insert into t (what) values ('more')", 0),
        ("commit; insert into t (what) values ('more')", 1),
        ("call add_and_commit()", 2),
    ];
    for (ender, stand) in enders {
        for fails in [false, true] {
            pool.query_drop("delete from t").expect("an empty table");
            pool.query_drop("drop table if exists made").expect("gone");
            if ender.starts_with("drop") {
                pool.query_drop("create table made (n int)").expect("there");
            }
            let outcome = pool.transaction(|tx| {
                tx.query_drop(add)?;
                tx.query_drop(ender)?;
                let refused = tx.query_drop(add).expect_err("it has ended");
                let class = poolwarden::fault_of(&refused).class();
                assert_eq!(class, FaultClass::TransactionAborted, "{ender}: {refused}");
                assert!(tx.exec_drop("insert into t (what) values (?)", ("row",)).is_err());
                if fails { Err(Error::caller("no")) } else { Ok(()) }
            });
            let error = outcome.expect_err(ender);
            match (stand, fails) {
                (0, true) if ender == "rollback" => {
                    assert_eq!(error.kind(), ErrorKind::Caller, "{ender}: {error}")
                }
                (0, false) if ender == "rollback" => {
                    let reported = (error.kind(), error.fault().retry_safety());
                    assert_eq!(reported, (ErrorKind::Driver, RetrySafety::Permanent), "{error}");
                }
                _ if stand > 0 => is_unknown(&error),
                _ => {}
            }
            assert_eq!(rows(&pool), stand, "{ender}");
        }
    }
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn savepoints_temporary_tables_and_procedures_leave_a_transaction_open() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let outcome = pool.transaction(|tx| {
        tx.query_drop("create temporary table mine (n int)")?;
        tx.query_drop("call plain_add()")?;
        tx.query_drop("savepoint mine")?;
        tx.query_drop("call plain_add()")?;
        tx.query_drop("call plain_add()")?;
        tx.query_drop("rollback to mine")?;
        let call = tx.prep("call plain_add()")?;
        tx.exec_drop(&call, ())?;
        tx.query_drop("drop temporary table mine")?;
        Ok(())
    });
    outcome.expect("it was open until its commit");
    assert_eq!(rows(&pool), 2);
}

#[test]
fn a_packet_that_is_too_large_is_refused_before_it_is_sent() {
    let Some((_, database)) = shared_my() else { return };
    let url = database.url();
    let join = if url.contains('?') { '&' } else { '?' };
    let driver = MySql::new(&format!("{url}{join}max_allowed_packet=65536"));
    let pool = Pool::builder().max_size(1).build(driver.expect("a URL")).expect("a pool");
    pool.query_drop("create table texts (n longtext)").expect("a table");
    let (long, mut attempts) = ("x".repeat(100_000), 0);
    let insert = "insert into texts values (?)";
    let policy = patient_web();
    let lone = pool.exec_drop(insert, (&long,)).expect_err("too large");
    let as_text = pool.query_drop(&format!("insert into texts values ('{long}')"));
    let in_closure = pool.transaction_with(policy, |tx, attempt| {
        attempts = attempt;
        tx.query_drop("insert into texts values ('before')")?;
        Ok(tx.exec_drop(insert, (&long,))?)
    });
    assert_eq!(attempts, 1);
    let in_run = pool.run(policy, |connection, attempt| {
        attempts = attempt;
        Ok(connection.exec_drop(insert, (&long,))?)
    });
    assert_eq!(attempts, 1);
    let errors = [
        lone,
        as_text.expect_err("too large"),
        in_closure.expect_err("too large"),
        in_run.expect_err("too large"),
    ];
    for error in errors {
        assert_refused_unsent(&error);
        assert!(format!("{error:?}").contains("max_allowed_packet"), "{error:?}");
    }
    assert_eq!(pool.query::<u64>("select count(*) from texts").expect("a count"), [0]);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn more_parameters_than_the_protocol_allows_are_refused_before_sending() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let many = vec!["?"; 70_000].join(", ");
    let values = mysql::Params::Positional(vec![mysql::Value::Int(1); 70_000]);
    let error = pool.exec_drop(&format!("select {many}"), values).expect_err("too many");
    assert_eq!(error.fault().class(), FaultClass::Usage, "{error}");
    assert!(error.to_string().contains("65535"), "{error}");
    assert_eq!(pool.snapshot().closed(), 0);
}

#[test]
fn a_write_returns_the_number_of_rows_and_the_generated_key() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let first = pool.exec_drop("insert into t (what) values (?)", ("a",)).expect("a row");
    assert_eq!((first.affected_rows, first.last_insert_id), (1, Some(1)));
    let more = pool.query_drop("insert into t (what) values ('b'), ('c')").expect("rows");
    assert_eq!((more.affected_rows, more.last_insert_id), (2, Some(2)));
    let changed = pool.query_drop("update t set what = 'd'").expect("rows");
    assert_eq!((changed.affected_rows, changed.last_insert_id), (3, None));
}

#[test]
fn a_guard_and_a_transaction_fit_where_the_drivers_query_methods_are_wanted() {
    fn ask(connection: &mut impl Queryable) -> mysql::Result<Option<u64>> {
        let statement = connection.prep("select ? + 2")?;
        connection.query_drop("create temporary table batch (n int)")?;
        connection.exec_batch("insert into batch values (?)", (0..3).map(|n| (n,)))?;
        connection.query_drop("drop temporary table batch")?;
        let sum = connection.exec_first(&statement, (40,))?;
        connection.close(statement)?;
        let text: Option<u64> = connection.query_first("select 42")?;
        Ok(sum.filter(|_| sum == text))
    }
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    assert_eq!(ask(&mut pool.get().expect("a guard")).expect("an answer"), Some(42));
    assert_eq!(pool.transaction(|tx| Ok(ask(tx)?)).expect("an answer"), Some(42));
    let manager = Pool::builder().max_size(1).manager(variant.driver()).expect("a manager");
    let bare = manager.builder().build(manager).expect("a pool of r2d2");
    assert_eq!(ask(&mut *bare.get().expect("a guard")).expect("an answer"), Some(42));
}

#[test]
fn a_transaction_begins_with_the_options_that_were_asked_for() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = pool_with_tables(&variant);
    let read = pool.build_transaction().read_only(true).run(|tx, _| {
        let refused = tx.query_drop("insert into t (what) values ('row')").expect_err("read-only");
        assert!(refused.to_string().contains("1792"), "{refused}");
        Ok(())
    });
    read.expect("it only reads");
    // At this level a plain SELECT waits for the lock of a writer.
    let level = poolwarden::IsolationLevel::Serializable;
    let waits = pool.transaction(|writer| {
        writer.query_drop("update locks set m = 1 where id = 1")?;
        Ok(pool.build_transaction().isolation_level(level).run(|tx, _| {
            tx.query_drop("set innodb_lock_wait_timeout = 1")?;
            Ok(tx.query_drop("select m from locks where id = 1")?)
        }))
    });
    let waits = waits.expect("the writer commits").expect_err("it waited in vain");
    assert_eq!(waits.fault().class(), FaultClass::LockTimeout, "{waits}");
    let refused = pool.build_transaction().deferrable(true).run(|_, _| Ok(()));
    assert_eq!(refused.expect_err("MySQL has none").kind(), ErrorKind::Config);
}
