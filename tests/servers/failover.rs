//! A pool with `Role::Writable` follows the server that accepts writes.

use crate::variant::{fill, fresh_name, shared_my, shared_pg};
use poolwarden::driver::Driver;
use poolwarden::{
    CloseReason, Error, ErrorKind, FaultClass, MySql, Pool, Postgres, Role, Validation,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::proxy::{Mode, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const READY: Duration = Duration::from_secs(20);

/// The time within which writes must continue after a promotion.
const FOLLOWED: Duration = Duration::from_secs(2);

fn both(first: &pg::Server, second: &pg::Server, host: &str) -> String {
    let ports = (first.port(), second.port());
    format!("host={host},{host} port={},{} user=postgres dbname=postgres", ports.0, ports.1)
}

/// A primary with a table, and a standby that has it too.
fn pair() -> (pg::Server, pg::Server) {
    let primary = pg::Server::start();
    let standby = primary.standby();
    primary.sql("postgres", "create table notes (id bigserial primary key, n bigint)");
    assert!(standby.catches_up(&primary, READY), "the standby follows");
    (primary, standby)
}

fn writable(text: &str) -> Result<Pool<Postgres>, Error> {
    let options = Pool::builder().max_size(4).role(Role::Writable).name(fresh_name("writers"));
    options.build(Postgres::new(text)?)
}

#[test]
fn a_writable_pool_skips_a_standby() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let pool = writable(&both(&standby, &primary, "127.0.0.1")).expect("the second one");
    pool.execute("insert into notes (n) values (1)", &[]).expect("it accepts writes");
    let indifferent = Pool::builder()
        .build(Postgres::new(&both(&standby, &primary, "127.0.0.1")).expect("a driver"))
        .expect("the first one");
    let row = indifferent.query_one("select pg_is_in_recovery()", &[]).expect("an answer");
    assert!(row.get::<_, bool>(0), "without a role the first host is taken");

    let alone = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", standby.port());
    let error = writable(&alone).expect_err("no other host");
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!(error.connect_error().expect("why").class(), FaultClass::ReadOnly);
    assert!(error.to_string().contains("server is read-only"), "{error}");
}

/// Whether the server that the settings lead to is a standby; or why there is none.
fn leads_to_standby(text: &str, role: Role) -> Result<bool, FaultClass> {
    let options = Pool::builder().max_size(1).role(role).name(fresh_name("roles"));
    let pool = options.build(Postgres::new(text).expect("settings"));
    let pool = pool.map_err(|error| error.connect_error().expect("an attempt failed").class())?;
    let row = pool.query_one("select pg_is_in_recovery()", &[]).expect("an answer");
    Ok(row.get(0))
}

#[test]
fn sessions_have_the_attributes_that_libpqs_key_requires() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let primary_first = both(&primary, &standby, "127.0.0.1");
    let standby_first = both(&standby, &primary, "127.0.0.1");
    let only = |server: &pg::Server| {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port())
    };
    // The key's value, the hosts, and whether the session is on a standby.
    let table = [
        ("primary", &standby_first, Ok(false)),
        ("standby", &primary_first, Ok(true)),
        ("prefer-standby", &primary_first, Ok(true)),
        ("prefer-standby", &only(&primary), Ok(false)),
        ("read-write", &standby_first, Ok(false)),
        ("read-only", &primary_first, Ok(true)),
        ("primary", &only(&standby), Err(FaultClass::ReadOnly)),
        ("standby", &only(&primary), Err(FaultClass::NotStandby)),
    ];
    for (value, hosts, expected) in table {
        let text = format!("{hosts} target_session_attrs={value}");
        assert_eq!(leads_to_standby(&text, Role::Any), expected, "{value}");
    }
    // A primary that is read-only by default is still a primary, for libpq as well.
    primary.sql("postgres", "alter system set default_transaction_read_only = on");
    primary.sql("postgres", "select pg_reload_conf()");
    let read_only = || leads_to_standby(&only(&primary), Role::Writable).is_err();
    assert!(eventually(READY, read_only), "the setting takes effect");
    let text = format!("{} target_session_attrs=primary", only(&primary));
    assert_eq!(leads_to_standby(&text, Role::Any), Ok(false));
}

#[test]
fn a_pool_of_standbys_skips_a_primary_and_leaves_a_server_that_was_promoted() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let hosts = both(&primary, &standby, "127.0.0.1");
    assert_eq!(leads_to_standby(&hosts, Role::Standby), Ok(true));
    let pool = Pool::builder()
        .max_size(1)
        .role(Role::Standby)
        .validation(Validation::AlwaysPing)
        .build(Postgres::new(&hosts).expect("settings"))
        .expect("the second host");
    // A write by mistake is refused and costs no connection.
    let error = pool.execute("insert into notes (n) values (1)", &[]).expect_err("a standby");
    assert_eq!(error.fault().class(), FaultClass::ReadOnly);
    assert_eq!(pool.snapshot().closed(), 0);
    standby.promote();
    let gone = || pool.get().is_err();
    assert!(eventually(READY, gone), "{}", pool.snapshot());
    assert_eq!(pool.snapshot().closed_by(CloseReason::Promoted), 1, "{}", pool.snapshot());
    let error = pool.get().map(drop).expect_err("both are primaries");
    assert_eq!(error.connect_error().expect("why").class(), FaultClass::NotStandby, "{error}");
    assert!(error.to_string().contains("server is not a standby"), "{error}");
}

#[test]
fn a_pool_of_standbys_takes_only_a_read_only_mariadb() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let build = || {
        let options = Pool::builder().max_size(1).role(Role::Standby);
        options.build(MySql::new(&database.url()).expect("a driver"))
    };
    let error = build().expect_err("it accepts writes");
    let fault = error.connect_error().map(|error| error.class());
    assert_eq!(fault, Some(FaultClass::NotStandby), "{error}");
    server.set_global("read_only", 1);
    let pool = build().expect("it is read-only now");
    assert_eq!(pool.query::<i64>("select 1").expect("an answer"), [1]);
}

#[test]
fn writes_continue_within_two_seconds_after_a_promotion() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let pool = writable(&both(&primary, &standby, "127.0.0.1")).expect("the primary");
    let stop = AtomicBool::new(false);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let written = pool.execute("insert into notes (n) values (1)", &[]);
                    done.fetch_add(u64::from(written.is_ok()), SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        assert!(eventually(READY, || done.load(SeqCst) > 50), "writes before the failover");
        primary.stop_immediate();
        standby.promote();
        let promoted = Instant::now();
        let before = done.load(SeqCst);
        let followed = eventually(READY, || done.load(SeqCst) > before + 10);
        let took = promoted.elapsed();
        stop.store(true, SeqCst);
        assert!(followed && took < FOLLOWED, "writes went on after {took:?}");
    });
}

#[test]
fn one_refused_write_closes_all_connections_to_a_server_that_became_read_only() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let pool = writable(&both(&primary, &standby, "127.0.0.1")).expect("the primary");
    fill(&pool);
    // Made read-only without a restart, as a managed service does it: every session stays.
    primary.sql("postgres", "alter system set default_transaction_read_only = on");
    primary.sql("postgres", "select pg_reload_conf()");
    standby.promote();
    let refused =
        eventually(READY, || pool.execute("insert into notes (n) values (2)", &[]).is_err());
    assert!(refused, "the setting takes effect");
    // One refusal is enough: no other connection is used for a write.
    for _ in 0..20 {
        pool.execute("insert into notes (n) values (3)", &[]).expect("the new primary");
    }
    let closed = || pool.snapshot().closed_by(CloseReason::ReadOnly);
    assert!(eventually(READY, || closed() >= 1), "{}", pool.snapshot());
    let rows = standby.sql("postgres", "select count(*) from notes where n = 3");
    assert_eq!(rows, [["20"]]);
}

#[test]
fn a_writable_pool_refuses_a_read_only_mariadb_and_leaves_one_that_becomes_read_only() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    database.sql("create table notes (n bigint)");
    let driver = || MySql::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(4).role(Role::Writable).build(driver());
    let pool = pool.expect("it accepts writes");
    fill(&pool);
    server.set_global("read_only", 1);
    let error = pool.query_drop("insert into notes values (1)").expect_err("read-only");
    assert!(format!("{error:?}").contains("read"), "{error:?}");
    let error = pool.query_drop("insert into notes values (2)").expect_err("read-only");
    assert_eq!(error.connect_error().map(|e| e.class()), Some(FaultClass::ReadOnly), "{error:?}");
    assert!(
        eventually(READY, || pool.snapshot().closed_by(CloseReason::ReadOnly) == 4),
        "{}",
        pool.snapshot()
    );
    server.set_global("read_only", 0);
    assert!(
        eventually(READY, || pool.query_drop("insert into notes values (3)").is_ok()),
        "{}",
        pool.snapshot()
    );
}

#[test]
fn a_pool_without_a_role_keeps_a_connection_after_a_refused_write() {
    let Some((_, database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(MySql::new(&database.url()).expect("a driver"));
    let pool = pool.expect("the server accepts");
    pool.query_drop("start transaction read only").expect("it begins");
    assert_eq!(pool.snapshot().closed_by(CloseReason::ReadOnly), 0);
}

/// A first host that drops every byte costs one connection its share of the time,
/// and later ones nothing.
fn assert_passed_over<D: Driver>(driver: impl Fn(u16) -> D) {
    let total = Duration::from_secs(4);
    for mode in [Mode::Unresponsive, Mode::FullBacklog] {
        let silent = Proxy::to_port(1);
        silent.set_mode(mode.clone());
        let options = Pool::builder().max_size(4).connect_timeout(total);
        let began = Instant::now();
        let pool = options.build(driver(silent.port())).expect("the second host");
        let first = began.elapsed();
        assert!(first >= total * 9 / 20, "{mode:?}: half of the time, not {first:?}");
        assert!(first < total, "{mode:?}: {first:?}");
        let asked = silent.accepted();
        let began = Instant::now();
        fill(&pool);
        let others = began.elapsed();
        // Three connections that waited for the unresponsive host would take half of the time each.
        assert!(others < total, "{mode:?}: it is not waited for again: {others:?}");
        assert_eq!(silent.accepted(), asked, "{mode:?}: it is not even asked again");
    }
}

#[test]
fn an_unresponsive_host_leaves_time_for_the_next_one() {
    let postgres = || {
        let Some((_, database)) = shared_pg() else { return };
        assert_passed_over(|silent| {
            let (port, name) = (database.server().port(), database.name());
            let hosts = format!("host=127.0.0.1,127.0.0.1 port={silent},{port}");
            Postgres::new(&format!("{hosts} user={name} dbname={name}")).expect("a driver")
        });
    };
    let mariadb = || {
        let Some((_, database)) = shared_my() else { return };
        assert_passed_over(|silent| {
            let url = database.url_via(silent);
            let (before, after) = url.split_once(&silent.to_string()).expect("the port");
            let both = format!("{before}{silent},127.0.0.1:{}{after}", database.server().port());
            MySql::new(&both).expect("a driver")
        });
    };
    // Side by side: they wait most of the time.
    std::thread::scope(|scope| {
        scope.spawn(postgres);
        scope.spawn(mariadb);
    });
}

#[test]
fn a_writable_pool_skips_a_read_only_mariadb() {
    support::require!(mariadb);
    let (first, second) = (mariadb::Server::start(), mariadb::Server::start());
    for server in [&first, &second] {
        server.sql("create database notes; create table notes.notes (n bigint)");
        // Not an administrator: read_only does not apply to them.
        for host in ["%", "localhost"] {
            let name = format!("writer@'{host}'");
            server.sql(&format!("create user {name} identified by 'app'"));
            server.sql(&format!("grant all on notes.* to {name}"));
        }
    }
    first.set_global("read_only", 1);
    let url = first.url("notes").replace("app:app@", "writer:app@");
    let (before, after) = url.split_once(&first.port().to_string()).expect("the port");
    let both = format!("{before}{},127.0.0.1:{}{after}", first.port(), second.port());
    let options = Pool::builder().max_size(4).role(Role::Writable);
    let pool = options.build(MySql::new(&both).expect("a driver")).expect("the second host");
    pool.query_drop("insert into notes values (1)").expect("it accepts writes");
    // The servers swap roles: after a refused write the pool finds the other one.
    second.set_global("read_only", 1);
    first.set_global("read_only", 0);
    assert!(pool.query_drop("insert into notes values (2)").is_err());
    for _ in 0..5 {
        pool.query_drop("insert into notes values (3)").expect("the first host");
    }
    let count = |server: &mariadb::Server| server.sql("select count(*) from notes.notes");
    assert_eq!((count(&first), count(&second)), (vec![vec!["5".into()]], vec![vec!["1".into()]]));
}
