//! pgbouncer in session and in transaction mode.

use super::{SOON, Simple, assert_all_places, unnoticed};
use crate::dead_connections::trial;
use crate::variant::{Ours, Pg, Subject, Variant, run_threads};
use poolwarden::{CloseReason, ErrorKind, FaultClass, Pool, Validation};
use std::error::Error as _;
use std::thread;
use std::time::{Duration, Instant};
use support::pgbouncer::{Bouncer, Conf, Mode};
use support::postgres as pg;
use support::wait::eventually;

const MODES: [Mode; 2] = [Mode::Session, Mode::Transaction];

/// A pgbouncer in front of the shared server, for a database of its own.
struct Behind {
    database: pg::Database<'static>,
    bouncer: Bouncer,
}

impl Behind {
    fn start(mode: Mode, configure: impl FnOnce(&mut Conf)) -> Behind {
        let database = pg::shared().fresh_database();
        let bouncer = Bouncer::with(pg::shared(), mode, |conf| {
            conf.set("default_pool_size", "40");
            configure(conf);
        });
        Behind { database, bouncer }
    }

    fn variant(&self) -> Simple {
        Simple(Pg::new(self.bouncer.url(self.database.user(), self.database.name())))
    }

    /// Sends a command about our database: `PAUSE`, `KILL`.
    fn command(&self, command: &str) {
        self.bouncer.admin(&format!("{command} {}", self.database.name()));
    }

    fn clients(&self) -> (usize, usize) {
        self.bouncer.clients(self.database.name())
    }

    /// Ends the server sessions behind it, and waits until their clients are closed.
    fn terminate(&self) {
        assert!(self.database.terminate_all() > 0);
        self.wait_for_no_clients();
    }

    /// Sets these timeouts from now on; a loaded computer may take long to open
    /// connections that idle meanwhile.
    fn set_timeouts(&self, names: &[&str], seconds: &str) {
        self.bouncer.reload(|conf| {
            for name in names {
                conf.set(name, seconds);
            }
        });
    }

    /// Has it close all idle clients by their idle timeout.
    fn close_idle_clients(&self) {
        self.set_timeouts(&["client_idle_timeout"], "1");
        self.wait_for_no_clients();
        self.set_timeouts(&["client_idle_timeout"], "0");
    }

    fn wait_for_no_clients(&self) {
        assert!(eventually(SOON, || self.clients().0 == 0), "{:?}", self.clients());
    }

    fn pool(&self, size: u32) -> Ours<Simple> {
        let pool = Pool::builder().max_size(size).checkout_timeout(SOON);
        Ours(pool.build(self.variant().driver()).expect("the server accepts"))
    }
}

#[test]
fn connections_to_a_stopped_pgbouncer_are_not_handed_out() {
    support::require!(pgbouncer);
    for mode in MODES {
        let behind = Behind::start(mode, |_| ());
        let silent = [(CloseReason::ServerClosed, "")];
        trial(&behind.variant(), "pgbouncer's SIGTERM", || behind.bouncer.restart(), &silent);
        behind.wait_for_no_clients();
        let kill = || {
            behind.bouncer.kill9();
            behind.bouncer.start_again();
        };
        trial(&behind.variant(), "pgbouncer's SIGKILL", kill, &silent);
        behind.wait_for_no_clients();
        let removed = [(CloseReason::ServerShutdown, "08P01")];
        let kill = || {
            behind.command("KILL");
            behind.command("RESUME");
        };
        trial(&behind.variant(), "pgbouncer's KILL", kill, &removed);
    }
}

#[test]
fn connections_that_pgbouncer_closed_as_idle_are_not_handed_out() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |_| ());
    let idle = [(CloseReason::ServerIdleTimeout, "08P01")];
    trial(&behind.variant(), "client_idle_timeout", || behind.close_idle_clients(), &idle);
}

/// pgbouncer's message is read from inside the TLS.
#[cfg(feature = "native-tls")]
#[test]
fn encrypted_connections_that_pgbouncer_ended_are_not_handed_out() {
    support::require!(pgbouncer);
    if !crate::tls::available() {
        return;
    }
    let behind = Behind::start(Mode::Transaction, |conf| {
        conf.tls(support::certificates::Certificate::Valid);
    });
    let variant = Simple(behind.variant().0.with_tls(crate::tls::full()));
    let idle = [(CloseReason::ServerIdleTimeout, "08P01")];
    trial(&variant, "client_idle_timeout over TLS", || behind.close_idle_clients(), &idle);
    behind.wait_for_no_clients();
    let silent = [(CloseReason::ServerClosed, "")];
    trial(&variant, "pgbouncer's SIGTERM over TLS", || behind.bouncer.restart(), &silent);
    behind.wait_for_no_clients();
    let removed = [(CloseReason::ServerShutdown, "08P01")];
    let kill = || (behind.command("KILL"), behind.command("RESUME")).1;
    trial(&variant, "pgbouncer's KILL over TLS", kill, &removed);
}

#[test]
fn a_backend_that_ended_behind_pgbouncer_in_session_mode_is_closed_with_its_own_message() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Session, |_| ());
    let shutdown = [(CloseReason::ServerShutdown, "57P01")];
    let terminate = || behind.terminate();
    trial(&behind.variant(), "terminate behind pgbouncer", terminate, &shutdown);
}

#[test]
fn no_borrower_notices_a_server_connection_that_pgbouncer_replaced() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |_| ());
    let variant = behind.variant();
    let no_server_connections = || {
        let gone = || behind.bouncer.server_connections(behind.database.name()) == 0;
        assert!(eventually(SOON, gone));
    };
    let terminate = || assert!(behind.database.terminate_all() > 0);
    drop(unnoticed(&variant, "terminate", terminate));
    drop(unnoticed(&variant, "PAUSE and RESUME", || {
        (behind.command("PAUSE"), behind.command("RESUME")).1
    }));
    drop(unnoticed(&variant, "RECONNECT", || behind.command("RECONNECT")));
    drop(unnoticed(&variant, "RELOAD", || {
        behind.set_timeouts(&["server_lifetime", "server_idle_timeout"], "1");
        no_server_connections();
    }));
    let ours = unnoticed(&variant, "DISABLE", || behind.command("DISABLE"));
    let error = Pool::builder().build(variant.driver()).map(drop).expect_err("it is disabled");
    let cause = error.source().expect("the message").to_string();
    assert!(error.to_string().contains("08P01"), "{error}: {cause}");
    behind.command("ENABLE");
    assert_all_places(&ours.0);
}

#[test]
fn in_session_mode_no_timeout_of_pgbouncer_closes_a_client_with_a_session() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Session, |_| ());
    let idle = || {
        let all = ["client_idle_timeout", "server_lifetime", "server_idle_timeout"];
        behind.set_timeouts(&all, "1");
        // No event happens: the test can only wait.
        thread::sleep(Duration::from_millis(1_700));
        behind.set_timeouts(&all, "0");
    };
    assert_all_places(&unnoticed(&behind.variant(), "timeouts", idle).0);
}

/// A statement that pgbouncer keeps waiting is served after the RESUME; where the
/// pool pings first, its caller fails at its own deadline, and no slot is lost.
#[test]
fn a_caller_waits_for_a_paused_pgbouncer_and_a_ping_ends_at_its_deadline() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |_| ());
    let ours = behind.pool(2);
    let builder = Pool::builder().max_size(2).validation(Validation::AlwaysPing);
    let careful = builder.ping_timeout(Duration::from_millis(200)).build(behind.variant().driver());
    let careful: Ours<Simple> = Ours(careful.expect("the server accepts"));
    behind.command("PAUSE");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ours.work());
        assert!(eventually(SOON, || behind.clients().1 > 0), "no client waits");
        let error = careful.0.get_timeout(Duration::from_millis(600)).map(drop);
        let error = error.expect_err("it is paused");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
        let books = careful.0.snapshot();
        assert_eq!(books.closed_by(CloseReason::PingTimeout), 1, "{books}");
        assert!(!waiting.is_finished());
        behind.command("RESUME");
        assert_eq!(waiting.join().expect("no panic"), Ok(()));
    });
    assert_eq!(ours.0.snapshot().closed(), 0);
    assert!(eventually(SOON, || careful.work().is_ok()), "{}", careful.0.snapshot());
    assert_all_places(&ours.0);
    assert_all_places(&careful.0);
}

/// The driver loses the message in front of a FIN in some cases; the pool does not.
#[test]
fn a_query_that_waited_too_long_in_pgbouncer_fails_with_pgbouncers_message() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |conf| {
        // Long enough for the first connection to read the limits on a loaded computer.
        conf.set("default_pool_size", "1").set("query_wait_timeout", "4");
    });
    let ours = behind.pool(2);
    let mut only = ours.0.get().expect("a connection");
    only.batch_execute("begin").expect("it has the only session");
    let error = ours.0.batch_execute("select 1").expect_err("there is no other session");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let text = support::error_text::chain(&error);
    assert!(text.contains("08P01") && text.contains("query_wait_timeout"), "{text}");
    only.batch_execute("commit").expect("it was not disturbed");
    drop(only);
    assert_eq!(ours.work(), Ok(()));
    assert_all_places(&ours.0);
}

#[test]
fn a_caller_waits_for_a_saturated_pgbouncer_as_for_a_saturated_server() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |conf| {
        conf.set("max_client_conn", "5");
    });
    let ours = behind.pool(10);
    assert_eq!(run_threads(&ours, 16, 30), Vec::<String>::new());
    let books = ours.0.snapshot();
    assert!(books.connect_failures > 0, "no attempt failed: {books}");
    assert!(books.connect_failures <= 20, "too many attempts: {books}");
    // A new pool does not know yet how many connections it can get.
    let taken: Vec<_> = (0..5).map(|_| ours.0.get().expect("one of five")).collect();
    let other = Pool::builder().build_lazy(behind.variant().driver()).expect("options agree");
    let error = other.get_timeout(Duration::from_millis(500)).map(drop).expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
    let cause = error.connect_error().unwrap_or_else(|| panic!("no refusal in: {error}"));
    assert_eq!((cause.class(), cause.code()), (FaultClass::Saturated, Some("08P01")));
    assert!(error.to_string().contains("max_client_conn"), "{error}");
    drop(taken);
}

/// Two kinds of transactions that the proxy or the server ends before their next
/// statement: the caller's error has the reason, and the connection is not kept.
#[test]
fn a_transaction_that_was_ended_implicitly_fails_with_the_reason() {
    support::require!(pgbouncer);
    for mode in MODES {
        let behind = Behind::start(mode, |_| ());
        behind.database.sql("create table entry (n int); grant all on entry to public");
        let idle = || {
            behind.set_timeouts(&["idle_transaction_timeout"], "1");
            behind.wait_for_no_clients();
            behind.set_timeouts(&["idle_transaction_timeout"], "0");
        };
        assert_fails_with(&behind, &idle, &["FATAL", "idle transaction timeout"]);
        assert_fails_with(&behind, &|| behind.terminate(), &["FATAL", "terminating connection"]);
    }
}

fn assert_fails_with(behind: &Behind, event: &dyn Fn(), words: &[&str]) {
    let ours = behind.pool(1);
    let outcome = ours.0.transaction(|tx| {
        tx.batch_execute("insert into entry values (1)")?;
        event();
        Ok(tx.batch_execute("insert into entry values (2)")?)
    });
    let error = outcome.expect_err("the transaction is over");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let text = support::error_text::chain(&error);
    assert!(words.iter().all(|part| text.contains(part)), "no {words:?} in: {text}");
    assert_eq!(ours.work(), Ok(()));
    assert_eq!(behind.database.sql("select count(*) from entry"), [["0"]]);
    assert_all_places(&ours.0);
}

/// A new client is accepted and gets the error only for its first query; a pool's is
/// the one for the server's limits.
#[test]
fn a_server_that_is_down_behind_pgbouncer_is_reported_and_its_recovery_is_noticed() {
    support::require!(pgbouncer);
    let server = pg::Server::start();
    let bouncer = Bouncer::with(&server, Mode::Transaction, |conf| {
        conf.set("query_wait_timeout", "1").set("server_login_retry", "1");
    });
    let variant = Simple(Pg::new(bouncer.url("postgres", "postgres")));
    let pool = Pool::builder().max_size(2).checkout_timeout(SOON).build(variant.driver());
    let ours: Ours<Simple> = Ours(pool.expect("the server accepts"));
    server.stop_fast();
    let error = ours.0.batch_execute("select 1").expect_err("it is down");
    let text = support::error_text::chain(&error);
    assert!(text.contains("08P01") && text.contains("query_wait_timeout"), "{text}");
    let fresh = Pool::builder().build_lazy(variant.driver()).expect("options agree");
    let began = Instant::now();
    let error = fresh.get().map(drop).expect_err("it is down");
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    let cause = error.connect_error().unwrap_or_else(|| panic!("no cause in: {error}"));
    assert_eq!((cause.class(), cause.code()), (FaultClass::NoServer, Some("08P01")), "{cause:?}");
    let text = support::error_text::chain(&error);
    assert!(text.contains("cannot reach its server") && text.contains("login has been"), "{text}");
    server.start_again();
    assert!(eventually(SOON, || ours.work().is_ok()), "{}", ours.0.snapshot());
    assert!(eventually(SOON, || fresh.get().is_ok()), "{}", fresh.snapshot());
}
