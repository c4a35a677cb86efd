//! The hooks of a pool on real servers.

use crate::variant::{My, Pg, Variant, fresh_name};
use mysql::prelude::Queryable;
use poolwarden::driver::Driver;
use poolwarden::{BoxError, CheckinAction, CloseReason, ErrorKind, Pool, Reset};
use std::time::{Duration, Instant};
use support::proxy::{Fault, Proxy};
use support::{mariadb, postgres as pg};

/// Longer than any statement here takes on a loaded computer.
const LONG: Duration = Duration::from_secs(20);

/// Statements of one database, and how they are run.
struct Dialect<D: Driver> {
    run: fn(&mut D::Connection, &str) -> Result<(), BoxError>,
    /// Returns the first value of the first row as text.
    read: fn(&mut D::Connection, &str) -> Result<String, BoxError>,
    set: &'static str,
    setting: &'static str,
    set_wrongly: &'static str,
    sleep: &'static str,
    /// Ends the session itself.
    end: &'static str,
}

const POSTGRES: Dialect<poolwarden::Postgres> = Dialect {
    run: |client, sql| Ok(client.batch_execute(sql)?),
    read: |client, sql| {
        let row = client.query_one(sql, &[])?;
        Ok(row.get::<_, String>(0))
    },
    set: "set time zone 'UTC+7'",
    setting: "select current_setting('timezone')",
    set_wrongly: "set role no_such_role",
    sleep: "select pg_sleep(60)",
    end: "select pg_terminate_backend(pg_backend_pid())",
};

const MARIADB: Dialect<poolwarden::MySql> = Dialect {
    run: |connection, sql| Ok(connection.query_drop(sql)?),
    read: |connection, sql| Ok(connection.query_first(sql)?.ok_or("no row")?),
    set: "set time_zone = '+07:00'",
    setting: "select @@time_zone",
    set_wrongly: "set role no_such_role",
    sleep: "do sleep(60)",
    end: "kill connection_id()",
};

/// Runs a body on each installed server, over TCP and over a unix socket.
macro_rules! on_both {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            if pg::available() {
                let database = pg::shared().fresh_database();
                for url in [database.url(), database.unix_url()] {
                    $body(&Pg::new(url), &POSTGRES);
                }
            }
            if mariadb::available() {
                let database = mariadb::shared().fresh_database();
                for url in [database.url(), database.unix_url()] {
                    $body(&My::new(url), &MARIADB);
                }
            }
        }
    };
}

fn builder<D: Driver>(name: &str) -> poolwarden::Builder<D> {
    Pool::builder().max_size(2).ping_timeout(LONG).reset(Reset::Full).name(fresh_name(name))
}

fn for_its_caller<F: Variant>(variant: &F, dialect: &Dialect<F::Driver>) {
    let pool = builder("get_with").max_size(1).build(variant.driver()).expect("the server accepts");
    let mut plain = pool.get().expect("a connection");
    let default = (dialect.read)(&mut plain, dialect.setting).expect("an answer");
    drop(plain);
    let with = pool.get_with(|connection| (dialect.run)(connection, dialect.set));
    let mut connection = with.expect("a connection");
    let own = (dialect.read)(&mut connection, dialect.setting).expect("an answer");
    assert_ne!(own, default);
    drop(connection);
    let mut next = pool.get().expect("the same one");
    assert_eq!((dialect.read)(&mut next, dialect.setting).expect("an answer"), default);
    drop(next);
    let refused = pool.get_with(|connection| (dialect.run)(connection, dialect.set_wrongly));
    let error = refused.expect_err("there is no such role");
    assert_eq!(error.kind(), ErrorKind::Hook, "{error}");
    assert!(error.to_string().contains("no_such_role"), "{error}");
    assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0), "{}", pool.snapshot());
}

on_both!(get_with_prepares_the_session_for_its_caller_and_a_reset_undoes_it, for_its_caller);

fn lost_in_the_closure<F: Variant>(variant: &F, dialect: &Dialect<F::Driver>) {
    let pool = builder("get_with lost").build(variant.driver()).expect("the server accepts");
    let mut calls = 0;
    let with = pool.get_with(|connection| {
        calls += 1;
        if calls == 1 {
            let _ = (dialect.run)(connection, dialect.end);
        }
        (dialect.run)(connection, dialect.set)
    });
    F::ask(&mut with.expect("another connection")).expect("it works");
    assert_eq!((calls, pool.snapshot().opened), (2, 2), "{}", pool.snapshot());
}

on_both!(get_with_takes_another_connection_if_one_is_lost_in_its_closure, lost_in_the_closure);

/// An error that ends a session, as a server sends it.
const FATAL: &[u8] = b"E\0\0\0\x24SFATAL\0VFATAL\0C57P01\0Mby order\0\0";

#[test]
fn get_with_takes_another_connection_if_only_the_driver_knows_that_one_was_lost() {
    support::require!(postgres);
    let database = pg::shared().fresh_database();
    let proxy = Proxy::to_port(pg::shared().port());
    let variant = Pg::new(database.url_via(proxy.port()));
    let pool = builder("get_with told").build(variant.driver()).expect("the server accepts");
    let mut calls = 0;
    let with = pool.get_with(|client| {
        calls += 1;
        if calls == 1 {
            // The end of the connection itself has not arrived yet.
            proxy.apply(&Fault::Inject(FATAL.to_vec()));
            client.batch_execute("select 1").expect_err("the session has ended");
            return Err("it did not work");
        }
        Ok(())
    });
    Pg::ask(&mut with.expect("another connection")).expect("it works");
    assert_eq!((calls, pool.snapshot().opened), (2, 2), "{}", pool.snapshot());
}

fn at_each_check_out<F: Variant>(variant: &F, dialect: &Dialect<F::Driver>) {
    let (run, set) = (dialect.run, dialect.set);
    let pool =
        builder("on_checkout").max_size(1).on_checkout(move |connection| run(connection, set));
    let pool = pool.build(variant.driver()).expect("the server accepts");
    let mut first = pool.get().expect("a connection");
    let own = (dialect.read)(&mut first, dialect.setting).expect("an answer");
    drop(first);
    for _ in 0..3 {
        let mut next = pool.get().expect("a connection");
        assert_eq!((dialect.read)(&mut next, dialect.setting).expect("an answer"), own);
    }
    assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0), "{}", pool.snapshot());
}

on_both!(every_borrower_finds_what_on_checkout_has_set, at_each_check_out);

fn slow_hook<F: Variant>(variant: &F, dialect: &Dialect<F::Driver>) {
    let (run, sleep) = (dialect.run, dialect.sleep);
    let pool = Pool::builder().max_size(1).ping_timeout(Duration::from_millis(500));
    let pool = pool.on_checkout(move |connection| run(connection, sleep));
    let pool = pool.build_lazy(variant.driver()).expect("the options agree");
    let began = Instant::now();
    let error = pool.get().map(drop).expect_err("the hook sleeps");
    assert!(began.elapsed() < LONG, "after {:?}: {error}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Hook, "{error}");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Hook), 1, "{}", pool.snapshot());
}

on_both!(an_on_checkout_that_waits_for_the_server_ends_at_ping_timeout, slow_hook);

fn before_the_reset<F: Variant>(variant: &F, dialect: &Dialect<F::Driver>) {
    let (read, setting) = (dialect.read, dialect.setting);
    let pool = builder("on_checkin").on_checkin(move |connection| {
        match read(connection, setting).expect("an answer").contains('7') {
            true => CheckinAction::Close,
            false => CheckinAction::Keep,
        }
    });
    let pool = pool.build(variant.driver()).expect("the server accepts");
    drop(pool.get().expect("a connection"));
    assert_eq!(pool.snapshot().closed(), 0, "{}", pool.snapshot());
    let mut connection = pool.get().expect("a connection");
    (dialect.run)(&mut connection, dialect.set).expect("it is set");
    drop(connection);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Discarded), 1, "{}", pool.snapshot());
}

on_both!(on_checkin_sees_the_session_as_the_borrower_left_it, before_the_reset);

fn last_statement<F: Variant>(variant: &F, dialect: &Dialect<F::Driver>) {
    let run = dialect.run;
    let mut owner = variant.open().expect("a session");
    run(&mut owner, "drop table if exists left_behind").expect("it runs");
    run(&mut owner, "create table left_behind (n integer)").expect("it runs");
    let insert = "insert into left_behind values (1)";
    let pool = Pool::builder().max_size(2).close_grace(LONG);
    let pool = pool.before_close(move |connection| run(connection, insert).expect("it runs"));
    let pool = pool.build(variant.driver()).expect("the server accepts");
    crate::variant::fill(&pool);
    // A drop that is slow on a loaded computer is aborted; a unix socket cannot show that
    // the server has closed then, and the permit waits for the grace.
    let end = pool.close(LONG * 2);
    assert_eq!((end.levels.open, end.levels.closing, end.panics), (0, 0, 0), "{end}");
    let count = "select cast(count(*) as char(1)) from left_behind";
    assert_eq!((dialect.read)(&mut owner, count).expect("an answer"), "2");
}

on_both!(before_close_can_use_the_connection_once_more, last_statement);
