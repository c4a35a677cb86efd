//! A statement that fails in a transaction's closure, by `?`: the caller's error has the
//! server's own words and code.

use crate::variant::{Variant, shared_my, shared_pg};
use mysql::prelude::Queryable;
use poolwarden::{Error, ErrorKind, Pool};

/// Fails unless all of these words are in both texts of the error, each once per text.
fn assert_says(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let (display, debug) = (error.to_string(), format!("{error:?}"));
    for word in words {
        assert!(display.contains(word), "{word}: {display}");
        assert!(debug.contains(word), "{word}: {debug}");
    }
    assert!(!display.contains('\n'), "{display}");
    assert!(std::error::Error::source(error).is_some(), "{error}");
}

#[test]
fn a_missing_table_in_a_postgres_transaction_is_named_with_its_code() {
    let Some((variant, _database)) = shared_pg() else { return };
    let pool = Pool::builder().build(variant.driver()).expect("the server accepts");
    let error = pool.transaction(|tx| {
        tx.execute("select * from nope", &[])?;
        Ok(())
    });
    assert_says(&error.expect_err("no such table"), &["nope", "does not exist", "42P01"]);
}

#[test]
fn a_missing_table_in_a_mysql_transaction_is_named_with_its_code() {
    let Some((variant, _database)) = shared_my() else { return };
    let pool = Pool::builder().build(variant.driver()).expect("the server accepts");
    let error = pool.transaction(|tx| {
        tx.query_drop("select * from nope")?;
        Ok(())
    });
    assert_says(&error.expect_err("no such table"), &["nope' doesn't exist", "1146"]);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_missing_table_in_a_sqlite_transaction_is_named() {
    let pool = Pool::builder().build(poolwarden::Sqlite::memory()).expect("a database");
    let error = pool.transaction(|tx| {
        tx.execute("select * from nope", [])?;
        Ok(())
    });
    assert_says(&error.expect_err("no such table"), &["no such table: nope"]);
}
