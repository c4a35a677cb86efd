//! Passwords that are rotated under load, and hooks that hang, panic and fail.

use crate::variant::{My, Pg, Variant};
use poolwarden::driver::{Driver, Phase};
use poolwarden::{BoxError, Credentials, ErrorKind, FaultClass, MySql, Pool, Postgres};
use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use support::script::serve;
use support::wait::{eventually, within};
use support::{mariadb, port, postgres as pg};

const SOON: Duration = Duration::from_secs(20);

/// A vault that has an application's current password.
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

    /// Changes the password on the server; a hook called meanwhile waits for the new one.
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

/// Set when dropped, also by a panic: threads that wait for it end.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Rotates twice while threads work and connections come and go.
fn rotate_under_load<F: Variant>(
    driver: impl Fn(&Vault) -> F::Driver,
    on_the_server: impl Fn(&str) + Copy,
) {
    let vault = Vault::new("first");
    // Connections come and go by `retire_all`. On a busy machine a log-in by SCRAM takes
    // seconds: with a short lifetime a connection would expire before its first use.
    let builder = Pool::builder().max_size(6);
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
        // Each time after enough work: a pool that retires faster than log-ins take
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
    F::ask(&mut held).expect("a connection of the first password stays open");
    F::ask(&mut patient.get().expect("the idle connection is handed out"))
        .expect("it stays usable");
    assert_eq!(patient.snapshot().opened, 1);
    // The control: the password was really changed.
    let outdated = Pool::builder().build(driver(&Vault::new("first"))).map(drop);
    let outdated = outdated.expect_err("the first password is refused by now");
    let fault = outdated.connect_error().map(|error| error.class());
    assert_eq!(fault, Some(FaultClass::Authentication), "{outdated}");
}

#[test]
fn postgres_passwords_are_rotated_under_load_without_an_error() {
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
fn mariadb_passwords_are_rotated_under_load_without_an_error() {
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
fn a_credentials_hook_may_set_the_user_and_overrides_the_configuration() {
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

/// Returns drivers to this port with this hook.
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

fn fails<D: Driver>(driver: D, wanted: FaultClass, source: &str) {
    let error = Pool::builder().build(driver).map(drop).expect_err("no credentials");
    assert_eq!(error.kind(), ErrorKind::Connect);
    let connect = error.connect_error().expect("an attempt failed");
    assert_eq!(connect.class(), wanted);
    assert_eq!(connect.source().expect("a source").to_string(), source);
}

#[test]
fn an_error_and_a_panic_of_the_hook_each_fail_one_attempt() {
    let closed = port::unused();
    let (pg, my) = hooked(closed, || Err("the vault is sealed".into()));
    fails(pg, FaultClass::Credentials, "the vault is sealed");
    fails(my, FaultClass::Credentials, "the vault is sealed");
    let (pg, my) = hooked(closed, || panic!("the vault is gone"));
    fails(pg, FaultClass::Panicked, "panicked: the vault is gone");
    fails(my, FaultClass::Panicked, "panicked: the vault is gone");
}

/// How long the hook takes.
const HANG: Duration = Duration::from_secs(3);

fn hangs<D: Driver>(driver: D, accepted: impl Fn() -> usize) {
    // On a loaded computer the attempt's thread may take long to start.
    let short = HANG / 6;
    let builder = Pool::builder().max_size(1).connect_timeout(short).checkout_timeout(short * 3);
    let pool = builder.build_lazy(driver).expect("the options agree");
    let (error, took) = within(SOON, || pool.get().map(drop).expect_err("the hook hangs"));
    assert!(took < HANG, "{took:?}");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    assert!(error.to_string().contains(&Phase::Authorising.to_string()), "{error}");
    // The hook returns too late: the attempt ends without a dial.
    assert!(eventually(SOON, || pool.snapshot().levels.pending == 0), "{}", pool.snapshot());
    assert_eq!(accepted(), 0);
}

#[test]
fn a_hanging_credentials_hook_delays_no_other_caller_and_after_the_deadline_no_dial_follows() {
    let listener = serve(|_| ());
    let asked = || {
        std::thread::sleep(HANG);
        Ok(Credentials::new("too late"))
    };
    let (pg, my) = hooked(listener.port(), asked);
    let accepted = || listener.accepted();
    std::thread::scope(|scope| {
        scope.spawn(|| hangs(pg, accepted));
        scope.spawn(|| hangs(my, accepted));
    });
}

#[test]
fn an_account_of_mariadb_with_ed25519_logs_in_and_a_wrong_password_is_refused() {
    support::require!(mariadb, mariadb_only);
    let server = mariadb::Server::start();
    server.sql("install soname 'auth_ed25519'");
    for host in ["%", "localhost"] {
        let user = format!("modern@'{host}'");
        server.sql(&format!("create user {user} identified via ed25519 using password('hush')"));
        server.sql(&format!("grant all on *.* to {user}"));
    }
    let url =
        |password: &str| server.url("mysql").replace("app:app@", &format!("modern:{password}@"));
    let pool =
        Pool::builder().build(MySql::new(&url("hush")).expect("a driver")).expect("it logs in");
    assert_eq!(pool.query::<i64>("select 1").expect("an answer"), [1]);
    let wrong = Pool::builder().build(MySql::new(&url("hushwrong")).expect("a driver"));
    let error = wrong.map(drop).expect_err("a wrong password");
    let fault = error.connect_error().map(|error| error.class());
    assert_eq!(fault, Some(FaultClass::Authentication), "{error}");
}

/// MariaDB's ed25519 denies one of 256 log-ins of the driver though the password is right.
#[test]
fn one_denied_log_in_is_repeated_after_each_that_succeeded() {
    support::require!(mariadb, mariadb_only);
    let server = mariadb::Server::start();
    let database = server.fresh_database();
    let denials = || {
        let status = server.sql("show global status like 'Access_denied_errors'");
        status[0][1].parse::<u64>().expect("a number")
    };
    let vault = Vault::new("wrong");
    let driver = MySql::new(&database.url()).expect("a driver").with_credentials(vault.hook());
    let pool = Pool::builder().max_size(1).build_lazy(driver).expect("a pool");
    // Returns how many more log-ins were denied than attempts failed.
    let fail = || {
        let before = (denials(), pool.snapshot().connect_attempts);
        // Between two attempts the pool reports the error of the last one.
        let failed = || pool.get().is_err() && pool.snapshot().connect_attempts > before.1;
        assert!(eventually(SOON, failed), "{}", pool.snapshot());
        assert!(eventually(SOON, || pool.snapshot().levels.pending == 0), "{}", pool.snapshot());
        let attempts = pool.snapshot().connect_attempts - before.1;
        (denials() - before.0) - attempts
    };
    assert_eq!([fail(), fail(), fail()], [1, 0, 0]);
    vault.rotate("app", |_| ());
    assert!(eventually(SOON, || pool.get().is_ok()), "{}", pool.snapshot());
    vault.rotate("wrong", |_| ());
    pool.retire_all();
    assert_eq!([fail(), fail()], [1, 0]);
}
