//! The hook `before_connect` of the server drivers: it changes the configuration of one
//! connection before it is opened.

use mysql::prelude::Queryable;
use poolwarden::driver::{Driver, Phase};
use poolwarden::{ErrorKind, FaultClass, MySql, Pool, Postgres};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;
use support::script::serve;
use support::wait::{eventually, within};
use support::{mariadb, port, postgres as pg};

const SOON: Duration = Duration::from_secs(20);

/// A driver whose URL has a wrong password, and whose hook numbers the connections.
fn numbered_postgres(server: &pg::Server) -> (Postgres, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let calls = Arc::clone(&count);
    let url = format!("postgres://someone:wrong@127.0.0.1:{}/postgres", server.port());
    let driver = Postgres::new(&url).expect("a URL").before_connect(move |config| {
        let number = calls.fetch_add(1, SeqCst) + 1;
        config.user("other").password("right").application_name(&format!("app {number}"));
        Ok(())
    });
    (driver, count)
}

#[test]
fn each_postgres_connection_is_opened_with_what_the_hook_has_set() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all other 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE other LOGIN PASSWORD 'right'");
    let ask = |client: &mut postgres::Client| {
        let sql = "select current_user::text, current_setting('application_name')";
        let row = client.query_one(sql, &[]).expect("an answer");
        (row.get::<_, String>(0), row.get::<_, String>(1))
    };
    let (driver, count) = numbered_postgres(&server);
    let pool = Pool::builder().max_size(2).build(driver).expect("the hook's password");
    // On a loaded computer the pool may open one more than it needs.
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        let (user, name) = ask(&mut pool.get().expect("a connection"));
        assert_eq!(user, "other");
        assert!(name.starts_with("app ") && names.insert(name), "{names:?}");
        pool.retire_all();
    }
    assert!(count.load(SeqCst) >= 3);
    let (driver, _) = numbered_postgres(&server);
    let manager = Pool::builder().max_size(1).manager(driver).expect("the options agree");
    let bare = manager.builder().build(manager).expect("the hook's password");
    assert_eq!(ask(&mut bare.get().expect("a connection")).0, "other");
}

#[test]
fn each_mariadb_connection_is_opened_with_what_the_hook_has_set_and_reset_to_it() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let (user, name) = (database.user().to_owned(), database.name().to_owned());
    let url = database.url().replace(&format!("{user}:app"), "someone:wrong");
    let url = url.replace(&format!("/{name}?"), "/information_schema?");
    let driver = || {
        let (user, name) = (user.clone(), name.clone());
        let count = AtomicU32::new(0);
        MySql::new(&url).expect("a URL").before_connect(move |options| {
            let number = count.fetch_add(1, SeqCst) + 1;
            let options = options.user(Some(&user)).pass(Some("app")).db_name(Some(&name));
            Ok(options.init(vec![format!("set @number = {number}")]))
        })
    };
    let ask = |connection: &mut mysql::Conn| {
        let row: Option<(String, u32)> =
            connection.query_first("select database(), @number").expect("an answer");
        connection.query_drop("use information_schema").expect("it runs");
        row.expect("a row")
    };
    let pool = Pool::builder().max_size(2).build(driver()).expect("the hook's password");
    let mut last = 0;
    for _ in 0..2 {
        for _ in 0..2 {
            let (database, number) = ask(&mut pool.get().expect("a connection"));
            assert_eq!(database, name, "after a reset too");
            assert!(number > last, "{number} after {last}");
        }
        last = ask(&mut pool.get().expect("a connection")).1;
        pool.retire_all();
    }
    let manager = Pool::builder().max_size(1).manager(driver()).expect("the options agree");
    let bare = manager.builder().build(manager).expect("the hook's password");
    for _ in 0..2 {
        assert_eq!(ask(&mut bare.get().expect("a connection")).0, name);
    }
}

#[test]
fn a_statement_is_killed_over_a_connection_that_the_hook_has_configured() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let url = database.url().replace(":app@", ":wrong@");
    let driver = MySql::new(&url).expect("a URL");
    let driver = driver.before_connect(|options| Ok(options.pass(Some("app"))));
    let builder = Pool::builder().max_size(2).statement_timeout(Duration::from_millis(300));
    let pool = builder.build(driver).expect("the hook's password");
    // Some servers end the sleep without an error. A connection that cannot be killed is closed.
    let (_, took) = within(SOON * 2, || pool.query_drop("do sleep(60)").map(drop));
    assert!(took < SOON * 2, "{took:?}");
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
}

fn fails<D: Driver>(driver: D, wanted: FaultClass, source: &str) {
    let error = Pool::builder().build(driver).map(drop).expect_err("nothing is dialled");
    let connect = error.connect_error().expect("an attempt failed");
    assert_eq!(connect.class(), wanted, "{error}");
    let found = connect.source().expect("a source").to_string();
    assert!(found.contains(source), "{found}");
}

#[test]
fn an_error_a_panic_and_a_change_of_the_host_each_fail_one_attempt() {
    let closed = port::unused();
    let pg = || Postgres::new(&format!("postgres://u@127.0.0.1:{closed}/d")).expect("a URL");
    let my = || MySql::new(&format!("mysql://u@127.0.0.1:{closed}/d")).expect("a URL");
    let fault = FaultClass::BeforeConnect;
    fails(pg().before_connect(|_| Err("no lease".into())), fault, "no lease");
    fails(my().before_connect(|_| Err("no lease".into())), fault, "no lease");
    let fault = FaultClass::Panicked;
    fails(pg().before_connect(|_| panic!("no lease")), fault, "panicked: no lease");
    fails(my().before_connect(|_| panic!("no lease")), fault, "panicked: no lease");
    let (fault, text) = (FaultClass::BeforeConnect, "may not change hosts");
    let elsewhere = pg().before_connect(|config| {
        config.host("other.example.com");
        Ok(())
    });
    fails(elsewhere, fault, text);
    let other_port = pg().before_connect(|config| {
        config.port(1);
        Ok(())
    });
    fails(other_port, fault, text);
    let elsewhere = |options: mysql::OptsBuilder| Ok(options.ip_or_hostname(Some("other")));
    fails(my().before_connect(elsewhere), fault, text);
    let timeout = |options: mysql::OptsBuilder| Ok(options.read_timeout(Some(SOON)));
    fails(my().before_connect(timeout), fault, text);
}

fn hangs<D: Driver>(driver: D, accepted: impl Fn() -> usize) {
    let (short, hang) = (Duration::from_millis(150), Duration::from_millis(700));
    let builder = Pool::builder().max_size(1).connect_timeout(short).checkout_timeout(short * 2);
    let pool = builder.build_lazy(driver).expect("the options agree");
    let (error, _) = within(SOON, || pool.get().map(drop).expect_err("the hook hangs"));
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(error.to_string().contains(&Phase::Configuring.to_string()), "{error}");
    // The hook returns too late: the attempt ends without a dial.
    std::thread::sleep(hang);
    assert!(eventually(SOON, || pool.snapshot().levels.pending == 0), "{}", pool.snapshot());
    assert_eq!(accepted(), 0);
}

#[test]
fn after_the_deadline_of_a_hook_that_hangs_nothing_is_dialled() {
    let listener = serve(|_| ());
    let port = listener.port();
    let hang = || std::thread::sleep(Duration::from_millis(700));
    let pg = Postgres::new(&format!("postgres://u@127.0.0.1:{port}/d")).expect("a URL");
    let slow = pg.before_connect(move |_| {
        hang();
        Ok(())
    });
    hangs(slow, || listener.accepted());
    let my = MySql::new(&format!("mysql://u@127.0.0.1:{port}/d")).expect("a URL");
    let slow = my.before_connect(move |options| {
        hang();
        Ok(options)
    });
    hangs(slow, || listener.accepted());
}
