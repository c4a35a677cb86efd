//! A closure that ends its own transaction is told what stands, and nothing after the end
//! is carried out.

use crate::patience::patient_web;
use crate::variant::{Variant, shared_pg};
use poolwarden::{Error, ErrorKind, Pool, Postgres, RetrySafety};
use support::postgres as pg;

fn pool() -> Option<(Pool<Postgres>, pg::Database<'static>)> {
    let (variant, database) = shared_pg()?;
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    Some((pool, database))
}

fn stands(pool: &Pool<Postgres>) -> Vec<i32> {
    let rows = pool.query("select n from t order by n", &[]).expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Inserts 1, ends the transaction by `end`, then tries to insert 2.
fn ends(pool: &Pool<Postgres>, end: &str, returns_ok: bool) -> Error {
    pool.batch_execute("truncate t").expect("an empty table");
    let ended = pool.transaction_with(patient_web(), |tx, attempt| {
        assert_eq!(attempt, 1, "{end}: it is not repeated");
        tx.execute("insert into t values (1)", &[])?;
        tx.batch_execute(end)?;
        let later = tx.execute("insert into t values (2)", &[]);
        if returns_ok { Ok(()) } else { later.map(drop).map_err(Error::from) }
    });
    ended.expect_err(end)
}

#[test]
fn a_closure_that_ends_its_transaction_is_told_what_stands() {
    let Some((pool, _database)) = pool() else { return };
    let (undone, unknown) = (ErrorKind::Driver, ErrorKind::OutcomeUnknown);
    let table: [(&str, ErrorKind, &[i32], &str); 8] = [
        ("rollback", undone, &[], "by ROLLBACK"),
        ("commit", unknown, &[1], "by COMMIT"),
        ("rollback and chain", undone, &[], "by ROLLBACK"),
        ("commit and chain", unknown, &[1], "by COMMIT"),
        ("rollback; begin", undone, &[], "by ROLLBACK"),
        ("commit; begin", unknown, &[1], "by COMMIT"),
        ("rollback; insert into t values (3)", unknown, &[3], "same text"),
        ("commit; insert into t values (3)", unknown, &[1, 3], "same text"),
    ];
    for (end, kind, rows, part) in table {
        let error = ends(&pool, end, true);
        assert_eq!(error.kind(), kind, "{end}: {error}");
        assert!(error.to_string().contains(part), "{end}: {error}");
        assert_eq!(stands(&pool), rows, "{end}: {error}");
        let error = ends(&pool, end, false);
        assert_eq!(error.kind() == unknown, kind == unknown, "{end}: {error}");
        assert_eq!(stands(&pool), rows, "{end}: {error}");
    }
}

#[test]
fn a_closure_that_prepares_its_transaction_for_two_phases_is_told_so() {
    pg_with_two_phases(|pool| {
        let error = ends(pool, "prepare transaction 'p'", true);
        assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
        assert!(error.to_string().contains("COMMIT PREPARED"), "{error}");
        pool.batch_execute("commit prepared 'p'").expect("it waits");
        assert_eq!(stands(pool), [1]);
    });
}

fn pg_with_two_phases(work: impl FnOnce(&Pool<Postgres>)) {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.set("max_prepared_transactions", "2");
    });
    let database = server.fresh_database();
    let driver = Postgres::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(1).build(driver).expect("a pool");
    pool.batch_execute("create table t (n int)").expect("a table");
    work(&pool);
}

#[test]
fn savepoints_of_a_closure_are_no_end_of_its_transaction() {
    let Some((pool, _database)) = pool() else { return };
    let done = pool.transaction(|tx| {
        tx.execute("insert into t values (1)", &[])?;
        let mut inner = tx.transaction()?;
        inner.execute("insert into t values (2)", &[])?;
        assert!(inner.execute("insert into nope values (2)", &[]).is_err());
        inner.rollback()?;
        tx.batch_execute("savepoint a; insert into t values (3); rollback to a; release a")?;
        tx.batch_execute("begin")?; // only a warning
        tx.execute("insert into t values (4)", &[])?;
        Ok(7)
    });
    assert_eq!(done.expect("it commits"), 7);
    assert_eq!(stands(&pool), [1, 4]);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_closure_that_rolls_back_and_fails_gets_its_own_error_and_keeps_the_connection() {
    let Some((pool, _database)) = pool() else { return };
    let own: Result<(), Error> = pool.transaction(|tx| {
        tx.execute("insert into t values (1)", &[])?;
        tx.batch_execute("rollback")?;
        Err(Error::caller("not today"))
    });
    let own = own.expect_err("its own");
    assert_eq!((own.kind(), stands(&pool)), (ErrorKind::Caller, vec![]));
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn nothing_of_a_closure_runs_after_its_own_commit_has_failed() {
    let Some((pool, _database)) = pool() else { return };
    pool.batch_execute("alter table t add unique (n) deferrable initially deferred")
        .expect("a constraint");
    for _ in 0..50 {
        let overlooked = pool.transaction(|tx| {
            tx.batch_execute("insert into t values (1), (1)")?;
            assert!(tx.batch_execute("commit").is_err());
            let _ = tx.batch_execute("insert into t values (2)");
            Ok(())
        });
        let error = overlooked.expect_err("nothing was committed");
        assert!(stands(&pool).is_empty(), "{error}");
    }
}

#[test]
fn work_that_has_committed_a_part_is_not_repeated() {
    let Some((pool, _database)) = pool() else { return };
    pool.batch_execute(
        "create procedure p() language plpgsql as $$ begin insert into t values (2); commit;
         raise exception using errcode = '40001'; end $$",
    )
    .expect("a procedure");
    let parts = [
        "begin; insert into t values (1); commit and chain",
        "call p()",
        "do $$ begin insert into t values (3); commit; raise exception using errcode = '40001'; \
         end $$",
        "begin; insert into t values (4); commit; do $$ begin raise sqlstate '40001'; end $$",
    ];
    for part in parts {
        pool.batch_execute("truncate t").expect("an empty table");
        let mut attempts = 0;
        let error = pool
            .run(patient_web(), |connection, _| {
                attempts += 1;
                connection.batch_execute(part)?;
                connection
                    .batch_execute("do $$ begin raise exception using errcode = '40001'; end $$")?;
                Ok(())
            })
            .expect_err(part);
        assert_eq!((attempts, stands(&pool).len()), (1, 1), "{part}: {error}");
        assert_eq!(error.fault().retry_safety(), RetrySafety::OutcomeUnknown, "{part}: {error}");
    }
}

#[test]
fn work_whose_text_of_several_statements_was_rolled_back_is_repeated() {
    let Some((pool, _database)) = pool() else { return };
    let mut attempts = 0;
    let done = pool.run(patient_web(), |connection, attempt| {
        attempts = attempt;
        let fails = if attempt == 1 { "select fail()" } else { "select 1" };
        if attempt == 1 {
            let fail = "create or replace function fail() returns int language plpgsql as
                        $$ begin raise exception using errcode = '40001'; end $$";
            connection.batch_execute(&format!("{fail}; insert into t values (1); {fails}"))?;
        }
        Ok(())
    });
    assert!(done.is_ok() && attempts == 2, "{done:?}");
    assert!(stands(&pool).is_empty());
}
