//! The hook `before_connect` of SQLite.

use poolwarden::{FaultClass, Pool, Sqlite};
use rusqlite::OpenFlags;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

#[test]
fn each_sqlite_connection_is_opened_with_the_flags_that_the_hook_has_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.db");
    let (read_only, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let driver = || {
        let (flag, count) = (Arc::clone(&read_only), Arc::clone(&calls));
        Sqlite::file(&path).before_connect(move |flags| {
            count.fetch_add(1, SeqCst);
            if flag.load(SeqCst) {
                *flags = READ_ONLY;
            }
            Ok(())
        })
    };
    let pool = Pool::builder().max_size(1).build(driver()).expect("it opens");
    pool.execute_batch("create table t (n integer)").expect("it may write");
    read_only.store(true, SeqCst);
    pool.execute_batch("insert into t values (1)").expect("the open connection may still write");
    pool.retire_all();
    assert!(pool.execute_batch("insert into t values (2)").is_err());
    assert_eq!(calls.load(SeqCst), 2);
    let manager = Pool::builder().max_size(1).manager(driver()).expect("the options agree");
    let bare = manager.builder().build(manager).expect("it opens");
    let connection = bare.get().expect("a connection");
    assert!(connection.execute_batch("insert into t values (3)").is_err());
    let count: i64 =
        connection.query_row("select count(*) from t", [], |row| row.get(0)).expect("a row");
    assert_eq!(count, 1);
}

#[test]
fn an_error_or_a_panic_of_the_hook_opens_no_sqlite_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data.db");
    for (panics, wanted) in [(false, FaultClass::BeforeConnect), (true, FaultClass::Panicked)] {
        let driver = Sqlite::file(&path).before_connect(move |_| {
            assert!(!panics, "no lease");
            Err("no lease".into())
        });
        let error = Pool::builder().build(driver).map(drop).expect_err("nothing is opened");
        let fault = error.connect_error().map(|error| error.class());
        assert_eq!(fault, Some(wanted), "{error}");
        assert!(error.to_string().contains("no lease"), "{error}");
        assert!(!path.exists());
    }
}
