//! The texts of errors of queries, transactions, foreign managers and async contexts.

use crate::common::fake::{Act, At, FakeManager, Transport};
use crate::common::pool;
use crate::texts::{case, check};
use poolwarden::{FaultClass, Foreign, Pool};
use std::time::Duration;
use tokio::runtime::Builder;

#[cfg(feature = "sqlite")]
#[test]
fn queries_and_transactions_that_fail() {
    use poolwarden::rusqlite::{Row, Transaction};
    use poolwarden::{Error, RetryPolicy, Sqlite};
    let builder = Pool::builder().name("orders").max_size(2).row_limit(2);
    let pool = builder.build(Sqlite::memory()).expect("a database in memory");
    pool.execute_batch("create table t (n integer unique)").expect("a table");
    pool.execute("insert into t values (1), (2), (3)", []).expect("rows");
    let number = |row: &Row<'_>| row.get::<_, i64>(0);
    let mut out = String::new();
    let mut fails = |heading: &str, outcome: Result<(), Error>| {
        case(&mut out, heading, outcome.expect_err(heading));
    };
    fails("an unknown table", pool.query("select n from nope", [], number).map(drop));
    fails("a duplicate", pool.execute("insert into t values (1)", []).map(drop));
    fails("more rows than row_limit", pool.query("select n from t", [], number).map(drop));
    let twice = |tx: &Transaction<'_>| {
        tx.execute("insert into t values (4)", [])?;
        tx.execute("insert into t values (4)", [])
    };
    fails(
        "a transaction whose statement fails",
        pool.transaction(|tx| twice(tx).map_err(Into::into)).map(drop),
    );
    let retried = pool.transaction_with(RetryPolicy::web(), |tx, _| twice(tx).map_err(Into::into));
    fails("the same with a policy that retries", retried.map(drop));
    fails(
        "a transaction that the closure ends itself",
        pool.transaction(|tx| {
            tx.execute_batch("insert into t values (5); commit")?;
            Ok(())
        }),
    );
    check("queries", &out);
}

#[test]
fn a_foreign_manager_that_fails() {
    let mut out = String::new();
    let (manager, script) = FakeManager::new();
    let builder = Pool::builder().name("orders").checkout_timeout(Duration::from_millis(200));
    let pool = builder.build_lazy(Foreign::new(manager)).expect("the options agree");
    script.always(At::Connect, Act::Fault(FaultClass::Other));
    case(&mut out, "a connect that fails", pool.get().map(drop).expect_err("it fails"));
    check("foreign", &out);
}

#[test]
fn a_thread_that_drives_an_async_runtime() {
    let mut out = String::new();
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).name("orders"));
    let held = pool.get().expect("it opens");
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let inside = pool.clone();
    let outcome =
        runtime.block_on(async { tokio::spawn(async move { inside.get().map(drop) }).await });
    let error = outcome.expect("no panic").expect_err("it would have to wait");
    case(&mut out, "a check-out that would wait", error);
    drop(held);
    check("async_context", &out);
}
