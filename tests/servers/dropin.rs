//! Drop-in connections: requests that connect share pools of the process.

use mysql::prelude::Queryable;
use poolwarden::dropin::postgres::NoTls;
use poolwarden::dropin::{self, Report, registry};
use poolwarden::observe::ConnectionStatus;
use poolwarden::{ErrorKind, PoolOptions, SharedPermits, Snapshot};
use std::time::Duration;
use support::{child, mariadb, postgres as pg, require};

/// Returns the pools whose names end in this way. Databases of both servers have the same names.
fn pools_of(report: Report, end: &str) -> Vec<Snapshot> {
    report.pools.into_iter().filter(|pool| pool.name.ends_with(end)).collect()
}

fn on_postgres(database: &pg::Database<'_>) -> String {
    format!(":{}/{}", database.server().port(), database.name())
}

#[test]
fn postgres_requests_share_one_pool() {
    require!(postgres);
    let database = pg::shared().fresh_database();
    let url = format!("{}?pool_max_size=3", database.url());
    let request = || {
        let mut client = dropin::postgres::Client::connect(&url, NoTls).expect("a connection");
        let sum: i32 = client.query_one("select 20 + 22", &[]).expect("a row").get(0);
        assert_eq!(sum, 42);
        client.close().expect("it goes back");
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..20).for_each(|_| request()));
        }
    });
    let pools = pools_of(registry().report(), &on_postgres(&database));
    assert_eq!(pools.len(), 1, "{pools:?}");
    assert!(pools[0].opened <= 3 && pools[0].levels.in_use == 0, "{}", pools[0]);
    assert!(database.backends().len() <= 3);
    // What is left of a session is reset.
    let mut client = dropin::postgres::Client::connect(&url, NoTls).expect("a connection");
    client.batch_execute("begin; set local work_mem = '1MB'").expect("it runs");
    client.close().expect("it goes back");
    let mut client = dropin::postgres::Client::connect(&url, NoTls).expect("a connection");
    client.batch_execute("vacuum").expect("no transaction is open");
}

#[test]
fn each_configuration_has_a_pool() {
    require!(postgres);
    let database = pg::shared().fresh_database();
    for name in ["one", "two", "one"] {
        let url = format!("{}?application_name={name}", database.url());
        let mut client = dropin::postgres::Client::connect(&url, NoTls).expect("a connection");
        let row = client.query_one("show application_name", &[]).expect("a row");
        assert_eq!(row.get::<_, &str>(0), name);
    }
    assert_eq!(pools_of(registry().report(), &on_postgres(&database)).len(), 2);
}

#[test]
fn mariadb_requests_share_one_pool() {
    require!(mariadb);
    let database = mariadb::shared().fresh_database();
    let url = database.url();
    let request = || {
        let mut conn = dropin::mysql::Conn::new(&*url).expect("a connection");
        assert_eq!(conn.query_first("select 20 + 22").expect("a row"), Some(42));
        conn.close();
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20).for_each(|_| request()));
        }
    });
    let end = format!(":{}/{}", database.server().port(), database.name());
    let pools = pools_of(registry().report(), &end);
    assert_eq!(pools.len(), 1, "{pools:?}");
    assert!(pools[0].opened <= 10 && pools[0].levels.in_use == 0, "{}", pools[0]);
    let error = dropin::mysql::Conn::new("mysql://app:hushhush@h/?no_such=hushhush");
    let error = error.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(!format!("{error} {error:?}").contains("hushhush"), "{error:?}");
}

#[test]
fn a_connection_that_outlives_its_request_is_reported_with_its_place() {
    require!(postgres);
    let database = pg::shared().fresh_database();
    let held = || {
        let held = registry().report().held.into_iter();
        held.filter(|(pool, _)| pool.ends_with(&on_postgres(&database))).collect::<Vec<_>>()
    };
    let (url, line) = (database.url(), line!() + 1);
    let client = dropin::postgres::Client::connect(&url, NoTls).expect("a connection");
    let found = held();
    assert_eq!(found.len(), 1, "{found:?}");
    let ConnectionStatus::InUse { site: Some(site), .. } = &found[0].1.status else {
        panic!("it is in use: {found:?}");
    };
    assert!(site.file().ends_with("dropin.rs") && site.line() == line, "{site}");
    assert!(registry().report().to_string().contains(&format!("dropin.rs:{line}")));
    drop(client);
    assert_eq!(held().len(), 0);
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_requests_share_one_pool_and_a_database_in_memory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shared.db");
    for n in 0..20 {
        let connection = dropin::sqlite::Connection::open(&path).expect("a connection");
        connection.execute_batch("create table if not exists t (n)").expect("it runs");
        connection.execute("insert into t values (?1)", [n]).expect("it runs");
        connection.close().expect("it goes back");
    }
    let pools = pools_of(registry().report(), "shared.db");
    assert_eq!((pools.len(), pools[0].opened), (1, 1), "{pools:?}");
    let error = dropin::sqlite::Connection::open(":memory:").expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Config);
}

/// The registry is the process's: this is alone in one.
#[test]
fn the_registry_configures_its_pools_and_closes_them() {
    require!(postgres);
    // The server is the parent's.
    let url = || pg::shared().url("postgres", "postgres");
    child::without_panics(url, |url| {
        let mut options = PoolOptions::default();
        options.max_size = Some(4);
        let permits = SharedPermits::new(2).expect("two");
        registry().configure(&options, &permits).expect("they are valid");
        let connect = || dropin::postgres::Client::connect(url, NoTls);
        let (first, second) = (connect().expect("one"), connect().expect("two"));
        let pools = registry().report().pools;
        assert_eq!(
            (pools.len(), pools[0].levels.max_size, pools[0].levels.open),
            (1, 4, 2),
            "{pools:?}"
        );
        assert_eq!((permits.used(), permits.limit()), (2, 2), "all pools share them");
        second.close().expect("it goes back");
        let left = registry().close(Duration::from_millis(200));
        assert_eq!((left.open(), left.held.len()), (1, 1), "{left}");
        assert_eq!(connect().expect_err("it is closed").kind(), ErrorKind::Closed);
        drop(first);
        assert_eq!(registry().report().pools.len(), 0);
        options.max_size = Some(0);
        let error = registry().configure(&options, &permits).expect_err("out of range");
        assert_eq!(error.kind(), ErrorKind::Config);
    });
}

#[test]
fn pools_without_connections_are_dropped_when_there_are_many() {
    // Nobody listens there: each has a pool for its user, and no connection.
    for user in 0..300 {
        let url = format!("postgres://user{user}@127.0.0.1:1/nowhere{user}");
        let error = dropin::postgres::Client::connect(&url, NoTls).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    }
    let pools = registry().report().pools;
    let count = pools.iter().filter(|pool| pool.name.contains(":1/nowhere")).count();
    assert!((1..=256).contains(&count), "{count}");
}
