//! A connection that the kernel knows is dead is never handed out, and the pool
//! says why it died.

use crate::flavour::{
    Bare, Control, Flavour, My, Ours, Pg, Subject, fill, fill_and, fresh_name, herd,
};
use poolwarden::{CloseReason, Pool, Reset, Validation};
use std::time::Duration;
#[cfg(feature = "native-tls")]
use support::certificates::{self, Certificate};
use support::logs;
use support::script::mysql::FakeMysql;
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// Idle connections of each subject when the event comes.
pub const IDLE: u32 = 6;
const READY: Duration = Duration::from_secs(20);

/// What an event must leave in the books: why, and the server's code, if any.
pub type Verdict<'a> = (CloseReason, &'a str);

/// Waits until a server shows no session any more: a pool of the trial before may
/// still be opening one, and a unix socket is known only by being the only new one.
fn settle(sessions: impl Fn() -> usize) {
    assert!(eventually(READY, || sessions() == 0), "sessions are left over");
}

/// Does an event to three pools with idle connections, then lets 8 threads work:
/// ours and a bare r2d2 pool with our manager see no error, one without
/// validation does.
pub fn trial<F: Flavour>(flavour: &F, what: &str, event: impl FnOnce(), verdicts: &[Verdict<'_>]) {
    let log = logs::mark();
    let name = fresh_name(what);
    // A reset would undo the statement that a flavour runs late.
    let knobs = || Pool::builder().max_size(IDLE).reset(Reset::None);
    let pool = knobs().name(&name).build(flavour.driver());
    let ours: Ours<F> = Ours(pool.expect("the server is there"));
    fill_and(&ours.0, |connection| flavour.settle_in(connection));
    let manager = knobs().min_idle(IDLE).manager(flavour.driver());
    let manager = manager.expect("knobs agree");
    let bare: Bare<F> = Bare(manager.builder().build(manager).expect("the server is there"));
    bare.for_all(|connection| flavour.settle_in(connection));
    let control: Control<F> = Control::new(flavour, IDLE);
    control.for_all(|connection| flavour.settle_in(connection));
    event();
    let seen = herd(&control, 1, IDLE as usize);
    assert!(!seen.is_empty(), "{what}: the control saw nothing, so the test proves nothing");
    assert_eq!(herd(&ours, 8, 50), Vec::<String>::new(), "{what}: our pool");
    assert_eq!(herd(&bare, 8, 50), Vec::<String>::new(), "{what}: a bare r2d2 pool");
    assert_told(&ours, what, &name, &log, verdicts);
}

/// Each death is counted under its reason, and told once for the whole burst.
fn assert_told<F: Flavour>(
    ours: &Ours<F>,
    what: &str,
    name: &str,
    log: &logs::Mark,
    verdicts: &[Verdict<'_>],
) {
    // What idled at the bottom of the pool is found by the keeper.
    let all_found = eventually(Duration::from_secs(5), || {
        let books = ours.0.snapshot();
        let each_reason = verdicts.iter().all(|(reason, _)| books.closed_by(*reason) > 0);
        each_reason && books.closed() >= u64::from(IDLE)
    });
    assert!(all_found, "{what}: {}", ours.0.snapshot());
    let records = log.records_of("pool", name);
    for (reason, code) in verdicts {
        let lines: Vec<_> = records
            .iter()
            .filter(|record| record.field("reason") == Some(reason.as_str()))
            .collect();
        // A busy machine may stretch the burst beyond the second that one line is for.
        assert!((1..=2).contains(&lines.len()), "{what}, {reason}: {lines:#?}");
        assert_eq!(lines[0].target, "poolwarden");
        assert_eq!(lines[0].field("code"), Some(*code), "{what}");
        assert!(lines[0].message.contains(code), "{what}: {}", lines[0].message);
    }
}

fn postgres_events(via: impl Fn(&pg::Server, &str) -> Pg) {
    if pg::available() {
        postgres_events_on(&pg::Server::start(), via);
    }
}

fn postgres_events_on(server: &pg::Server, via: impl Fn(&pg::Server, &str) -> Pg) {
    let shutdown = (CloseReason::ServerShutdown, "57P01");
    let on = |db: &str| {
        settle(|| server.backends("").len());
        via(server, db)
    };
    let ready = || assert!(server.wait_ready(READY), "the server is back");
    let terminate = || assert!(server.terminate_all("postgres") >= IDLE as usize);
    trial(&on("postgres"), "terminate", terminate, &[shutdown]);
    trial(&on("postgres"), "fast restart", || (server.restart_fast(), ready()).1, &[shutdown]);
    let immediate = || {
        server.stop_immediate();
        server.start_again();
        ready();
    };
    trial(&on("postgres"), "immediate restart", immediate, &[shutdown]);
    let kill_one = || {
        let one = server.sql("postgres", ONE_CLIENT)[0][0].parse().expect("a pid");
        server.kill9_backend(one);
        ready();
    };
    trial(
        &on("postgres"),
        "kill -9 of a backend",
        kill_one,
        &[(CloseReason::ServerCrash, "57P02")],
    );
    let kill_all = || {
        server.kill9_postmaster();
        server.start_again();
        ready();
    };
    trial(&on("postgres"), "kill -9 of the postmaster", kill_all, &[shutdown]);
    server.create_database("victim");
    let force = || drop(server.sql("postgres", "DROP DATABASE victim WITH (FORCE)"));
    let force = || (force(), server.create_database("victim")).1;
    trial(&on("victim"), "drop database", force, &[shutdown]);
    // Set by each session when the pools have asked for the server's limits: they
    // would keep below it.
    let flavour = on("postgres").with_late_statement("set idle_session_timeout = '300ms'");
    let idle_out = || std::thread::sleep(Duration::from_millis(800));
    let idle = (CloseReason::ServerIdleTimeout, "57P05");
    trial(&flavour, "idle_session_timeout", idle_out, &[idle]);
}

/// A client's backend that is not this very psql.
const ONE_CLIENT: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
                          AND application_name = '' AND pid <> pg_backend_pid() LIMIT 1";

#[test]
fn no_postgres_connection_that_died_while_idle_is_handed_out_over_tcp() {
    postgres_events(|server, db| Pg::new(server.url("postgres", db)));
}

#[test]
fn no_postgres_connection_that_died_while_idle_is_handed_out_over_unix_sockets() {
    postgres_events(|server, db| Pg::new(server.unix_url("postgres", db)));
}

#[cfg(feature = "native-tls")]
#[test]
fn no_postgres_connection_that_died_while_idle_is_handed_out_over_tls() {
    if !pg::available() || !certificates::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.tls(Certificate::Right);
    });
    postgres_events_on(&server, |server, db| {
        Pg::new(server.url("postgres", db)).with_tls(crate::tls::full())
    });
}

fn mariadb_events(via: impl Fn(&mariadb::Database<'_>) -> My, idle_out: CloseReason) {
    if mariadb::available() {
        mariadb_events_on(&mariadb::Server::start(), via, idle_out);
    }
}

fn mariadb_events_on(
    server: &mariadb::Server,
    via: impl Fn(&mariadb::Database<'_>) -> My,
    idle_out: CloseReason,
) {
    let database = server.fresh_database();
    let on = || {
        settle(|| server.processlist().len());
        via(&database)
    };
    let closed = (CloseReason::ServerClosed, "");
    let ready = || assert!(server.wait_ready(READY), "the server is back");
    let kill_all = || assert!(database.kill_all() >= IDLE as usize);
    trial(&on(), "kill of all", kill_all, &[closed]);
    trial(&on(), "restart", || (server.restart(), ready()).1, &[closed]);
    let kill = || {
        server.kill9();
        server.start_again();
        ready();
    };
    trial(&on(), "kill -9", kill, &[closed]);
    // Set by each session when the pools have asked for the server's limits: they
    // would keep below it.
    let flavour = on().with_late_statement("set session wait_timeout = 1");
    let wait_out = || std::thread::sleep(Duration::from_millis(1_800));
    trial(&flavour, "wait_timeout", wait_out, &[(idle_out, "")]);
}

#[test]
fn no_mariadb_connection_that_died_while_idle_is_handed_out_over_tcp() {
    // MariaDB ends an idle TCP connection by a RST, without a word.
    mariadb_events(|database| My::new(database.url()), CloseReason::ConnectionReset);
}

#[cfg(feature = "native-tls")]
#[test]
fn no_mariadb_connection_that_died_while_idle_is_handed_out_over_tls() {
    if !mariadb::available() || !certificates::available() {
        return;
    }
    let server = mariadb::Server::with(|conf| {
        conf.tls(Certificate::Right);
    });
    let via =
        |database: &mariadb::Database<'_>| My::new(database.url()).with_tls(crate::tls::full());
    mariadb_events_on(&server, via, CloseReason::ConnectionReset);
}

#[test]
fn no_mariadb_connection_that_died_while_idle_is_handed_out_over_unix_sockets() {
    mariadb_events(|database| My::new(database.unix_url()), CloseReason::ServerClosed);
}

#[test]
fn mysqls_own_words_before_it_hangs_up_are_read_and_the_connection_is_not_handed_out() {
    let server = FakeMysql::start();
    let flavour = My::new(server.url());
    let name = fresh_name("4031");
    let log = logs::mark();
    let pool = Pool::builder().max_size(IDLE).name(&name).build(flavour.driver());
    let ours: Ours<My> = Ours(pool.expect("the fake server is there"));
    fill(&ours.0);
    let control = Control::new(&flavour, IDLE);
    assert_eq!(server.live(), 2 * IDLE as usize);
    server.time_out_clients();
    let seen = (0..IDLE).filter(|_| control.0.get().is_ok_and(|mut c| c.ping().is_err())).count();
    assert!(seen > 0, "the control saw nothing, so the test proves nothing");
    for _ in 0..50 {
        ours.0.get().expect("a connection").ping().expect("it is alive");
    }
    let said = (CloseReason::ServerIdleTimeout, "4031");
    assert_told(&ours, "4031", &name, &log, &[said]);
}

#[test]
fn a_dead_connection_is_handed_out_when_validation_is_off_and_never_otherwise() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let flavour = Pg::new(server.url("postgres", "postgres"));
    let with = |validation| {
        let pool = Pool::builder().max_size(1).validation(validation).build(flavour.driver());
        let ours: Ours<Pg> = Ours(pool.expect("the server is there"));
        server.terminate_all("postgres");
        ours.work()
    };
    assert!(with(Validation::Off).is_err());
    assert_eq!(with(Validation::Peek), Ok(()));
    assert_eq!(with(Validation::AlwaysPing), Ok(()));
}

#[test]
fn a_notification_on_an_idle_connection_is_no_reason_to_close_it() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let pool = Pool::builder().max_size(1).build(Pg::new(database.url()).driver()).expect("a pool");
    pool.get().expect("a connection").batch_execute("listen news").expect("it listens");
    database.sql("notify news, 'hello'");
    let mut connection = pool.get().expect("a connection");
    connection.execute("select 1", &[]).expect("it works");
    let mut notes = connection.notifications();
    let note = postgres::fallible_iterator::FallibleIterator::next(&mut notes.iter());
    assert_eq!(note.expect("no error").expect("a note").payload(), "hello");
    assert_eq!(pool.snapshot().closed(), 0);
}
