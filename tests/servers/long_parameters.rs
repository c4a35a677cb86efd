//! Parameters that are longer than the server takes.

use crate::variant::{My, Variant, shared_my};
use mysql::prelude::Queryable;
use mysql::{Params, Value};
use poolwarden::{Error, ErrorKind, FaultClass, MySql, Pool, RetryPolicy, RetrySafety, Usability};

/// Asserts that nothing was sent, and that nothing but the caller's own mistake is the cause.
pub(crate) fn assert_refused_unsent(error: &Error) {
    let fault = error.fault();
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    assert_eq!(
        (fault.class(), fault.connection(), fault.retry_safety()),
        (FaultClass::Usage, Usability::Usable, RetrySafety::Permanent),
        "{error}"
    );
}

/// Returns a pool with a table, the server's limit, and a parameter beyond it.
fn with_too_long(variant: &My) -> (Pool<MySql>, usize, Vec<u8>) {
    let pool = Pool::builder().max_size(1).build(variant.driver()).expect("a pool");
    pool.query_drop("create table blobs (n longblob)").expect("a table");
    let limit: usize = pool.query("select @@max_allowed_packet").expect("a limit")[0];
    (pool, limit, vec![0; limit.max(1 << 24) + 1])
}

#[test]
fn a_parameter_that_mysql_would_end_the_session_for_is_refused_before_it_is_sent() {
    let Some((variant, _database)) = shared_my() else { return };
    let (pool, limit, long) = with_too_long(&variant);
    let insert = "insert into blobs values (?)";
    let (policy, mut attempts) = (RetryPolicy::web(), 0);
    let lone = pool.exec_drop(insert, (&long,)).expect_err("too long");
    let named = Params::from(vec![("n", Value::from(&long))]);
    let named = pool.exec::<u8, _>("select length(:n)", named).expect_err("too long");
    let in_closure = pool.transaction_with(policy, |tx, attempt| {
        attempts = attempt;
        tx.query_drop("insert into blobs values ('before')")?;
        Ok(tx.exec_drop(insert, (&long,))?)
    });
    assert_eq!(attempts, 1);
    let in_closure = in_closure.expect_err("too long");
    for error in [lone, named, in_closure] {
        assert_refused_unsent(&error);
        let text = format!(
            "not sent: a parameter has {} bytes, which is too long for the server's \
             max_allowed_packet {limit}",
            long.len()
        );
        assert!(error.to_string().ends_with(&text), "{error}");
    }
    assert_eq!(pool.query::<u64>("select count(*) from blobs").expect("a count"), [0]);
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

#[test]
fn a_transaction_goes_on_after_a_mysql_parameter_that_was_refused() {
    let Some((variant, _database)) = shared_my() else { return };
    let (pool, _, long) = with_too_long(&variant);
    let outcome = pool.transaction(|tx| {
        tx.exec_drop("insert into blobs values (?)", (&long,)).expect_err("too long");
        tx.exec_drop("insert into blobs values (?)", ("short",))?;
        Ok(())
    });
    outcome.expect("nothing has ended it");
    assert_eq!(pool.query::<u64>("select count(*) from blobs").expect("a count"), [1]);
}
