//! pgbouncer in session and in transaction mode.

use super::{SOON, Simple, assert_all_places, unfelt};
use crate::dead::trial;
use crate::flavour::{Flavour, Ours, Pg, Subject, herd};
use poolwarden::{CloseReason, ConnectFault, ErrorKind, Pool, Validation};
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

    fn flavour(&self) -> Simple {
        Simple(Pg::new(self.bouncer.url(self.database.user(), self.database.name())))
    }

    /// Sends a command about our database: `PAUSE`, `KILL`.
    fn order(&self, command: &str) {
        self.bouncer.admin(&format!("{command} {}", self.database.name()));
    }

    fn clients(&self) -> (usize, usize) {
        self.bouncer.clients(self.database.name())
    }

    /// Ends the sessions behind it, and waits until their clients know.
    fn terminate(&self) {
        assert!(self.database.terminate_all() > 0);
        self.no_clients();
    }

    /// Gives it these time-outs from now on; a loaded computer may take long to open
    /// connections that idle meanwhile.
    fn time_out(&self, names: &[&str], seconds: &str) {
        self.bouncer.reload(|conf| {
            for name in names {
                conf.set(name, seconds);
            }
        });
    }

    /// Lets all idle clients go for having idled.
    fn idle_out(&self) {
        self.time_out(&["client_idle_timeout"], "1");
        self.no_clients();
        self.time_out(&["client_idle_timeout"], "0");
    }

    fn no_clients(&self) {
        assert!(eventually(SOON, || self.clients().0 == 0), "{:?}", self.clients());
    }

    fn pool(&self, size: u32) -> Ours<Simple> {
        let pool = Pool::builder().max_size(size).checkout_timeout(SOON);
        Ours(pool.build(self.flavour().driver()).expect("it is there"))
    }
}

#[test]
fn connections_that_ended_with_pgbouncer_are_not_handed_out() {
    support::require!(pgbouncer);
    for mode in MODES {
        let behind = Behind::start(mode, |_| ());
        let silent = [(CloseReason::ServerClosed, "")];
        trial(&behind.flavour(), "pgbouncer's SIGTERM", || behind.bouncer.restart(), &silent);
        behind.no_clients();
        let kill = || {
            behind.bouncer.kill9();
            behind.bouncer.start_again();
        };
        trial(&behind.flavour(), "pgbouncer's SIGKILL", kill, &silent);
        behind.no_clients();
        let removed = [(CloseReason::ServerShutdown, "08P01")];
        let kill = || {
            behind.order("KILL");
            behind.order("RESUME");
        };
        trial(&behind.flavour(), "pgbouncer's KILL", kill, &removed);
    }
}

#[test]
fn clients_that_idled_too_long_for_pgbouncer_are_not_handed_out() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |_| ());
    let idle = [(CloseReason::ServerIdleTimeout, "08P01")];
    trial(&behind.flavour(), "client_idle_timeout", || behind.idle_out(), &idle);
}

/// pgbouncer's words are read from inside the TLS.
#[cfg(feature = "native-tls")]
#[test]
fn encrypted_connections_that_pgbouncer_ended_are_not_handed_out() {
    support::require!(pgbouncer);
    if !crate::tls::available() {
        return;
    }
    let behind = Behind::start(Mode::Transaction, |conf| {
        conf.tls(support::certificates::Certificate::Right);
    });
    let flavour = Simple(behind.flavour().0.with_tls(crate::tls::full()));
    let idle = [(CloseReason::ServerIdleTimeout, "08P01")];
    trial(&flavour, "client_idle_timeout over TLS", || behind.idle_out(), &idle);
    behind.no_clients();
    let silent = [(CloseReason::ServerClosed, "")];
    trial(&flavour, "pgbouncer's SIGTERM over TLS", || behind.bouncer.restart(), &silent);
    behind.no_clients();
    let removed = [(CloseReason::ServerShutdown, "08P01")];
    let kill = || (behind.order("KILL"), behind.order("RESUME")).1;
    trial(&flavour, "pgbouncer's KILL over TLS", kill, &removed);
}

#[test]
fn a_backend_that_ended_behind_pgbouncer_in_session_mode_is_known_by_its_own_words() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Session, |_| ());
    let shutdown = [(CloseReason::ServerShutdown, "57P01")];
    let terminate = || behind.terminate();
    trial(&behind.flavour(), "terminate behind pgbouncer", terminate, &shutdown);
}

#[test]
fn what_pgbouncer_changes_behind_an_idle_client_is_not_felt() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |_| ());
    let flavour = behind.flavour();
    let no_server_connections = || {
        let gone = || behind.bouncer.server_connections(behind.database.name()) == 0;
        assert!(eventually(SOON, gone));
    };
    let terminate = || assert!(behind.database.terminate_all() > 0);
    drop(unfelt(&flavour, "terminate", terminate));
    drop(unfelt(&flavour, "PAUSE and RESUME", || {
        (behind.order("PAUSE"), behind.order("RESUME")).1
    }));
    drop(unfelt(&flavour, "RECONNECT", || behind.order("RECONNECT")));
    drop(unfelt(&flavour, "RELOAD", || {
        behind.time_out(&["server_lifetime", "server_idle_timeout"], "1");
        no_server_connections();
    }));
    let ours = unfelt(&flavour, "DISABLE", || behind.order("DISABLE"));
    let error = Pool::builder().build(flavour.driver()).map(drop).expect_err("it is disabled");
    let cause = error.source().expect("the words").to_string();
    assert!(error.to_string().contains("08P01"), "{error}: {cause}");
    behind.order("ENABLE");
    assert_all_places(&ours.0);
}

#[test]
fn in_session_mode_no_time_out_of_pgbouncer_strikes_a_client_with_a_session() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Session, |_| ());
    let idle = || {
        let all = ["client_idle_timeout", "server_lifetime", "server_idle_timeout"];
        behind.time_out(&all, "1");
        // Nothing happens, so there is nothing to wait for but the time.
        thread::sleep(Duration::from_millis(1_700));
        behind.time_out(&all, "0");
    };
    assert_all_places(&unfelt(&behind.flavour(), "time-outs", idle).0);
}

/// A statement that pgbouncer keeps waiting is served after the RESUME; where the
/// pool pings first, its caller is told by its own deadline, and no slot is lost.
#[test]
fn a_pause_of_pgbouncer_is_waited_for_and_a_ping_ends_at_its_deadline() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |_| ());
    let ours = behind.pool(2);
    let builder = Pool::builder().max_size(2).validation(Validation::AlwaysPing);
    let careful = builder.ping_timeout(Duration::from_millis(200)).build(behind.flavour().driver());
    let careful: Ours<Simple> = Ours(careful.expect("it is there"));
    behind.order("PAUSE");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| ours.work());
        assert!(eventually(SOON, || behind.clients().1 > 0), "nobody waits");
        let error = careful.0.get_timeout(Duration::from_millis(600)).map(drop);
        let error = error.expect_err("it is paused");
        assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
        let books = careful.0.snapshot();
        assert_eq!(books.closed_by(CloseReason::PingTimeout), 1, "{books}");
        assert!(!waiting.is_finished());
        behind.order("RESUME");
        assert_eq!(waiting.join().expect("no panic"), Ok(()));
    });
    assert_eq!(ours.0.snapshot().closed(), 0);
    assert!(eventually(SOON, || careful.work().is_ok()), "{}", careful.0.snapshot());
    assert_all_places(&ours.0);
    assert_all_places(&careful.0);
}

/// The driver loses the words in front of an end in part of the cases; ours do not.
#[test]
fn a_query_that_waited_too_long_in_pgbouncer_fails_with_pgbouncers_words() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |conf| {
        conf.set("default_pool_size", "1").set("query_wait_timeout", "1");
    });
    let ours = behind.pool(2);
    let mut only = ours.0.get().expect("a connection");
    only.batch_execute("begin").expect("it has the only session");
    let error = ours.0.batch_execute("select 1").expect_err("there is no other session");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let text = support::words::of(&error);
    assert!(text.contains("08P01") && text.contains("query_wait_timeout"), "{text}");
    only.batch_execute("commit").expect("it was not disturbed");
    drop(only);
    assert_eq!(ours.work(), Ok(()));
    assert_all_places(&ours.0);
}

#[test]
fn a_pgbouncer_that_is_full_is_waited_for_like_a_full_server() {
    support::require!(pgbouncer);
    let behind = Behind::start(Mode::Transaction, |conf| {
        conf.set("max_client_conn", "5");
    });
    let ours = behind.pool(10);
    assert_eq!(herd(&ours, 16, 30), Vec::<String>::new());
    let books = ours.0.snapshot();
    assert!(books.connect_failures > 0, "the test proves nothing: {books}");
    assert!(books.connect_failures <= 20, "a storm: {books}");
    // A pool that is new has not learned yet how much there is to have.
    let taken: Vec<_> = (0..5).map(|_| ours.0.get().expect("one of five")).collect();
    let other = Pool::builder().build_lazy(behind.flavour().driver()).expect("knobs agree");
    let error = other.get_timeout(Duration::from_millis(500)).map(drop).expect_err("it is full");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
    let cause = error.connect_error().unwrap_or_else(|| panic!("no refusal in: {error}"));
    assert_eq!((cause.fault(), cause.code()), (ConnectFault::Saturated, Some("08P01")));
    assert!(error.to_string().contains("max_client_conn"), "{error}");
    drop(taken);
}

/// Two ways into a transaction that the proxy or the server ends before its next
/// statement: the caller reads why, and the connection is not kept.
#[test]
fn a_transaction_that_was_ended_from_behind_fails_with_the_reason() {
    support::require!(pgbouncer);
    for mode in MODES {
        let behind = Behind::start(mode, |_| ());
        behind.database.sql("create table entry (n int); grant all on entry to public");
        let idle = || {
            behind.time_out(&["idle_transaction_timeout"], "1");
            behind.no_clients();
            behind.time_out(&["idle_transaction_timeout"], "0");
        };
        doomed(&behind, &idle, &["FATAL", "idle transaction timeout"]);
        doomed(&behind, &|| behind.terminate(), &["FATAL", "terminating connection"]);
    }
}

fn doomed(behind: &Behind, event: &dyn Fn(), words: &[&str]) {
    let ours = behind.pool(1);
    let outcome = ours.0.transaction(|tx| {
        tx.batch_execute("insert into entry values (1)")?;
        event();
        Ok(tx.batch_execute("insert into entry values (2)")?)
    });
    let error = outcome.expect_err("the transaction is over");
    assert_eq!(error.kind(), ErrorKind::Driver, "{error}");
    let text = support::words::of(&error);
    assert!(words.iter().all(|part| text.contains(part)), "no {words:?} in: {text}");
    assert_eq!(ours.work(), Ok(()));
    assert_eq!(behind.database.sql("select count(*) from entry"), [["0"]]);
    assert_all_places(&ours.0);
}

/// A new client is let in and hears of it only at its first question; a pool's is
/// the one for the server's limits.
#[test]
fn a_server_that_is_down_behind_pgbouncer_is_named_and_its_return_is_seen() {
    support::require!(pgbouncer);
    let server = pg::Server::start();
    let bouncer = Bouncer::with(&server, Mode::Transaction, |conf| {
        conf.set("query_wait_timeout", "1").set("server_login_retry", "1");
    });
    let flavour = Simple(Pg::new(bouncer.url("postgres", "postgres")));
    let pool = Pool::builder().max_size(2).checkout_timeout(SOON).build(flavour.driver());
    let ours: Ours<Simple> = Ours(pool.expect("it is there"));
    server.stop_fast();
    let error = ours.0.batch_execute("select 1").expect_err("it is down");
    let text = support::words::of(&error);
    assert!(text.contains("08P01") && text.contains("query_wait_timeout"), "{text}");
    let fresh = Pool::builder().build_lazy(flavour.driver()).expect("knobs agree");
    let began = Instant::now();
    let error = fresh.get().map(drop).expect_err("it is down");
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    let cause = error.connect_error().unwrap_or_else(|| panic!("no cause in: {error}"));
    assert_eq!((cause.fault(), cause.code()), (ConnectFault::NoServer, Some("08P01")), "{cause:?}");
    let text = support::words::of(&error);
    assert!(text.contains("cannot reach the server") && text.contains("login has been"), "{text}");
    server.start_again();
    assert!(eventually(SOON, || ours.work().is_ok()), "{}", ours.0.snapshot());
    assert!(eventually(SOON, || fresh.get().is_ok()), "{}", fresh.snapshot());
}
