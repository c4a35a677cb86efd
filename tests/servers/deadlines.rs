//! Every call returns by its deadline, whatever the server, the network or the resolver does.

use crate::variant::{My, Ours, Pg, Subject, Variant, fill};
use poolwarden::driver::Phase;
use poolwarden::{ErrorKind, MySql, Pool, PooledConnection, Postgres, Validation};
use std::io;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};
#[cfg(feature = "native-tls")]
use support::certificates::{self, Certificate};
use support::proxy::{Fault, Mode, Proxy};
use support::wait::eventually;
use support::{mariadb, postgres as pg, script};

const TIMEOUT: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_millis(1_500);
const SIZE: u32 = 4;

/// Checks out and returns the error, which must come in time.
fn refusal<D: poolwarden::driver::Driver>(pool: &Pool<D>) -> poolwarden::Error {
    let began = Instant::now();
    let error = pool.get_timeout(TIMEOUT).map(drop).expect_err("no connection can be opened");
    let took = began.elapsed();
    assert!(took <= LIMIT, "took {took:?}: {error}");
    error
}

/// Asserts that all permits can be taken at the same time: no slot is lost.
fn assert_all_places<D: poolwarden::driver::Driver>(pool: &Pool<D>, within: Duration) {
    let until = Instant::now() + within;
    let mut held: Vec<PooledConnection<D>> = Vec::new();
    while held.len() < pool.snapshot().levels.max_size as usize {
        match pool.get_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(connection) => held.push(connection),
            Err(error) if Instant::now() < until => drop(error),
            Err(error) => panic!("only {} permits: {error}", held.len()),
        }
    }
}

/// Freezes a server under a full pool of idle connections: every check-out ends
/// in time, and after the thaw the pool recovers by itself.
fn frozen<F: Variant>(variant: &F, freeze: impl Fn(), thaw: impl Fn()) {
    let builder = Pool::builder().max_size(SIZE).validation(Validation::AlwaysPing);
    let pool = builder.ping_timeout(Duration::from_millis(300)).build(variant.driver());
    let ours: Ours<F> = Ours(pool.expect("the server accepts"));
    fill(&ours.0);
    // A text statement leaves a message unsent that a plain drop would wait for.
    ours.work().expect("it works");
    // On a loaded computer a live server may have been silent for too long before.
    fill(&ours.0);
    let silent = || ours.0.snapshot().closed_by(poolwarden::CloseReason::PingTimeout);
    let before = silent();
    freeze();
    let first = refusal(&ours.0);
    assert_eq!(first.kind(), ErrorKind::CheckoutTimeout);
    assert_eq!(silent() - before, 1, "one silence condemns all: {}", ours.0.snapshot());
    for _ in 0..2 {
        let error = refusal(&ours.0);
        let reported = ["being opened", "confirm the close", "ping", "timed out"];
        let text = format!("{error}");
        assert!(reported.iter().any(|part| text.contains(part)), "no phase in: {text}");
    }
    thaw();
    let began = Instant::now();
    let served = eventually(Duration::from_secs(10), || ours.work().is_ok());
    let took = began.elapsed();
    assert!(served && took <= Duration::from_secs(2), "served {served} after {took:?}");
    assert_all_places(&ours.0, Duration::from_secs(10));
}

#[test]
fn a_frozen_postgres_delays_no_caller_beyond_its_deadline_and_loses_no_slot() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let variant = Pg::new(server.url("postgres", "postgres"));
    frozen(&variant, || server.freeze(), || server.thaw());
}

#[cfg(feature = "native-tls")]
#[test]
fn a_frozen_server_over_tls_delays_no_caller_beyond_its_deadline_and_loses_no_slot() {
    if !pg::available() || !pg::tls() || !mariadb::available() || !certificates::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    let variant = Pg::new(server.url("postgres", "postgres")).with_tls(crate::tls::full());
    frozen(&variant, || server.freeze(), || server.thaw());
    let server = mariadb::Server::with(|conf| {
        conf.tls(Certificate::Valid);
    });
    let variant = My::new(server.url("mysql")).with_tls(crate::tls::full());
    frozen(&variant, || server.freeze(), || server.thaw());
}

#[test]
fn a_frozen_postgres_over_a_unix_socket_delays_no_caller_beyond_its_deadline_and_loses_no_slot() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let variant = Pg::new(server.unix_url("postgres", "postgres"));
    frozen(&variant, || server.freeze(), || server.thaw());
}

#[test]
fn a_frozen_mariadb_delays_no_caller_beyond_its_deadline_and_loses_no_slot() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    frozen(&My::new(database.url()), || server.freeze(), || server.thaw());
    frozen(&My::new(database.unix_url()), || server.freeze(), || server.thaw());
}

/// A pool without an open connection whose connect hangs.
pub fn hanging<D: poolwarden::driver::Driver>(driver: D, phase: Phase) {
    let pool = Pool::builder().max_size(2).build_lazy(driver).expect("options agree");
    for _ in 0..2 {
        let error = refusal(&pool);
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
        assert!(error.to_string().contains(&phase.to_string()), "no {phase:?} in: {error}");
    }
}

/// The same with a connect timeout that is shorter than the caller's.
pub fn hanging_dial<D: poolwarden::driver::Driver>(driver: D, phase: Phase) {
    let builder = Pool::builder().max_size(2).connect_timeout(Duration::from_millis(400));
    let pool = builder.build_lazy(driver).expect("options agree");
    let patient = Duration::from_secs(20);
    let error = pool.get_timeout(patient).map(drop).expect_err("no connection can be opened");
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let cause = error.connect_error().expect("a failed connect");
    assert_eq!(cause.class(), poolwarden::FaultClass::TimedOut, "{cause:?}");
    assert_eq!(cause.phase(), Some(phase), "{cause:?}");
    let empty = eventually(Duration::from_secs(5), || {
        let books = pool.snapshot();
        books.levels.pending + books.levels.closing == 0
    });
    assert!(empty, "{}", pool.snapshot());
}

fn silent_port() -> (script::Script, u16) {
    let silent = script::serve(|stream| {
        let mut stream = stream;
        // Reads until the client gives up, and never answers.
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let port = silent.port();
    (silent, port)
}

#[test]
fn a_listener_that_accepts_and_never_answers_delays_no_caller_beyond_its_deadline() {
    let (_silent, port) = silent_port();
    let (pg, my) = (on_port_pg(port), on_port_my(port));
    hanging(pg.driver(), Phase::Handshaking);
    hanging(my.driver(), Phase::Handshaking);
    hanging_dial(pg.driver(), Phase::Handshaking);
    hanging_dial(my.driver(), Phase::Handshaking);
}

fn on_port_pg(port: u16) -> Pg {
    Pg::new(format!("postgres://nobody@127.0.0.1:{port}/nothing"))
}

fn on_port_my(port: u16) -> My {
    My::new(format!("mysql://nobody@127.0.0.1:{port}/nothing"))
}

#[test]
fn a_listener_with_a_full_backlog_delays_no_caller_beyond_its_deadline() {
    let proxy = Proxy::to_port(1);
    proxy.set_mode(Mode::FullBacklog);
    hanging(on_port_pg(proxy.port()).driver(), Phase::Connecting);
    hanging_dial(on_port_pg(proxy.port()).driver(), Phase::Connecting);
    let pool = Pool::builder().max_size(2).build_lazy(on_port_my(proxy.port()).driver());
    assert_eq!(refusal(&pool.expect("options agree")).kind(), ErrorKind::CheckoutTimeout);
}

#[test]
fn a_frozen_postmaster_delays_no_caller_beyond_its_deadline_and_serves_again_once_thawed() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let variant = Pg::new(server.url("postgres", "postgres"));
    let pool = Pool::builder().max_size(2).build_lazy(variant.driver()).expect("options agree");
    server.freeze_postmaster_only();
    let error = refusal(&pool);
    assert!(error.to_string().contains("handshake"), "{error}");
    server.thaw();
    let began = Instant::now();
    drop(pool.get().expect("the server accepts again"));
    assert!(began.elapsed() <= Duration::from_secs(2), "after {:?}", began.elapsed());
    assert_all_places(&pool, Duration::from_secs(5));
}

#[test]
fn a_mysql_server_that_sends_byte_by_byte_delays_no_caller_beyond_its_deadline() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let proxy = Proxy::to_port(mariadb::shared().port());
    proxy.set_mode(Mode::With(Fault::Throttle { bytes: 1, every: Duration::from_millis(500) }));
    let driver = || My::new(database.url_via(proxy.port())).driver();
    hanging(driver(), Phase::Handshaking);
    hanging_dial(driver(), Phase::Handshaking);
}

/// A resolver that answers after 6 s.
fn slow(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    sleep(Duration::from_secs(6));
    Ok(Vec::new())
}

#[test]
fn a_hanging_resolver_delays_no_caller_beyond_its_deadline() {
    let pg = || Postgres::new("postgres://nobody@db.test/nothing").expect("a driver");
    hanging(pg().with_resolver(slow), Phase::Resolving);
    hanging_dial(pg().with_resolver(slow), Phase::Resolving);
    let my = || MySql::new("mysql://nobody@db.test/nothing").expect("a driver");
    hanging(my().with_resolver(slow), Phase::Resolving);
    hanging_dial(my().with_resolver(slow), Phase::Resolving);
}

#[test]
fn idle_connections_of_a_frozen_server_cost_one_ping_timeout_in_all() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let builder = Pool::builder().max_size(8).validation(Validation::AlwaysPing);
    let driver = Pg::new(server.url("postgres", "postgres")).driver();
    let pool = builder.ping_timeout(Duration::from_millis(200)).build(driver);
    let pool = pool.expect("the server accepts");
    fill(&pool);
    let before = pool.snapshot().pings;
    server.freeze();
    refusal(&pool);
    let books = pool.snapshot();
    assert_eq!((books.pings - before, books.levels.idle), (1, 0), "{books}");
    server.thaw();
}
