//! A connection that the kernel knows is dead is never handed out, and the pool
//! reports the reason.

use crate::variant::{
    Bare, Control, My, Ours, Pg, Subject, Variant, fill, fill_and, fresh_name, run_threads,
};
use poolwarden::{Builder, CloseReason, Pool, Postgres, Reset, Validation};
use std::time::{Duration, Instant};
#[cfg(feature = "native-tls")]
use support::certificates::{self, Certificate};
use support::logs;
use support::mariadb::Product;
use support::script::mysql::FakeMysql;
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// The number of idle connections of each pool at the event.
pub const IDLE: u32 = 6;
const READY: Duration = Duration::from_secs(20);

/// The expected close reason of an event, and the server's code, if any.
pub type Verdict<'a> = (CloseReason, &'a str);

/// Waits until a server shows no session: a pool of the previous trial may
/// still be opening one, and a unix socket is known only by being the only new one.
fn settle(sessions: impl Fn() -> usize) {
    assert!(eventually(READY, || sessions() == 0), "sessions are left over");
}

/// Applies an event to three pools with idle connections, then lets 8 threads work:
/// ours and a bare r2d2 pool with our manager see no error, one without
/// validation does.
pub fn trial<F: Variant>(variant: &F, what: &str, event: impl FnOnce(), verdicts: &[Verdict<'_>]) {
    let log = logs::mark();
    let name = fresh_name(what);
    // A reset would undo the variant's late statement.
    let options = || Pool::builder().max_size(IDLE).reset(Reset::None);
    let pool = options().name(&name).build(variant.driver());
    let ours: Ours<F> = Ours(pool.expect("the server accepts"));
    fill_and(&ours.0, |connection| variant.prepare_idle(connection));
    let manager = options().min_idle(IDLE).manager(variant.driver());
    let manager = manager.expect("options agree");
    let bare: Bare<F> = Bare(manager.builder().build(manager).expect("the server accepts"));
    bare.for_all(|connection| variant.prepare_idle(connection));
    let control: Control<F> = Control::new(variant, IDLE);
    control.for_all(|connection| variant.prepare_idle(connection));
    event();
    let began = Instant::now();
    let seen = run_threads(&control, 1, IDLE as usize);
    assert!(!seen.is_empty(), "{what}: the control saw nothing, so the test proves nothing");
    assert_eq!(run_threads(&ours, 8, 50), Vec::<String>::new(), "{what}: our pool");
    assert_eq!(run_threads(&bare, 8, 50), Vec::<String>::new(), "{what}: a bare r2d2 pool");
    assert_told(&ours, (what, &name), &log, verdicts, began);
}

/// Each close is counted under its reason, and the burst, which follows the event, is logged once.
fn assert_told<F: Variant>(
    ours: &Ours<F>,
    (what, name): (&str, &str),
    log: &logs::Mark,
    verdicts: &[Verdict<'_>],
    event: Instant,
) {
    // The housekeeper finds the connections at the bottom of the pool.
    let all_found = eventually(Duration::from_secs(60), || {
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
        // A busy machine may stretch the burst beyond the second that one log line covers.
        let seconds = usize::try_from(event.elapsed().as_secs()).expect("a short time");
        assert!((1..=2 + seconds).contains(&lines.len()), "{what}, {reason}: {lines:#?}");
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
    // Set by each session after the pools have read the server's limits: they
    // would keep below it.
    let variant = on("postgres").with_late_statement("set idle_session_timeout = '300ms'");
    let idle_out = || std::thread::sleep(Duration::from_millis(800));
    let idle = (CloseReason::ServerIdleTimeout, "57P05");
    trial(&variant, "idle_session_timeout", idle_out, &[idle]);
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
    if !pg::available() || !pg::tls() || !certificates::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    postgres_events_on(&server, |server, db| {
        Pg::new(server.url("postgres", db)).with_tls(crate::tls::full())
    });
}

/// MariaDB ends an idle connection without a message, MySQL with error 4031.
fn mariadb_events(via: impl Fn(&mariadb::Database<'_>) -> My, silent: CloseReason) {
    if mariadb::available() {
        let idle_out = match mariadb::product() {
            Product::MariaDb => (silent, ""),
            Product::MySql => (CloseReason::ServerIdleTimeout, "4031"),
        };
        mariadb_events_on(&mariadb::Server::start(), via, idle_out);
    }
}

fn mariadb_events_on(
    server: &mariadb::Server,
    via: impl Fn(&mariadb::Database<'_>) -> My,
    idle_out: Verdict<'_>,
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
    // Set by each session after the pools have read the server's limits: they
    // would keep below it.
    let variant = on().with_late_statement("set session wait_timeout = 1");
    let wait_out = || std::thread::sleep(Duration::from_millis(1_800));
    trial(&variant, "wait_timeout", wait_out, &[idle_out]);
}

#[test]
fn no_mariadb_connection_that_died_while_idle_is_handed_out_over_tcp() {
    // MariaDB ends an idle TCP connection by a RST, without a message.
    mariadb_events(|database| My::new(database.url()), CloseReason::ConnectionReset);
}

#[cfg(feature = "native-tls")]
#[test]
fn no_mariadb_connection_that_died_while_idle_is_handed_out_over_tls() {
    if !mariadb::available() || !certificates::available() {
        return;
    }
    let server = mariadb::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    let via =
        |database: &mariadb::Database<'_>| My::new(database.url()).with_tls(crate::tls::full());
    // MySQL's message inside the TLS cannot be read: the driver expects the number that a
    // reply to a command would have, and discards it as out of sync (mysql 28.0.4).
    let silent = match mariadb::product() {
        Product::MariaDb => CloseReason::ConnectionReset,
        Product::MySql => CloseReason::ServerClosed,
    };
    mariadb_events_on(&server, via, (silent, ""));
}

#[test]
fn no_mariadb_connection_that_died_while_idle_is_handed_out_over_unix_sockets() {
    mariadb_events(|database| My::new(database.unix_url()), CloseReason::ServerClosed);
}

#[test]
fn mysqls_final_message_is_read_and_the_connection_is_not_handed_out() {
    let server = FakeMysql::start();
    let variant = My::new(server.url());
    let name = fresh_name("4031");
    let log = logs::mark();
    let pool = Pool::builder().max_size(IDLE).name(&name).build(variant.driver());
    let ours: Ours<My> = Ours(pool.expect("the fake server accepts"));
    fill(&ours.0);
    let control = Control::new(&variant, IDLE);
    assert_eq!(server.live(), 2 * IDLE as usize);
    server.time_out_clients();
    let began = Instant::now();
    let seen = (0..IDLE).filter(|_| control.0.get().is_ok_and(|mut c| c.ping().is_err())).count();
    assert!(seen > 0, "the control saw no dead connection");
    for _ in 0..50 {
        ours.0.get().expect("a connection").ping().expect("it is alive");
    }
    let said = (CloseReason::ServerIdleTimeout, "4031");
    assert_told(&ours, ("4031", &name), &log, &[said], began);
}

#[test]
fn a_dead_connection_is_handed_out_only_if_validation_is_off() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let variant = Pg::new(server.url("postgres", "postgres"));
    let with = |validation| {
        let pool = Pool::builder().max_size(1).validation(validation).build(variant.driver());
        let ours: Ours<Pg> = Ours(pool.expect("the server accepts"));
        server.terminate_all("postgres");
        ours.work()
    };
    assert!(with(Validation::Off).is_err());
    assert_eq!(with(Validation::Peek), Ok(()));
    assert_eq!(with(Validation::AlwaysPing), Ok(()));
    // The notice takes a moment.
    assert!((0..20).any(|_| with(Validation::Watch).is_ok()));
}

#[test]
fn a_notification_on_an_idle_connection_does_not_close_it() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let listen = |client: &mut postgres::Client| Ok(client.batch_execute("listen news")?);
    let build = |options: Builder<Postgres>| {
        options.max_size(1).build(Pg::new(database.url()).driver()).expect("a pool")
    };
    let by_init = build(Pool::builder().init(listen));
    let by_borrower = build(Pool::builder().reset(Reset::None));
    by_borrower.get().expect("a connection").batch_execute("listen news").expect("it listens");
    database.sql("notify news, 'hello'");
    for pool in [by_init, by_borrower] {
        let mut connection = pool.get().expect("a connection");
        connection.execute("select 1", &[]).expect("it works");
        let mut notes = connection.notifications();
        let note = postgres::fallible_iterator::FallibleIterator::next(&mut notes.iter());
        assert_eq!(note.expect("no error").expect("a note").payload(), "hello");
        assert_eq!(pool.snapshot().closed(), 0);
    }
}
