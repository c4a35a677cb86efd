//! The defaults of every session: isolation, read-only, schema and time zone.

use crate::variant::{My, Pg, Variant, fresh_name};
use mysql::prelude::Queryable;
use poolwarden::driver::Driver;
use poolwarden::{Builder, ErrorKind, FaultClass, IsolationLevel, Pool, Reset, Role};
use support::{mariadb, postgres as pg};

fn with_all<D: Driver>(schema: &str, zone: &str) -> Builder<D> {
    let builder = Pool::builder().max_size(1).name(fresh_name("defaults")).reset(Reset::Full);
    let builder = builder.isolation(IsolationLevel::Serializable).read_only(true);
    builder.schema(schema).time_zone(zone)
}

/// The settings as the session of a borrower has them.
fn of_postgres(client: &mut postgres::Client) -> [String; 4] {
    let sql = "select current_setting('transaction_isolation'), \
               current_setting('transaction_read_only'), current_schemas(false)::text, \
               current_setting('timezone')";
    let row = client.query_one(sql, &[]).expect("a row");
    [0, 1, 2, 3].map(|index| row.get(index))
}

#[test]
fn every_borrower_of_a_postgres_connection_finds_the_session_defaults() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    for (url, schema) in [(database.url(), "an \"app\""), (database.unix_url(), "other")] {
        let quoted = schema.replace('"', "\"\"");
        let mut owner = Pg::new(url.clone()).open().expect("a session");
        owner.batch_execute(&format!("create schema \"{quoted}\"")).expect("it is created");
        let pool = with_all(schema, "Europe/Paris").build(Pg::new(url).driver()).expect("a pool");
        for _ in 0..3 {
            let mut connection = pool.get().expect("a connection");
            let found = of_postgres(&mut connection);
            assert_eq!(
                (&*found[0], &*found[1], &*found[3]),
                ("serializable", "on", "Europe/Paris")
            );
            assert!(found[2].contains(&schema.replace('"', "\\\"")), "{found:?}");
            let change = "set session characteristics as transaction isolation level read \
                          committed, read write; set search_path to public; set time zone 'UTC'";
            connection.batch_execute(change).expect("it may change them for itself");
        }
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
    }
}

#[test]
fn with_resets_by_need_the_session_defaults_are_set_again_after_a_reset() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let builder = with_all("public", "Europe/Paris").reset(Reset::Auto);
    let pool = builder.build(Pg::new(database.url()).driver()).expect("a pool");
    let found = || of_postgres(&mut pool.get().expect("a connection"));
    let expected = found();
    assert_eq!(
        (&*expected[0], &*expected[1], &*expected[3]),
        ("serializable", "on", "Europe/Paris")
    );
    assert_eq!(found(), expected);
    assert_eq!(pool.snapshot().resets, 0, "what the pool has set is no change");
    for (number, change) in [
        "set session characteristics as transaction isolation level read committed, read write",
        "set search_path to pg_catalog",
        "set time zone 'UTC'",
        "set lock_timeout = '7s'",
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = pool.get().expect("a connection");
        connection.batch_execute(change).expect("it may change them for itself");
        drop(connection);
        assert_eq!(found(), expected, "after {change}");
        assert_eq!(pool.snapshot().resets, number as u64 + 1, "after {change}");
    }
    assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
}

/// Over a unix socket nothing shows a change: only an open transaction is rolled back.
#[test]
fn over_a_unix_socket_a_changed_session_default_stays_changed_with_resets_by_need() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let builder = with_all("public", "Europe/Paris").reset(Reset::Auto);
    let pool = builder.build(Pg::new(database.unix_url()).driver()).expect("a pool");
    let found = || of_postgres(&mut pool.get().expect("a connection"));
    let expected = found();
    assert_eq!(&*expected[3], "Europe/Paris");
    pool.get().expect("a connection").batch_execute("begin; set time zone 'UTC'").expect("it runs");
    assert_eq!(found(), expected, "a rollback takes it back");
    pool.get().expect("a connection").batch_execute("set time zone 'UTC'").expect("it runs");
    assert_eq!(&*found()[3], "UTC");
}

/// The variables have two names, of which each version knows at least one.
fn of_mariadb(connection: &mut mysql::Conn) -> [String; 4] {
    let sql = "select database(), @@time_zone";
    let (database, zone) = connection.query_first(sql).expect("an answer").expect("a row");
    let mut variable = |name: &str| {
        let sql = format!(
            "show session variables where variable_name in ('tx_{name}', 'transaction_{name}')"
        );
        let row: Option<(String, String)> = connection.query_first(sql).expect("an answer");
        row.expect("one of them").1
    };
    [database, zone, variable("isolation"), variable("read_only")]
}

#[test]
fn every_borrower_of_a_mariadb_connection_finds_the_session_defaults() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    for url in [database.url(), database.unix_url()] {
        let pool = with_all(database.name(), "+05:00");
        let pool = pool.build(My::new(url).driver()).expect("a pool");
        for _ in 0..3 {
            let mut connection = pool.get().expect("a connection");
            assert_eq!(
                of_mariadb(&mut connection),
                [database.name(), "+05:00", "SERIALIZABLE", "ON"]
            );
            for change in [
                "set session transaction isolation level read committed, read write",
                "set time_zone = '+03:00'",
                "use information_schema",
            ] {
                connection.query_drop(change).expect("it may change them for itself");
            }
        }
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
    }
}

/// Returns the error of a pool whose time zone the server does not know.
fn unknown_zone<F: Variant>(variant: &F) -> poolwarden::Error {
    let builder = Pool::builder().time_zone("Mars/Olympus_Mons");
    builder.build(variant.driver()).map(drop).expect_err("there is no such zone")
}

#[test]
fn a_default_that_the_server_refuses_fails_the_connect_with_the_servers_words() {
    let mut errors = Vec::new();
    if pg::available() {
        errors.push(unknown_zone(&Pg::new(pg::shared().fresh_database().url())));
    }
    if mariadb::available() {
        errors.push(unknown_zone(&My::new(mariadb::shared().fresh_database().url())));
    }
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
        let fault = error.connect_error().map(|cause| cause.class());
        assert_eq!(fault, Some(FaultClass::Configuration), "{error}");
        assert!(error.to_string().contains("Mars/Olympus_Mons"), "{error}");
    }
}

#[test]
fn a_bare_r2d2_pool_has_the_session_defaults_too() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let builder = Pool::builder().max_size(1).time_zone("+05:00");
    let manager = builder.manager(My::new(database.url()).driver()).expect("the options agree");
    let pool = manager.builder().build(manager).expect("the server accepts");
    for _ in 0..2 {
        let mut connection = pool.get().expect("a connection");
        let zone: Option<String> = connection.query_first("select @@time_zone").expect("it runs");
        assert_eq!(zone.as_deref(), Some("+05:00"));
        connection.query_drop("set time_zone = '+03:00'").expect("it runs");
    }
}

#[test]
fn a_read_only_pool_cannot_ask_for_a_writable_server() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let builder = Pool::builder().read_only(true).role(Role::Writable);
    let error = builder.build_lazy(Pg::new(database.url()).driver()).map(drop);
    assert_eq!(error.expect_err("a contradiction").kind(), ErrorKind::Config);
}
