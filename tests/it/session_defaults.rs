//! Session defaults that a database has, or has not.

use crate::common::fake::{Fake, Transport};
use poolwarden::{ErrorKind, IsolationLevel, Pool};

#[test]
fn a_driver_without_session_defaults_refuses_them_at_build() {
    let build = |configure: fn(poolwarden::Builder<Fake>) -> poolwarden::Builder<Fake>| {
        let error = configure(Pool::builder()).build_lazy(Fake::new(Transport::Tcp).0).map(drop);
        let error = error.expect_err("it is refused");
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.to_string();
        text.strip_prefix("pool fake:1: ").expect("the pool's name").to_owned()
    };
    let text = build(|options| options.time_zone("UTC"));
    assert_eq!(text, "time_zone: fake:1 has no such session default");
    assert!(build(|options| options.schema("app")).starts_with("schema: "));
    assert!(build(|options| options.read_only(false)).starts_with("read_only: "));
}

#[cfg(feature = "sqlite")]
#[test]
fn an_sqlite_pool_may_be_read_only_and_has_no_other_session_default() {
    use poolwarden::Sqlite;
    let pool = Pool::builder().read_only(true).build(Sqlite::memory()).expect("it opens");
    let error = pool.execute_batch("create table t (n integer)").expect_err("it is read-only");
    assert!(error.to_string().contains("readonly"), "{error}");
    let builder = Pool::builder().isolation(IsolationLevel::Serializable);
    let error = builder.build(Sqlite::memory()).map(drop).expect_err("it has none");
    assert_eq!(
        error.to_string(),
        "pool sqlite in memory: isolation: sqlite in memory has no such session default"
    );
}
