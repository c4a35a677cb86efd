//! haproxy in TCP mode, in front of PostgreSQL and of MariaDB.

use super::{SOON, assert_all_places, unnoticed};
use crate::dead_connections::{IDLE, trial};
use crate::variant::{My, Ours, Pg, Subject, Variant, run_threads};
use poolwarden::{CloseReason, ErrorKind, FaultClass, Pool};
use std::thread;
use std::time::{Duration, Instant};
use support::haproxy::Haproxy;
use support::wait::eventually;
use support::{mariadb, port, postgres as pg};

const SILENT_END: [(CloseReason, &str); 1] = [(CloseReason::ServerClosed, "")];

/// Returns the number of sessions in the test's own database.
type Sessions<'a> = &'a dyn Fn() -> usize;

/// Runs a body for each installed server: its port, and how to reach it through another.
macro_rules! behind_haproxy {
    ($(#[$doc:meta])* $name:ident, $body:expr) => {
        #[test]
        fn $name() {
            support::require!(haproxy);
            let postgres = || {
                let database = pg::shared().fresh_database();
                let sessions = || database.backends().len();
                $body(pg::shared().port(), |port| Pg::new(database.url_via(port)), &sessions);
            };
            let mariadb = || {
                let database = mariadb::shared().fresh_database();
                let sessions = || database.processlist().len();
                $body(mariadb::shared().port(), |port| My::new(database.url_via(port)), &sessions);
            };
            // Side by side: they wait most of the time.
            thread::scope(|scope| {
                pg::available().then(|| scope.spawn(postgres));
                mariadb::available().then(|| scope.spawn(mariadb));
            });
        }
    };
}

/// The same over TLS, which the proxy forwards unchanged.
#[cfg(feature = "native-tls")]
macro_rules! behind_haproxy_over_tls {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            use crate::tls::{available, full, tls_my, tls_pg};
            support::require!(haproxy);
            if !available() {
                return;
            }
            let postgres = || {
                let database = tls_pg().fresh_database();
                let via = |port| Pg::new(database.url_via(port)).with_tls(full());
                $body(tls_pg().port(), via, &|| database.backends().len());
            };
            let mariadb = || {
                let database = tls_my().fresh_database();
                let via = |port| My::new(database.url_via(port)).with_tls(full());
                $body(tls_my().port(), via, &|| database.processlist().len());
            };
            // Side by side: they wait most of the time.
            thread::scope(|scope| {
                scope.spawn(postgres);
                scope.spawn(mariadb);
            });
        }
    };
}

fn all_gone(sessions: Sessions<'_>) {
    let gone = eventually(SOON * 3, || sessions() == 0);
    assert!(gone, "{} sessions are left", sessions());
}

fn idled_out<F: Variant>(server: u16, via: impl Fn(u16) -> F, sessions: Sessions<'_>) {
    // Longer than the trial's work takes on a loaded computer: a connection that is opened in
    // it must not time out in it.
    for timeout in ["timeout client 4s", "timeout server 4s"] {
        let haproxy = Haproxy::with(server, |conf| {
            // Otherwise it keeps the half that did not time out.
            conf.set(timeout).set("timeout client-fin 50ms").set("timeout server-fin 50ms");
        });
        let variant = via(haproxy.port());
        let silent = if timeout.contains("client") { variant.lost_client() } else { SILENT_END[0] };
        trial(&variant, timeout, || all_gone(sessions), &[silent]);
    }
}

behind_haproxy!(connections_that_haproxy_timed_out_are_not_handed_out, idled_out);
// The server's TLS close alert comes through the proxy: bytes lie in front of the FIN.
#[cfg(feature = "native-tls")]
behind_haproxy_over_tls!(
    encrypted_connections_that_haproxy_timed_out_are_not_handed_out,
    idled_out
);

fn shut_by_order<F: Variant>(server: u16, via: impl Fn(u16) -> F, sessions: Sessions<'_>) {
    let haproxy = Haproxy::with(server, |conf| {
        conf.server("on-marked-down shutdown-sessions");
    });
    let variant = via(haproxy.port());
    let down_and_up = || {
        haproxy.mark_down();
        all_gone(sessions);
        haproxy.mark_up();
    };
    trial(&variant, "marked down", down_and_up, &SILENT_END);
    all_gone(sessions);
    let shut = || (haproxy.shut_sessions(), all_gone(sessions)).1;
    trial(&variant, "shutdown sessions", shut, &SILENT_END);
    trial(&variant, "restart", || haproxy.restart(), &SILENT_END);
}

behind_haproxy!(connections_that_haproxy_shut_by_order_are_not_handed_out, shut_by_order);
#[cfg(feature = "native-tls")]
behind_haproxy_over_tls!(
    encrypted_connections_that_haproxy_shut_by_order_are_not_handed_out,
    shut_by_order
);

/// Its own checks mark a server down, and it closes the connections to it.
#[test]
fn no_caller_gets_an_error_if_haproxys_checks_mark_a_server_down() {
    support::require!(haproxy);
    support::require!(postgres);
    let server = pg::Server::start();
    let haproxy = Haproxy::with(server.port(), |conf| {
        conf.server("check inter 50ms fall 1 rise 1 on-marked-down shutdown-sessions");
    });
    assert!(eventually(SOON, || haproxy.server_is_up()));
    let restart = || {
        server.stop_fast();
        assert!(eventually(SOON, || !haproxy.server_is_up()));
        server.start_again();
        assert!(eventually(SOON, || haproxy.server_is_up()));
    };
    // The server's own message has come through in front of the FIN.
    let words = [(CloseReason::ServerShutdown, "57P01")];
    let variant = Pg::new(server.url_via(haproxy.port(), "postgres", "postgres"));
    trial(&variant, "down by check", restart, &words);
}

/// A pool without an open connection fails immediately: there is a proxy but no server.
fn closed_by_proxy<F: Variant>(variant: &F) -> Ours<F> {
    let ours: Ours<F> = Ours(Pool::builder().build_lazy(variant.driver()).expect("options agree"));
    let began = Instant::now();
    let error = ours.0.get().map(drop).expect_err("no server");
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}: {error}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
    let cause = error.connect_error().expect("a failed connect");
    assert_eq!(cause.class(), FaultClass::Hangup, "{cause:?}");
    for part in ["peer closed the connection unexpectedly", "(during the handshake"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    ours
}

fn not_noticed<F: Variant>(server: u16, via: impl Fn(u16) -> F, _: Sessions<'_>) {
    let haproxy = Haproxy::start(server);
    let variant = via(haproxy.port());
    // Open connections stay with the server; new ones do not reach it.
    let ours = unnoticed(&variant, "marked down", || haproxy.mark_down());
    let new = closed_by_proxy(&variant);
    haproxy.mark_up();
    assert!(eventually(SOON, || new.work().is_ok()), "{}", new.0.snapshot());
    drop((ours, new));
    drop(unnoticed(&variant, "reload", || haproxy.reload()));
    let old_gone = haproxy.wait_old_ones_stopped(SOON);
    assert!(old_gone, "the pool has closed its connections and their process serves on");
    let ours = unnoticed(&variant, "soft stop", || haproxy.stop_softly());
    let refused =
        Pool::builder().build(variant.driver()).map(drop).expect_err("it listens no more");
    let fault = refused.connect_error().map(|cause| cause.class());
    assert_eq!(fault, Some(FaultClass::Refused), "{refused}");
    drop(ours);
    assert!(haproxy.wait_stopped(SOON));
}

behind_haproxy!(what_haproxy_does_beside_open_connections_is_not_felt, not_noticed);

fn reloaded<F: Variant>(server: u16, via: impl Fn(u16) -> F, _: Sessions<'_>) {
    let haproxy = Haproxy::with(server, |conf| {
        conf.global("hard-stop-after 300ms");
    });
    let reload = || {
        haproxy.reload();
        assert!(haproxy.wait_old_ones_stopped(SOON));
    };
    trial(&via(haproxy.port()), "reload and hard stop", reload, &SILENT_END);
}

behind_haproxy!(a_reload_that_cuts_its_predecessors_sessions_costs_no_caller_an_error, reloaded);

/// The proxy accepts and closes: that is not an outage of the proxy, and is reported as
/// a hangup. Once the server is back callers are served without a new pool.
fn server_comes_back<F: Variant>(server: u16, via: impl Fn(u16) -> F, _: Sessions<'_>) {
    let nobody = port::unused();
    let haproxy = Haproxy::start(nobody);
    let ours = closed_by_proxy(&via(haproxy.port()));
    haproxy.admin(&format!("set server back/one addr 127.0.0.1 port {server}"));
    assert!(eventually(SOON, || ours.work().is_ok()), "{}", ours.0.snapshot());
    assert_all_places(&ours.0);
}

behind_haproxy!(
    a_server_that_is_down_behind_haproxy_is_told_and_its_return_is_seen,
    server_comes_back
);

fn proxy_comes_back<F: Variant>(server: u16, via: impl Fn(u16) -> F, _: Sessions<'_>) {
    let haproxy = Haproxy::start(server);
    let pool = Pool::builder().max_size(IDLE).build(via(haproxy.port()).driver());
    let ours: Ours<F> = Ours(pool.expect("the server accepts"));
    haproxy.stop();
    let error = ours.work().expect_err("the proxy is away");
    assert!(error.contains("connection refused"), "{error}");
    haproxy.start_again();
    assert!(eventually(SOON, || ours.work().is_ok()), "{}", ours.0.snapshot());
    assert_eq!(run_threads(&ours, 8, 20), Vec::<String>::new());
    assert_all_places(&ours.0);
}

behind_haproxy!(a_proxy_that_is_away_is_told_as_refused_and_its_return_is_seen, proxy_comes_back);
