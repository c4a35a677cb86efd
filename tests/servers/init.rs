//! Every borrower finds the settings of `init`.

use crate::variant::{My, Pg, Variant, fresh_name};
use mysql::prelude::Queryable;
use mysql::{Opts, OptsBuilder};
use poolwarden::{BoxError, Builder, CloseReason, MySql, Pool, PooledConnection, Postgres, Reset};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::script::mysql::FakeMysql;
use support::{logs, mariadb, postgres as pg};

/// By TCP and by unix socket, with a default database and without one.
fn mariadb_urls() -> Vec<String> {
    if !mariadb::available() {
        return Vec::new();
    }
    let database = mariadb::shared().fresh_database();
    let named = [database.url(), database.unix_url()];
    let without = |url: &String| url.replace(&format!("/{}?", database.name()), "/?");
    named.iter().map(without).chain(named.clone()).collect()
}

fn builder(name: &str) -> Builder<MySql> {
    Pool::builder().max_size(1).name(fresh_name(name))
}

fn zone(connection: &mut mysql::Conn) -> String {
    connection.query_first("select @@time_zone").expect("an answer").expect("a row")
}

/// Sets the time zone, and counts how often.
fn with_zone(builder: Builder<MySql>) -> (Builder<MySql>, Arc<AtomicUsize>) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let builder = builder.init(move |connection: &mut mysql::Conn| {
        counted.fetch_add(1, SeqCst);
        Ok(connection.query_drop("set time_zone = '+05:00'")?)
    });
    (builder, runs)
}

#[test]
fn every_borrower_of_a_mariadb_connection_finds_the_settings_of_init() {
    for url in mariadb_urls() {
        let (builder, runs) = with_zone(builder("init mariadb"));
        let pool = builder.build(My::new(url).driver()).expect("the server accepts");
        for _ in 0..3 {
            let mut connection = pool.get().expect("a connection");
            assert_eq!(zone(&mut connection), "+05:00");
            connection.query_drop("set time_zone = '+03:00'").expect("it runs");
        }
        let own = pool.query_first::<String>("select @@time_zone").expect("an answer");
        assert_eq!(own.as_deref(), Some("+05:00"));
        assert_eq!(zone(&mut pool.get().expect("a connection")), "+05:00");
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
        assert_eq!(runs.load(SeqCst), 1 + 5, "once at birth, and once for each reset");
    }
}

#[test]
fn every_borrower_of_a_bare_r2d2_pool_finds_the_settings_of_init() {
    for url in mariadb_urls() {
        let (builder, _) = with_zone(builder("init r2d2"));
        let manager = builder.manager(My::new(url).driver()).expect("the options agree");
        let pool = manager.builder().build(manager).expect("the server accepts");
        for _ in 0..3 {
            let mut connection = pool.get().expect("a connection");
            assert_eq!(zone(&mut connection), "+05:00");
            connection.query_drop("set time_zone = '+03:00'").expect("it runs");
        }
    }
}

#[test]
fn every_borrower_finds_the_settings_of_the_mysql_drivers_own_init() {
    for url in mariadb_urls() {
        // It must come after the default database was chosen again.
        let init = ["set time_zone = '+05:00'", "use information_schema"];
        let opts = OptsBuilder::from_opts(Opts::from_url(&url).expect("a URL")).init(init.to_vec());
        let driver = MySql::from_opts(opts.into()).expect("a driver");
        let pool = builder("driver's init").build(driver).expect("the server accepts");
        for _ in 0..3 {
            let mut connection = pool.get().expect("a connection");
            assert_eq!(zone(&mut connection), "+05:00", "{url}");
            let database: Option<String> = connection.query_first("select database()").expect("it");
            assert_eq!(database.as_deref(), Some("information_schema"), "{url}");
            connection.query_drop("set time_zone = '+03:00'").expect("it runs");
            drop(connection);
            let own = pool.query_first::<String>("select @@time_zone").expect("an answer");
            assert_eq!(own.as_deref(), Some("+05:00"), "{url}");
        }
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
    }
}

#[test]
fn after_a_full_reset_every_borrower_of_a_postgres_connection_finds_the_settings_of_init() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    for url in [database.url(), database.unix_url()] {
        let options = || Pool::builder().max_size(1).reset(Reset::Full).init(set_app);
        let pool = options().build(Pg::new(url.clone()).driver()).expect("the server accepts");
        for _ in 0..3 {
            assert_app(&mut pool.get().expect("a connection"));
        }
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
        let manager = options().manager(Pg::new(url).driver()).expect("the options agree");
        let bare = manager.builder().build(manager).expect("the server accepts");
        for _ in 0..3 {
            assert_app(&mut bare.get().expect("a connection"));
        }
    }
}

fn set_app(client: &mut postgres::Client) -> Result<(), BoxError> {
    Ok(client.batch_execute("set app.tenant = 'seven'; set time zone 'UTC+7'")?)
}

/// Asserts the settings of `init`, then changes them.
fn assert_app(client: &mut postgres::Client) {
    let sql = "select current_setting('app.tenant', true), current_setting('timezone')";
    let row = client.query_one(sql, &[]).expect("a row");
    let found = (row.get::<_, Option<&str>>(0), row.get::<_, &str>(1));
    assert_eq!(found, (Some("seven"), "UTC+7"));
    client.batch_execute("set app.tenant = 'eight'; set time zone 'UTC'").expect("it runs");
}

/// A panic prints a backtrace first, which takes time.
const LONG: Duration = Duration::from_secs(20);

/// Returns a pool whose hook does this on its second run.
fn at_the_second_run(
    ping_timeout: Duration,
    act: fn(&mut mysql::Conn) -> Result<(), BoxError>,
) -> Option<Pool<MySql>> {
    let url = mariadb_urls().pop()?;
    let (builder, runs) = (builder("second run"), AtomicUsize::new(0));
    let builder = builder.ping_timeout(ping_timeout).init(move |connection: &mut mysql::Conn| {
        if runs.fetch_add(1, SeqCst) == 1 {
            act(connection)?;
        }
        Ok(connection.query_drop("set time_zone = '+05:00'")?)
    });
    Some(builder.build(My::new(url).driver()).expect("the server accepts"))
}

/// Asserts that the first connection is closed for this reason and the next one has the settings.
fn assert_replaced(pool: &Pool<MySql>, reason: CloseReason) {
    assert_eq!(zone(&mut pool.get().expect("a connection")), "+05:00");
    assert_eq!(zone(&mut pool.get().expect("another")), "+05:00");
    let books = pool.snapshot();
    assert_eq!((books.closed_by(reason), books.closed(), books.opened), (1, 1, 2), "{books}");
}

#[test]
fn an_init_that_fails_after_a_reset_closes_the_connection_and_is_logged() {
    let log = logs::mark();
    let fail = |_: &mut mysql::Conn| Err("the tenant is gone".into());
    let Some(pool) = at_the_second_run(LONG, fail) else { return };
    assert_replaced(&pool, CloseReason::Dirty);
    let lines = log.records_of("pool", pool.name());
    assert!(
        lines.iter().any(|line| format!("{line:?}").contains("the tenant is gone")),
        "{lines:#?}"
    );
}

#[test]
fn an_init_that_panics_after_a_reset_closes_the_connection_only() {
    let Some(pool) = at_the_second_run(LONG, |_| panic!("in the hook")) else { return };
    assert_replaced(&pool, CloseReason::Panicked);
    assert_eq!(pool.snapshot().panics, 1, "{}", pool.snapshot());
}

#[test]
fn an_init_that_takes_too_long_after_a_reset_ends_at_ping_timeout() {
    let sleep = |connection: &mut mysql::Conn| Ok(connection.query_drop("do sleep(20)")?);
    let Some(pool) = at_the_second_run(Duration::from_millis(500), sleep) else { return };
    let mut connection: PooledConnection<MySql> = pool.get().expect("a connection");
    assert_eq!(zone(&mut connection), "+05:00");
    let began = Instant::now();
    drop(connection);
    assert!(began.elapsed() < Duration::from_secs(2), "after {:?}", began.elapsed());
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{}", pool.snapshot());
    assert_eq!(zone(&mut pool.get().expect("a new one")), "+05:00");
}

#[test]
fn a_postgres_init_that_fails_after_a_full_reset_closes_the_connection() {
    if !pg::available() {
        return;
    }
    let runs = AtomicUsize::new(0);
    let hook = move |client: &mut postgres::Client| {
        let sql = if runs.fetch_add(1, SeqCst) == 1 { "select 1 / 0" } else { "set app.x = 'y'" };
        Ok(client.batch_execute(sql)?)
    };
    let url = pg::shared().fresh_database().url();
    let builder = Pool::<Postgres>::builder().max_size(1).reset(Reset::Full).init(hook);
    let pool = builder.build(Pg::new(url).driver()).expect("the server accepts");
    pool.get().expect("a connection").batch_execute("select 1").expect("it runs");
    let ask = "select current_setting('app.x')";
    assert_eq!(pool.query_one(ask, &[]).expect("prepared").get::<_, &str>(0), "y");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{}", pool.snapshot());
}

#[test]
fn the_mysql_drivers_own_init_runs_after_a_reset_on_servers_with_an_old_version_too() {
    for (version, database) in [("5.5.30", true), ("5.5.30", false), ("8.0.36", true)] {
        let server = FakeMysql::start();
        server.set_variable("version", version);
        let url = if database { server.url() } else { server.url().replace("/test?", "/?") };
        let init = vec!["set @prepared = 1"];
        let opts = OptsBuilder::from_opts(Opts::from_url(&url).expect("a URL")).init(init.clone());
        let driver = MySql::from_opts(opts.into()).expect("a driver");
        let pool = builder("old server").build(driver).expect("the server accepts");
        let runs = || server.statements().iter().filter(|text| *text == init[0]).count();
        assert_eq!(runs(), 1, "{version}");
        pool.query_drop("do 0").expect("it runs");
        pool.query_drop("do 0").expect("it runs");
        assert_eq!(runs(), 3, "{version}: {:?}", server.statements());
        assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
    }
}
