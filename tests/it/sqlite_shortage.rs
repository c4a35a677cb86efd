//! SQLite in a process that has no descriptor left.

use poolwarden::{FaultClass, Pool, Sqlite};
use support::shortage;

#[test]
fn a_file_that_sqlite_cannot_open_for_want_of_a_descriptor_is_a_local_shortage() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("short.db");
    shortage::in_child(|limits| {
        let pool = Pool::builder().max_size(1).build_lazy(Sqlite::file(&path));
        let pool = pool.expect("the options agree");
        let shortage = limits.descriptors(0);
        let error = pool.get().map(drop).expect_err("nothing can be opened");
        drop(shortage);
        let class = error.connect_error().map(|error| error.class());
        assert_eq!(class, Some(FaultClass::LocalResource), "{error}");
    });
}

#[test]
fn a_file_that_is_missing_is_a_wrong_configuration() {
    let pool = Pool::builder().max_size(1).build_lazy(Sqlite::file("/no/such/folder/a.db"));
    let error = pool.expect("the options agree").get().map(drop).expect_err("no such folder");
    let class = error.connect_error().map(|error| error.class());
    assert_eq!(class, Some(FaultClass::Configuration), "{error}");
}
