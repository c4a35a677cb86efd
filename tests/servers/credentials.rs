//! Passwords that are rotated under load, and hooks that hang, panic and fail.

use crate::flavour::{Flavour, My, Pg};
use poolwarden::{
    BoxError, ConnectFault, Credentials, Driver, ErrorKind, MySql, Phase, Pool, Postgres,
};
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use support::script::serve;
use support::wait::{eventually, within};
use support::{mariadb, port, postgres as pg};

const SOON: Duration = Duration::from_secs(20);

/// Where an application gets the password of the moment from.
#[derive(Clone)]
struct Vault(Arc<Mutex<String>>);

impl Vault {
    fn new(password: &str) -> Vault {
        Vault(Arc::new(Mutex::new(password.to_owned())))
    }

    fn hook(&self) -> impl Fn() -> Result<Credentials, BoxError> + Send + Sync + 'static {
        let vault = self.clone();
        move || {
            let password = vault.0.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(Credentials::new(password.as_str()))
        }
    }

    /// Changes the password on the server; who asks meanwhile waits for the new one.
    fn rotate(&self, password: &str, on_the_server: impl Fn(&str)) {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        on_the_server(password);
        password.clone_into(&mut current);
    }
}

/// Ends the work when it is dropped, also by a panic: a scope waits for its threads.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Raised when dropped, also by a panic: threads that wait for it end.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Rotates twice while threads work and connections come and go.
fn rotate_under_load<F: Flavour>(
    driver: impl Fn(&Vault) -> F::Driver,
    on_the_server: impl Fn(&str) + Copy,
) {
    let vault = Vault::new("first");
    // Not shorter: on a busy machine a log-in by SCRAM takes its time, too.
    let builder = Pool::builder().max_size(6).max_lifetime(Duration::from_secs(3));
    let pool = builder.build(driver(&vault)).expect("the first password");
    let patient = Pool::builder().max_size(1).build(driver(&vault)).expect("the first password");
    let mut held = pool.get().expect("a connection");
    let over = AtomicBool::new(false);
    let worked = AtomicU32::new(0);
    let errors = std::thread::scope(|scope| {
        let work = || {
            let mut errors = Vec::new();
            while !over.load(SeqCst) {
                let outcome = pool.get().map_err(|error| format!("{error:?}"));
                match outcome.and_then(|mut connection| F::ask(&mut connection)) {
                    Ok(()) => drop(worked.fetch_add(1, SeqCst)),
                    Err(error) => errors.push(error),
                }
            }
            errors
        };
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        let stop = Stop(&over);
        let _over_at_last = Flag(&over);
        // Each time after enough was done: whoever retires faster than log-ins take
        // on a busy machine gets no connection at all.
        let churn = || {
            for _ in 0..3 {
                pool.retire_all();
                let done = worked.load(SeqCst) + 20;
                let enough = || worked.load(SeqCst) >= done;
                assert!(eventually(SOON * 3, enough), "{}", pool.snapshot());
            }
        };
        churn();
        for password in ["second", "third"] {
            vault.rotate(password, on_the_server);
            churn();
        }
        drop(stop);
        let ended = workers.into_iter().map(|worker| worker.join().expect("no panic"));
        ended.flatten().collect::<Vec<_>>()
    });
    assert_eq!(errors, [""; 0]);
    F::ask(&mut held).expect("a connection of the first password lives on");
    F::ask(&mut patient.get().expect("idle all the while")).expect("and so does an idle one");
    assert_eq!(patient.snapshot().opened, 1);
    // The control: it was really changed.
    let outdated = Pool::builder().build(driver(&Vault::new("first"))).map(drop);
    let outdated = outdated.expect_err("the first password is refused by now");
    let fault = outdated.connect_error().map(|error| error.fault());
    assert_eq!(fault, Some(ConnectFault::Authentication), "{outdated}");
}

#[test]
fn postgres_passwords_are_rotated_under_load_and_nobody_notices() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all rotating 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE rotating LOGIN PASSWORD 'first'");
    let url = format!("postgres://rotating@127.0.0.1:{}/postgres", server.port());
    rotate_under_load::<Pg>(
        |vault| Postgres::new(&url).expect("a URL").with_credentials(vault.hook()),
        |password| {
            server.sql("postgres", &format!("ALTER ROLE rotating PASSWORD '{password}'"));
        },
    );
}

#[test]
fn mariadb_passwords_are_rotated_under_load_and_nobody_notices() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::start();
    server.sql("CREATE USER rotating IDENTIFIED BY 'first'");
    let url = format!("mysql://rotating@127.0.0.1:{}/", server.port());
    rotate_under_load::<My>(
        |vault| MySql::new(&url).expect("a URL").with_credentials(vault.hook()),
        |password| {
            server.sql(&format!("ALTER USER rotating IDENTIFIED BY '{password}'"));
        },
    );
}

#[test]
fn a_hook_may_name_the_user_too_and_wins_over_the_configuration() {
    if !pg::available() || !mariadb::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.hba("host all other 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", "CREATE ROLE other LOGIN PASSWORD 'right'");
    let other = || Ok(Credentials::new("right").for_user("other"));
    let url = format!("postgres://postgres:wrong@127.0.0.1:{}/postgres", server.port());
    let driver = Postgres::new(&url).expect("a URL").with_credentials(other);
    let pool = Pool::builder().build(driver).expect("the hook's user");
    let row = pool.query_one("select current_user::text", &[]).expect("an answer");
    assert_eq!(row.get::<_, String>(0), "other");

    let server = mariadb::Server::start();
    server.sql("CREATE USER other IDENTIFIED BY 'right'");
    let url = format!("mysql://nobody:wrong@127.0.0.1:{}/", server.port());
    let driver = MySql::new(&url).expect("a URL").with_credentials(other);
    let pool = Pool::builder().build(driver).expect("the hook's user");
    let user: Option<String> = pool.query_first("select current_user()").expect("an answer");
    assert_eq!(user.as_deref(), Some("other@%"));
}

/// A driver to this port whose hook does this.
fn hooked<H>(port: u16, hook: H) -> (Postgres, MySql)
where
    H: Fn() -> Result<Credentials, BoxError> + Clone + Send + Sync + 'static,
{
    let (pg, my) =
        (format!("postgres://u@127.0.0.1:{port}/d"), format!("mysql://u@127.0.0.1:{port}/d"));
    (
        Postgres::new(&pg).expect("a URL").with_credentials(hook.clone()),
        MySql::new(&my).expect("a URL").with_credentials(hook),
    )
}

fn fails<D: Driver>(driver: D, wanted: ConnectFault, source: &str) {
    let error = Pool::builder().build(driver).map(drop).expect_err("no credentials");
    assert_eq!(error.kind(), ErrorKind::Connect);
    let connect = error.connect_error().expect("an attempt failed");
    assert_eq!(connect.fault(), wanted);
    assert_eq!(connect.source().expect("a source").to_string(), source);
}

#[test]
fn an_error_and_a_panic_of_the_hook_each_fail_one_attempt() {
    let closed = port::unused();
    let (pg, my) = hooked(closed, || Err("the vault is sealed".into()));
    fails(pg, ConnectFault::Credentials, "the vault is sealed");
    fails(my, ConnectFault::Credentials, "the vault is sealed");
    let (pg, my) = hooked(closed, || panic!("the vault is gone"));
    fails(pg, ConnectFault::Panicked, "panicked: the vault is gone");
    fails(my, ConnectFault::Panicked, "panicked: the vault is gone");
}

fn hangs<D: Driver>(driver: D, accepted: impl Fn() -> usize) {
    let (short, hang) = (Duration::from_millis(150), Duration::from_millis(600));
    let builder = Pool::builder().max_size(1).connect_timeout(short).checkout_timeout(short * 2);
    let pool = builder.build_lazy(driver).expect("the knobs agree");
    let (error, took) = within(SOON, || pool.get().map(drop).expect_err("the hook hangs"));
    assert!(took < hang, "{took:?}");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(error.to_string().contains(&Phase::Authorising.to_string()), "{error}");
    // It returns, too late: the attempt ends, and nothing was dialled for it.
    assert!(eventually(SOON, || pool.snapshot().pending == 0), "{}", pool.snapshot());
    assert_eq!(accepted(), 0);
}

#[test]
fn a_hook_that_hangs_delays_nobody_and_past_the_deadline_nothing_is_dialled() {
    let listener = serve(|_| ());
    let asked = || {
        std::thread::sleep(Duration::from_millis(700));
        Ok(Credentials::new("too late"))
    };
    let (pg, my) = hooked(listener.port(), asked);
    hangs(pg, || listener.accepted());
    hangs(my, || listener.accepted());
}
