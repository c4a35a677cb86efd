//! A PostgreSQL session is reset at check-in if its borrower has changed it, and only then.

use crate::variant::{Pg, Variant, fresh_name};
use poolwarden::{Error, ManagedConnection, Manager, Pool, Postgres, Snapshot};
use postgres::Client;
use r2d2::ManageConnection;
use std::io::Write;
use std::sync::Arc;
use support::postgres as pg;

/// Statements that change their session, and what is true in a session without the change.
const CHANGES: &[(&str, &str)] = &[
    ("set lock_timeout = '7s'", "current_setting('lock_timeout') = '0'"),
    ("SET SESSION lock_timeout TO '7s'", "current_setting('lock_timeout') = '0'"),
    ("/* route=pay */ set lock_timeout = '7s'", "current_setting('lock_timeout') = '0'"),
    ("begin; set lock_timeout = '7s'; commit", "current_setting('lock_timeout') = '0'"),
    (
        "begin; set local a.x = 'y'; set a.y = 'z'; commit",
        "coalesce(current_setting('a.y', true), '') = ''",
    ),
    ("begin; set lock_timeout = '7s'", "current_setting('lock_timeout') = '0'"),
    ("set app.x = 'y'", "coalesce(current_setting('app.x', true), '') = ''"),
    ("set time zone 'Asia/Tokyo'", "current_setting('timezone') <> 'Asia/Tokyo'"),
    ("set search_path = elsewhere", "current_setting('search_path') <> 'elsewhere'"),
    ("set client_encoding = 'LATIN1'", "current_setting('client_encoding') = 'UTF8'"),
    ("set names 'LATIN1'", "current_setting('client_encoding') = 'UTF8'"),
    ("set application_name = 'mine'", "current_setting('application_name') <> 'mine'"),
    ("set role USER", "current_setting('role') = 'none'"),
    ("set session authorization USER", "current_setting('role') = 'none'"),
    (
        "set session characteristics as transaction read only",
        "current_setting('default_transaction_read_only') = 'off'",
    ),
    ("select set_config('app.x', 'y', false)", "coalesce(current_setting('app.x', true), '') = ''"),
    (
        "select set_config(name, '7s', false) from pg_settings where name = 'lock_timeout'",
        "current_setting('lock_timeout') = '0'",
    ),
    (
        "update pg_settings set setting = '7000' where name = 'lock_timeout'",
        "current_setting('lock_timeout') = '0'",
    ),
    (
        "do $$ begin perform set_config('lock_timeout', '7s', false); end $$",
        "current_setting('lock_timeout') = '0'",
    ),
    ("reset lock_timeout", "true"),
    ("reset all", "true"),
    ("listen news", "not exists (select from pg_listening_channels())"),
    ("unlisten news", "true"),
    ("prepare p as select 1", "not exists (select from pg_prepared_statements where from_sql)"),
    (
        "prepare \"it's\" (int) as select $1; prepare q as select 2; deallocate q",
        "not exists (select from pg_prepared_statements where from_sql)",
    ),
    (
        "declare c cursor with hold for select 1",
        "not exists (select from pg_cursors where name = 'c')",
    ),
    ("create temp table scratch (n int)", NO_SCRATCH),
    ("CREATE TEMPORARY TABLE scratch AS SELECT 1 AS n", NO_SCRATCH),
    ("create local temp table scratch (n int)", NO_SCRATCH),
    ("create /* for now */ temp table scratch (n int)", NO_SCRATCH),
    ("select 1 as n into temp scratch", NO_SCRATCH),
    ("select 1 as n into temporary table scratch", NO_SCRATCH),
    ("create or replace temp view scratch as select 1 as n", NO_SCRATCH),
    ("create temp sequence scratch", NO_SCRATCH),
    ("create table pg_temp.scratch (n int)", NO_SCRATCH),
    ("explain analyze create temp table scratch as select 1 as n", NO_SCRATCH),
    ("select pg_advisory_lock(7)", NO_LOCK),
    ("select pg_try_advisory_lock_shared(7, 8)", NO_LOCK),
    ("begin; select pg_advisory_lock(7); rollback", NO_LOCK),
    ("discard temp", "true"),
    ("discard plans", "true"),
    ("discard sequences", "true"),
];

const NO_SCRATCH: &str =
    "not exists (select from pg_class where relname = 'scratch' and relpersistence = 't')";
const NO_LOCK: &str = "not exists (select from pg_locks where locktype = 'advisory' and \
                       pid = pg_backend_pid())";

/// A pool of one connection and its counters: ours, or r2d2's with our manager.
trait OnePool {
    fn borrow(&self, work: &mut dyn FnMut(&mut Client));
    fn counters(&self) -> Snapshot;
}

impl OnePool for Pool<Postgres> {
    fn borrow(&self, work: &mut dyn FnMut(&mut Client)) {
        work(&mut self.get().expect("a connection"));
    }

    fn counters(&self) -> Snapshot {
        self.snapshot()
    }
}

/// Our manager in a bare r2d2 pool, and beside it for its counters.
struct Bare(r2d2::Pool<Managed>, Arc<Manager<Postgres>>);

struct Managed(Arc<Manager<Postgres>>);

impl ManageConnection for Managed {
    type Connection = ManagedConnection<Postgres>;
    type Error = Error;

    fn connect(&self) -> Result<Self::Connection, Error> {
        self.0.connect()
    }

    fn is_valid(&self, connection: &mut Self::Connection) -> Result<(), Error> {
        self.0.is_valid(connection)
    }

    fn has_broken(&self, connection: &mut Self::Connection) -> bool {
        self.0.has_broken(connection)
    }
}

impl Bare {
    fn new(manager: Manager<Postgres>) -> Bare {
        let manager = Arc::new(manager);
        let pool = r2d2::Pool::builder().max_size(1).build(Managed(Arc::clone(&manager)));
        Bare(pool.expect("the server accepts"), manager)
    }
}

impl OnePool for Bare {
    fn borrow(&self, work: &mut dyn FnMut(&mut Client)) {
        work(&mut self.0.get().expect("a connection"));
    }

    fn counters(&self) -> Snapshot {
        self.1.snapshot()
    }
}

/// Over TCP and TLS, where the messages are seen, in our pool and in r2d2's.
fn where_messages_are_seen(test: impl Fn(&dyn OnePool, &str)) {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    both(&Pg::new(database.url()), |pool| test(pool, &quoted(database.user())));
    #[cfg(feature = "native-tls")]
    if crate::tls::available() {
        let database = crate::tls::tls_pg().fresh_database();
        let variant = Pg::new(database.url()).with_tls(crate::tls::full());
        both(&variant, |pool| test(pool, &quoted(database.user())));
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

fn both(variant: &Pg, test: impl Fn(&dyn OnePool)) {
    let builder = || Pool::builder().max_size(1).name(fresh_name("by need"));
    test(&builder().build(variant.driver()).expect("the server accepts"));
    let manager = builder().manager(variant.driver()).expect("the options agree");
    test(&Bare::new(manager));
}

/// Asserts that this holds in the session, and that asking costs no reset.
fn assert_holds(pool: &dyn OnePool, what: &str, after: &str) {
    let before = pool.counters().resets;
    pool.borrow(&mut |client| {
        let answer = client.query_one(&format!("select {what}"), &[]).expect("an answer");
        assert!(answer.get::<_, bool>(0), "after {after}");
    });
    assert_eq!(pool.counters().resets, before, "a question needs no reset");
}

#[test]
fn each_statement_that_changes_its_session_costs_one_reset_and_reaches_no_one() {
    where_messages_are_seen(|pool, user| {
        for (statement, clean) in CHANGES {
            let statement = statement.replace("USER", user);
            let before = pool.counters().resets;
            pool.borrow(&mut |client| client.batch_execute(&statement).expect("it runs"));
            assert_eq!(pool.counters().resets, before + 1, "{statement}");
            assert_holds(pool, clean, &statement);
        }
        assert_eq!((pool.counters().opened, pool.counters().closed()), (1, 0));
    });
}

#[test]
fn it_costs_a_reset_too_if_it_is_prepared_by_the_driver_and_run_later() {
    where_messages_are_seen(|pool, user| {
        for (statement, clean) in CHANGES.iter().filter(|(text, _)| !text.contains("; ")) {
            let statement = statement.replace("USER", user);
            let before = pool.counters().resets;
            // A cursor with hold is created at the end of a transaction.
            pool.borrow(&mut |client| {
                let (prepared, other) = (client.prepare(&statement), client.prepare("select 1"));
                let (prepared, other) = (prepared.expect("prepared"), other.expect("prepared"));
                client.execute(&other, &[]).expect("it runs");
                client.execute(&prepared, &[]).expect("it runs");
                client.execute(&other, &[]).expect("it runs");
            });
            assert_eq!(pool.counters().resets, before + 1, "{statement}");
            assert_holds(pool, clean, &statement);
        }
        assert_eq!((pool.counters().opened, pool.counters().closed()), (1, 0));
    });
}

#[test]
fn what_changes_no_session_costs_no_reset() {
    let harmless = [
        "select 1",
        "create table if not exists weather (temp int, city text)",
        "insert into weather (temp) values (1)",
        "select temp, city from weather",
        "update weather set temp = 2",
        "begin; set local lock_timeout = '1s'; set transaction read only; commit",
        "begin; set local time zone 'Asia/Tokyo'; rollback",
        "begin; declare c cursor for select 1; fetch c; close c; commit",
        "begin; set constraints all deferred; savepoint a; rollback to a; release a; commit",
        "select pg_advisory_xact_lock(7)",
        "select pg_try_advisory_xact_lock(7)",
        "notify news",
        "select current_setting('lock_timeout')",
        "show lock_timeout",
        "call nothing()",
        "explain select 1",
        "drop table weather",
    ];
    where_messages_are_seen(|pool, _| {
        let procedure = "create or replace procedure nothing() language sql as 'select 1'";
        pool.borrow(&mut |client| client.batch_execute(procedure).expect("it runs"));
        for statement in harmless {
            pool.borrow(&mut |client| client.batch_execute(statement).expect("it runs"));
            assert_eq!(pool.counters().resets, 0, "{statement}");
        }
        pool.borrow(&mut |client| {
            client.prepare("select set_config('app.x', 'y', false)").expect("prepared, not run");
        });
        assert_eq!(pool.counters().resets, 0, "nothing was run");
        pool.borrow(&mut |client| {
            let mut transaction = client.transaction().expect("it begins");
            transaction.execute("set local lock_timeout = '1s'", &[]).expect("it runs");
            transaction.commit().expect("it commits");
        });
        assert_eq!(pool.counters().resets, 0, "a transaction");
        pool.borrow(&mut |client| {
            let mut transaction = client.transaction().expect("it begins");
            let portal = transaction.bind("select 1", &[]).expect("a cursor");
            transaction.query_portal(&portal, 1).expect("rows");
            transaction.commit().expect("it commits");
        });
        assert_eq!(pool.counters().resets, 0, "a portal");
        pool.borrow(&mut |client| {
            client.batch_execute("create table if not exists n (n int)").expect("a table");
            let mut sink = client.copy_in("copy n from stdin").expect("a copy");
            sink.write_all(b"1\n").expect("a row");
            sink.finish().expect("the end");
            // The driver returns before the server has said that it is ready.
            client.batch_execute("").expect("it runs");
        });
        assert_eq!(pool.counters().resets, 0, "a copy");
        pool.borrow(&mut |client| client.batch_execute("drop table n").expect("it runs"));
        assert_eq!((pool.counters().opened, pool.counters().closed()), (1, 0));
    });
}

#[test]
fn a_parameter_that_a_function_has_set_is_seen_if_the_server_reports_it() {
    where_messages_are_seen(|pool, _| {
        let function = "create or replace function hidden() returns void language sql as
                        $$ select pg_catalog.set_config('timezone', 'Asia/Tokyo', false) $$";
        pool.borrow(&mut |client| client.batch_execute(function).expect("it runs"));
        let before = pool.counters().resets;
        pool.borrow(&mut |client| client.batch_execute("select hidden()").expect("it runs"));
        assert_eq!(pool.counters().resets, before + 1);
        assert_holds(pool, "current_setting('timezone') <> 'Asia/Tokyo'", "the function");
    });
}

#[test]
fn a_deallocated_statement_of_the_driver_closes_its_connection() {
    where_messages_are_seen(|pool, _| {
        for spoil in ["deallocate all", "discard all", "NAMED"] {
            let before = pool.counters().closed();
            pool.borrow(&mut |client| {
                let kept = client.prepare("select 7").expect("prepared");
                let sql = "select name from pg_prepared_statements where statement = 'select 7'";
                let name: String = client.query_one(sql, &[]).expect("it has a name").get(0);
                let named = format!("deallocate {name}");
                let spoil = if spoil == "NAMED" { &named } else { spoil };
                client.batch_execute(spoil).expect("it runs");
                drop(kept);
            });
            assert_eq!(pool.counters().closed(), before + 1, "{spoil}");
            assert_holds(pool, "true", spoil);
        }
    });
}

#[test]
fn init_is_no_change_and_runs_again_after_a_reset() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let init = "set lock_timeout = '9s'; listen init; prepare init as select 9; \
                create temp table scratch (n int); select pg_advisory_lock_shared(9)";
    let builder = || {
        let hook = move |client: &mut Client| Ok(client.batch_execute(init)?);
        Pool::builder().max_size(1).name(fresh_name("init by need")).init(hook)
    };
    let driver = || Pg::new(database.url()).driver();
    let pool = builder().build(driver()).expect("the server accepts");
    let manager = builder().manager(driver()).expect("the options agree");
    let bare = Bare::new(manager);
    let there = "current_setting('lock_timeout') = '9s' and \
                 exists (select from pg_listening_channels()) and \
                 exists (select from pg_prepared_statements where name = 'init') and \
                 exists (select from pg_class where relname = 'scratch') and \
                 exists (select from pg_locks where locktype = 'advisory' and \
                 pid = pg_backend_pid())";
    for pool in [&bare as &dyn OnePool, &pool] {
        assert_holds(pool, there, "the birth");
        for change in ["set lock_timeout = '1s'", "unlisten *", "deallocate init", "discard temp"] {
            let before = pool.counters().resets;
            pool.borrow(&mut |client| client.batch_execute(change).expect("it runs"));
            assert_eq!(pool.counters().resets, before + 1, "{change}");
            assert_holds(pool, there, change);
        }
        assert_eq!((pool.counters().opened, pool.counters().closed()), (1, 0));
    }
}

#[test]
fn over_a_unix_socket_nothing_is_seen_and_auto_only_rolls_back() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = Pool::builder().max_size(1).name(fresh_name("unseen"));
    let pool = pool.build(Pg::new(database.unix_url()).driver()).expect("the server accepts");
    pool.get().expect("a connection").batch_execute("set lock_timeout = '7s'").expect("it runs");
    pool.get().expect("a connection").batch_execute("begin").expect("it runs");
    let row = pool.query_one("select current_setting('lock_timeout')", &[]).expect("a row");
    assert_eq!(row.get::<_, &str>(0), "7s");
    assert_eq!((pool.snapshot().rolled_back, pool.snapshot().closed()), (1, 0));
}

#[test]
fn no_notification_that_a_borrower_did_not_read_reaches_the_next_one() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    for url in [database.url(), database.unix_url()] {
        let pool = Pool::builder().max_size(1).name(fresh_name("notified"));
        let pool = pool.build(Pg::new(url).driver()).expect("the server accepts");
        let notify = "listen news; notify news, 'one'; notify news, 'two'";
        let mut client = pool.get().expect("a connection");
        client.batch_execute(notify).expect("it runs");
        assert_eq!(client.notifications().len(), 2);
        drop(client);
        let mut client = pool.get().expect("the same connection");
        assert_eq!(client.notifications().len(), 0);
        client.batch_execute("unlisten *").expect("it runs");
        assert_eq!((pool.snapshot().opened, pool.snapshot().closed()), (1, 0));
    }
}
