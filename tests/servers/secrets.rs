//! No secret is ever printed: a marker password is configured in every way,
//! every fault happens, and no output shows it.

use poolwarden::driver::{Driver, FromSettings};
use poolwarden::observe::{Closed, Opened};
use poolwarden::{
    ConnectError, Credentials, Error, Manager, MySql, Observer, Pool, PoolOptions, Postgres,
    Settings,
};
use std::error::Error as StdError;
use std::fmt::Debug;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use support::script::serve;
use support::{logs, mariadb, port, postgres as pg};

const MARKER: &str = "Sw0rdf1sh";

/// Checks all output; keeps the texts that show the marker.
#[derive(Clone, Default)]
struct LeakDetector(Arc<Mutex<Findings>>);

#[derive(Default)]
struct Findings {
    seen: usize,
    leaks: Vec<String>,
}

impl LeakDetector {
    fn check(&self, what: &str, text: &str) {
        let mut caught = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caught.seen += 1;
        if text.contains(MARKER) {
            caught.leaks.push(format!("{what}: {text}"));
        }
    }

    fn debug(&self, what: &str, value: &impl Debug) {
        self.check(what, &format!("{value:?}"));
        self.check(what, &format!("{value:#?}"));
    }

    /// An error with its whole chain of causes.
    fn error(&self, what: &str, error: &(dyn StdError + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.check(what, &error.to_string());
            self.debug(what, &error);
            next = error.source();
        }
    }

    fn pool_error(&self, what: &str, error: &Error) {
        self.error(what, error);
        self.debug(what, error);
        if let Some(connect) = error.connect_error() {
            self.error(what, connect);
            self.debug(what, connect);
            self.debug(what, &connect.code());
        }
    }

    fn assert_no_leak(&self, at_least: usize) {
        let caught = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(caught.leaks, [""; 0]);
        assert!(caught.seen >= at_least, "only {} texts were looked at", caught.seen);
    }
}

impl Observer for LeakDetector {
    fn opened(&self, event: &Opened<'_>) {
        self.debug("opened", event);
    }

    fn connect_failed(&self, pool: &str, error: &ConnectError) {
        self.check("connect_failed", pool);
        self.error("connect_failed", error);
    }

    fn closed(&self, event: &Closed<'_>) {
        self.debug("closed", event);
    }

    fn timed_out(&self, pool: &str, waited: Duration) {
        self.check("timed_out", &format!("{pool} {waited:?}"));
    }
}

/// Uses a driver in a pool and in a manager, and checks all that they print.
fn use_driver<D: Driver + Debug>(
    detector: &LeakDetector,
    what: &str,
    driver: impl Fn() -> Option<D>,
) {
    let Some(one) = driver() else { return };
    detector.debug(what, &one);
    detector.check(what, &one.label());
    detector.debug(what, &one.options());
    let short = Duration::from_secs(3);
    let builder = Pool::builder().connect_timeout(short).checkout_timeout(short);
    let builder = builder.observer(detector.clone());
    detector.debug(what, &builder);
    let pool = builder.build_lazy(one).expect("the options agree");
    match pool.get() {
        Ok(guard) => {
            detector.debug(what, &guard);
            detector.debug(what, &pool.try_get().map(drop));
        }
        Err(error) => detector.pool_error(what, &error),
    }
    pool.retire_all();
    detector.debug(what, &pool);
    detector.debug(what, &pool.snapshot());
    detector.check(what, &pool.snapshot().to_string());
    detector.debug(what, &pool.server_limits());
    detector.debug(what, &pool.close(short));
    let manager = Manager::new(driver().expect("as before"));
    detector.debug(what, &manager);
}

/// Returns settings with the marker in them, from every source of settings.
fn settings(detector: &LeakDetector, scheme: &str, address: &str, more: &str) -> Vec<Settings> {
    let (host, port) = address.rsplit_once(':').expect("a host and a port");
    let file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(&file, "{MARKER}").expect("a line");
    let path = file.path().as_os_str().to_owned();
    let url = format!("{scheme}://marked:{MARKER}@{address}/d?{more}");
    let bare = format!("{scheme}://marked@{address}/d?{more}");
    let list = format!("host={host} port={port} user=marked dbname=d {}", more.replace('&', " "));
    let found = [
        Settings::parse(&url),
        Settings::parse(&format!("{bare}&password={MARKER}")),
        Settings::parse(&format!("{list} password={MARKER}")),
        Settings::parse(&format!("{list} password='{MARKER}'")),
        Settings::from_lookup("A", |name| (name == "A_URL").then(|| url.clone().into())),
        Settings::from_lookup("A", |name| match name {
            "A_URL" => Some(bare.clone().into()),
            "A_PASSWORD" => Some(MARKER.into()),
            _ => None,
        }),
        Settings::from_lookup("A", |name| match name {
            "A_URL" => Some(bare.clone().into()),
            "A_PASSWORD_FILE" => Some(path.clone()),
            _ => None,
        }),
        Settings::from_pg_lookup(|name| (name == "PGPASSWORD").then(|| MARKER.into()))
            .and_then(|libpq| Ok(Settings::parse(&bare)?.or(libpq))),
        Settings::parse(&bare).and_then(|mut settings| {
            settings.set("password", MARKER)?;
            Ok(settings)
        }),
    ];
    let mut good = by_serde(detector, &url, &bare);
    for one in found {
        match one {
            Ok(settings) => good.push(settings),
            Err(error) => detector.pool_error("settings", &error),
        }
    }
    good.iter().for_each(|settings| detector.debug("settings", settings));
    good
}

#[cfg(feature = "serde")]
fn by_serde(detector: &LeakDetector, url: &str, bare: &str) -> Vec<Settings> {
    let maps = [
        serde_json::json!({ "url": url }),
        serde_json::json!({ "url": bare, "password": MARKER }),
        serde_json::json!({ "url": bare, "password": MARKER, "nonsense": 1 }),
        serde_json::json!({ "url": format!("oracle{url}") }),
        serde_json::json!({ "url": bare, "max_size": MARKER }),
        serde_json::json!({ "url": bare, "password": [MARKER] }),
    ];
    let read = |map| match serde_json::from_value::<Settings>(map) {
        Ok(settings) => Some(settings),
        Err(error) => {
            detector.error("serde", &error);
            None
        }
    };
    maps.into_iter().filter_map(read).collect()
}

#[cfg(not(feature = "serde"))]
fn by_serde(_: &LeakDetector, _: &str, _: &str) -> Vec<Settings> {
    Vec::new()
}

fn nobody(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other("no such host is known"))
}

/// Sends bytes that are not the protocol's.
fn send_garbage(mut socket: TcpStream) {
    let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
}

/// Lets everything go wrong with a PostgreSQL server at this address.
fn provoke_postgres(detector: &LeakDetector, address: &str, more: &str) {
    for settings in settings(detector, "postgres", address, more) {
        use_driver(detector, address, || match Postgres::from_settings(&settings) {
            Ok(driver) => Some(driver.with_resolver(nobody)),
            Err(error) => {
                detector.pool_error("from_settings", &error);
                None
            }
        });
    }
    let bare = format!("postgres://marked@{address}/d?{more}");
    use_driver(detector, address, || {
        let driver = Postgres::new(&bare).ok()?;
        Some(driver.with_resolver(nobody).with_credentials(|| Ok(Credentials::new(MARKER))))
    });
    use_driver(detector, address, || {
        let mut config: postgres::Config = bare.split('?').next()?.parse().ok()?;
        config.password(MARKER);
        Postgres::from_config(config).ok().map(|driver| driver.with_resolver(nobody))
    });
}

/// The same for MySQL and MariaDB.
fn provoke_mysql(detector: &LeakDetector, address: &str, more: &str) {
    for settings in settings(detector, "mysql", address, more) {
        use_driver(detector, address, || match MySql::from_settings(&settings) {
            Ok(driver) => Some(driver.with_resolver(nobody)),
            Err(error) => {
                detector.pool_error("from_settings", &error);
                None
            }
        });
    }
    let bare = format!("mysql://marked@{address}/d?{more}");
    use_driver(detector, address, || {
        let driver = MySql::new(&bare).ok()?;
        Some(driver.with_resolver(nobody).with_credentials(|| Ok(Credentials::new(MARKER))))
    });
    use_driver(detector, address, || {
        let opts = mysql::Opts::from_url(bare.split('?').next()?).ok()?;
        let opts = mysql::OptsBuilder::from_opts(opts).pass(Some(MARKER));
        MySql::from_opts(opts.into()).ok().map(|driver| driver.with_resolver(nobody))
    });
}

fn addresses(real: u16) -> (Vec<String>, [support::script::Script; 2]) {
    let (mute, babbling) = (serve(drop), serve(send_garbage));
    let ports = [real, port::unused(), mute.port(), babbling.port()];
    let mut addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    addresses.push("nowhere.test:1".to_owned());
    (addresses, [mute, babbling])
}

fn assert_no_leak(detector: &LeakDetector, log: &logs::Mark, at_least: usize) {
    let records = log.records();
    assert!(!records.is_empty());
    records.iter().for_each(|record| detector.debug("log", record));
    detector.assert_no_leak(at_least);
}

#[test]
fn no_output_about_a_faulty_postgres_shows_the_password() {
    if !pg::available() {
        return;
    }
    let (detector, log) = (LeakDetector::default(), logs::mark());
    let server = pg::Server::with(|conf| {
        conf.hba("host all marked 127.0.0.1/32 scram-sha-256");
    });
    let (addresses, _scripts) = addresses(server.port());
    server.sql("postgres", "CREATE ROLE marked LOGIN PASSWORD 'another'; CREATE DATABASE d");
    addresses.iter().for_each(|address| provoke_postgres(&detector, address, "pool_max_size=2"));
    provoke_postgres(&detector, &addresses[0], "sslmode=require");
    provoke_postgres(&detector, &addresses[0], "sslmode=verify-ca");
    server.sql("postgres", &format!("ALTER ROLE marked PASSWORD '{MARKER}'"));
    provoke_postgres(&detector, &addresses[0], "pool_max_size=2");
    assert_no_leak(&detector, &log, 500);
}

#[test]
fn no_output_about_a_faulty_mariadb_shows_the_password() {
    if !mariadb::available() {
        return;
    }
    let (detector, log) = (LeakDetector::default(), logs::mark());
    let server = mariadb::Server::start();
    let (addresses, _scripts) = addresses(server.port());
    server.sql("CREATE USER marked IDENTIFIED BY 'another'");
    server.sql("CREATE DATABASE d; GRANT ALL ON d.* TO marked");
    addresses.iter().for_each(|address| provoke_mysql(&detector, address, "pool_max_size=2"));
    provoke_mysql(&detector, &addresses[0], "sslmode=require");
    provoke_mysql(&detector, &addresses[0], "sslmode=verify-ca");
    server.sql(&format!("ALTER USER marked IDENTIFIED BY '{MARKER}'"));
    provoke_mysql(&detector, &addresses[0], "pool_max_size=2");
    assert_no_leak(&detector, &log, 500);
}

/// A statement that fails, a session that is killed, a transaction left open: reported
/// in detail, by a pool that logged in with the marker.
#[test]
fn no_output_about_a_faulty_session_shows_the_password() {
    if !pg::available() {
        return;
    }
    let (detector, log) = (LeakDetector::default(), logs::mark());
    let server = pg::Server::with(|conf| {
        conf.hba("host all marked 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", &format!("CREATE ROLE marked SUPERUSER LOGIN PASSWORD '{MARKER}'"));
    let url = format!("postgres://marked:{MARKER}@127.0.0.1:{}/postgres", server.port());
    let builder = Pool::<Postgres>::builder().max_size(1).observer(detector.clone());
    let pool = builder.build(Postgres::new(&url).expect("a URL")).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    detector.pool_error("time-out", &timed_out(&pool));
    guard.batch_execute("begin").expect("left open");
    drop(guard);
    detector.pool_error("statement", &pool.execute("select nonsense", &[]).expect_err("nonsense"));
    let kill = "select pg_terminate_backend(pg_backend_pid())";
    detector.pool_error("killed", &pool.execute(kill, &[]).expect_err("it is gone"));
    detector.debug("pool", &pool);
    detector.debug("closed", &pool.close(Duration::from_secs(5)));
    detector.pool_error("closed", &pool.get().map(drop).expect_err("closed"));
    assert_no_leak(&detector, &log, 20);
}

fn timed_out<D: Driver>(pool: &Pool<D>) -> Error {
    pool.get_timeout(Duration::from_millis(50)).map(drop).expect_err("there is only one")
}

/// The marker at every position of every form: errors do not show it.
#[test]
fn no_error_repeats_a_malformed_text() {
    let detector = LeakDetector::default();
    let marker = format!("!{MARKER}!");
    let all = [
        "postgres://user:password@host:5432/name?sslmode=require&pool_max_size=8",
        "postgresql://[::1]:5432,host2/name?application_name=me",
        "mysql://user:password@host:3306/name?ssl-mode=REQUIRED&compress=fast",
        "sqlite:name.db?mode=ro&pool_max_lifetime=30s",
        "host=host port=5432 user=user password='pass word' pool_min_idle=1",
    ];
    for text in all {
        for address in (0..=text.len()).filter(|address| text.is_char_boundary(*address)) {
            let marked = format!("{}{marker}{}", &text[..address], &text[address..]);
            let refusals = [
                Settings::parse(&marked).err(),
                Postgres::new(&marked).err(),
                MySql::new(&marked).err(),
                Settings::from_lookup("A", |name| (name == "A_URL").then(|| (&marked).into()))
                    .err(),
            ];
            for error in refusals.iter().flatten() {
                detector.pool_error(&marked, error);
            }
        }
    }
    let mut options = PoolOptions::default();
    for name in PoolOptions::NAMES {
        let refused = options.set(name, &marker).err();
        refused.iter().for_each(|error| detector.pool_error(name, error));
    }
    detector.pool_error("name", &options.set(&marker, "1").expect_err("no such option"));
    detector.assert_no_leak(1_000);
}

/// The control: the detector finds the marker where it is shown.
#[test]
fn the_leak_detector_finds_the_marker() {
    let detector = LeakDetector::default();
    let opts = mysql::OptsBuilder::new().pass(Some(MARKER));
    detector.debug("the driver's own Debug", &opts);
    let cause = io::Error::other(Error::caller(MARKER));
    detector.error("a cause of a cause", &cause);
    let caught = detector.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(caught.leaks.len() >= 3, "{:?}", caught.leaks);
}
