//! A pool that wants to write follows the server that takes writes.

use crate::flavour::{fill, fresh_name, shared_my, shared_pg};
use poolwarden::{
    CloseReason, ConnectFault, Driver, Error, ErrorKind, MySql, Pool, Postgres, Role,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::proxy::{Mode, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const READY: Duration = Duration::from_secs(20);

/// How soon writes go on after a promotion.
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
    let knobs = Pool::builder().max_size(4).role(Role::Writable).name(fresh_name("writers"));
    knobs.build(Postgres::new(text)?)
}

#[test]
fn a_pool_that_wants_to_write_passes_over_a_standby() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let pool = writable(&both(&standby, &primary, "127.0.0.1")).expect("the second one");
    pool.execute("insert into notes (n) values (1)", &[]).expect("it takes writes");
    let indifferent = Pool::builder()
        .build(Postgres::new(&both(&standby, &primary, "127.0.0.1")).expect("a driver"))
        .expect("the first one");
    let row = indifferent.query_one("select pg_is_in_recovery()", &[]).expect("an answer");
    assert!(row.get::<_, bool>(0), "without a role the first host is taken");

    let alone = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", standby.port());
    let error = writable(&alone).expect_err("no other host");
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!(error.connect_error().expect("why").fault(), ConnectFault::ReadOnly);
    assert!(error.to_string().contains("takes no writes"), "{error}");
}

#[test]
fn writes_go_on_within_two_seconds_after_a_promotion() {
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
fn connections_to_a_server_that_became_read_only_are_closed_with_their_siblings() {
    support::require!(postgres);
    let (primary, standby) = pair();
    let pool = writable(&both(&primary, &standby, "127.0.0.1")).expect("the primary");
    fill(&pool);
    // Demoted in place, as a managed service does it: every session stays.
    primary.sql("postgres", "alter system set default_transaction_read_only = on");
    primary.sql("postgres", "select pg_reload_conf()");
    standby.promote();
    let refused =
        eventually(READY, || pool.execute("insert into notes (n) values (2)", &[]).is_err());
    assert!(refused, "the setting takes hold");
    // One refusal is enough: none of its siblings is used for another.
    for _ in 0..20 {
        pool.execute("insert into notes (n) values (3)", &[]).expect("the new primary");
    }
    let closed = || pool.snapshot().closed_by(CloseReason::ReadOnly);
    assert!(eventually(READY, || closed() >= 1), "{}", pool.snapshot());
    let rows = standby.sql("postgres", "select count(*) from notes where n = 3");
    assert_eq!(rows, [["20"]]);
}

#[test]
fn a_read_only_mariadb_is_refused_and_a_pool_leaves_one_that_becomes_so() {
    support::require!(mariadb);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    database.sql("create table notes (n bigint)");
    let driver = || MySql::new(&database.url()).expect("a driver");
    let pool = Pool::builder().max_size(4).role(Role::Writable).build(driver());
    let pool = pool.expect("it takes writes");
    fill(&pool);
    server.set_global("read_only", 1);
    let error = pool.query_drop("insert into notes values (1)").expect_err("read-only");
    assert!(format!("{error:?}").contains("read"), "{error:?}");
    let error = pool.query_drop("insert into notes values (2)").expect_err("read-only");
    assert_eq!(error.connect_error().map(|e| e.fault()), Some(ConnectFault::ReadOnly), "{error:?}");
    assert!(eventually(READY, || pool.snapshot().closed_by(CloseReason::ReadOnly) == 4));
    server.set_global("read_only", 0);
    assert!(eventually(READY, || pool.query_drop("insert into notes values (3)").is_ok()));
}

#[test]
fn a_pool_without_a_role_keeps_the_connection_that_was_refused_a_write() {
    let Some((_, database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(1).build(MySql::new(&database.url()).expect("a driver"));
    let pool = pool.expect("the server is there");
    pool.query_drop("start transaction read only").expect("it begins");
    assert_eq!(pool.snapshot().closed_by(CloseReason::ReadOnly), 0);
}

/// A first host that swallows every byte costs one connection its share of the time,
/// and later ones nothing.
fn assert_passed_over<D: Driver>(driver: impl Fn(u16) -> D) {
    for mode in [Mode::Deaf, Mode::FullBacklog] {
        let silent = Proxy::to_port(1);
        silent.set_mode(mode.clone());
        let knobs = Pool::builder().max_size(4).connect_timeout(Duration::from_secs(2));
        let began = Instant::now();
        let pool = knobs.build(driver(silent.port())).expect("the second host");
        let first = began.elapsed();
        assert!(first >= Duration::from_millis(900), "{mode:?}: half of the time, not {first:?}");
        assert!(first < Duration::from_secs(2), "{mode:?}: {first:?}");
        let began = Instant::now();
        fill(&pool);
        let others = began.elapsed();
        assert!(
            others < Duration::from_millis(900),
            "{mode:?}: it is not waited for again: {others:?}"
        );
    }
}

#[test]
fn a_host_that_does_not_answer_leaves_time_for_the_next() {
    if let Some((_, database)) = shared_pg() {
        assert_passed_over(|silent| {
            let (port, name) = (database.server().port(), database.name());
            let hosts = format!("host=127.0.0.1,127.0.0.1 port={silent},{port}");
            Postgres::new(&format!("{hosts} user={name} dbname={name}")).expect("a driver")
        });
    }
    if let Some((_, database)) = shared_my() {
        assert_passed_over(|silent| {
            let url = database.url_via(silent);
            let (before, after) = url.split_once(&silent.to_string()).expect("the port");
            let both = format!("{before}{silent},127.0.0.1:{}{after}", database.server().port());
            MySql::new(&both).expect("a driver")
        });
    }
}

#[test]
fn a_pool_that_wants_to_write_passes_over_a_read_only_mariadb() {
    support::require!(mariadb);
    let (first, second) = (mariadb::Server::start(), mariadb::Server::start());
    for server in [&first, &second] {
        server.sql("create database notes; create table notes.notes (n bigint)");
        // No administrator: to one of those read_only means nothing.
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
    let knobs = Pool::builder().max_size(4).role(Role::Writable);
    let pool = knobs.build(MySql::new(&both).expect("a driver")).expect("the second host");
    pool.query_drop("insert into notes values (1)").expect("it takes writes");
    // They change places: whoever is refused a write finds the other one.
    second.set_global("read_only", 1);
    first.set_global("read_only", 0);
    assert!(pool.query_drop("insert into notes values (2)").is_err());
    for _ in 0..5 {
        pool.query_drop("insert into notes values (3)").expect("the first host");
    }
    let count = |server: &mariadb::Server| server.sql("select count(*) from notes.notes");
    assert_eq!((count(&first), count(&second)), (vec![vec!["5".into()]], vec![vec!["1".into()]]));
}
