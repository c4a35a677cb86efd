//! No secret is ever printed: a marker password goes in by every way of configuring,
//! through every trouble, and nothing that comes out shows it.

use poolwarden::{
    Closed, ConnectError, Credentials, Driver, Error, FromSettings, Knobs, Manager, MySql,
    Observer, Opened, Pool, Postgres, Settings,
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

/// Everything that was printed goes through it; what shows the marker stays in it.
#[derive(Clone, Default)]
struct Sieve(Arc<Mutex<Caught>>);

#[derive(Default)]
struct Caught {
    seen: usize,
    leaks: Vec<String>,
}

impl Sieve {
    fn pour(&self, what: &str, text: &str) {
        let mut caught = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        caught.seen += 1;
        if text.contains(MARKER) {
            caught.leaks.push(format!("{what}: {text}"));
        }
    }

    fn debug(&self, what: &str, value: &impl Debug) {
        self.pour(what, &format!("{value:?}"));
        self.pour(what, &format!("{value:#?}"));
    }

    /// An error with its whole chain of causes.
    fn error(&self, what: &str, error: &(dyn StdError + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.pour(what, &error.to_string());
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

    fn judge(&self, at_least: usize) {
        let caught = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(caught.leaks, [""; 0]);
        assert!(caught.seen >= at_least, "only {} texts were looked at", caught.seen);
    }
}

impl Observer for Sieve {
    fn opened(&self, event: &Opened<'_>) {
        self.debug("opened", event);
    }

    fn connect_failed(&self, pool: &str, error: &ConnectError) {
        self.pour("connect_failed", pool);
        self.error("connect_failed", error);
    }

    fn closed(&self, event: &Closed<'_>) {
        self.debug("closed", event);
    }

    fn timed_out(&self, pool: &str, waited: Duration) {
        self.pour("timed_out", &format!("{pool} {waited:?}"));
    }
}

/// Uses a driver in a pool and in a manager, and pours out all that they print.
fn drive<D: Driver + Debug>(sieve: &Sieve, what: &str, driver: impl Fn() -> Option<D>) {
    let Some(one) = driver() else { return };
    sieve.debug(what, &one);
    sieve.pour(what, &one.label());
    sieve.debug(what, &one.knobs());
    let short = Duration::from_secs(3);
    let builder = Pool::builder().connect_timeout(short).checkout_timeout(short);
    let builder = builder.observer(sieve.clone());
    sieve.debug(what, &builder);
    let pool = builder.build_lazy(one).expect("the knobs agree");
    match pool.get() {
        Ok(guard) => {
            sieve.debug(what, &guard);
            sieve.debug(what, &pool.try_get().map(drop));
        }
        Err(error) => sieve.pool_error(what, &error),
    }
    pool.retire_all();
    sieve.debug(what, &pool);
    sieve.debug(what, &pool.snapshot());
    sieve.pour(what, &pool.snapshot().to_string());
    sieve.debug(what, &pool.server_limits());
    sieve.debug(what, &pool.close(short));
    let manager = Manager::new(driver().expect("as before"));
    sieve.debug(what, &manager);
}

/// Settings with the marker in them, by every way that settings can come.
fn settings(sieve: &Sieve, scheme: &str, place: &str, more: &str) -> Vec<Settings> {
    let (host, port) = place.rsplit_once(':').expect("a host and a port");
    let file = tempfile::NamedTempFile::new().expect("a file");
    writeln!(&file, "{MARKER}").expect("a line");
    let path = file.path().as_os_str().to_owned();
    let url = format!("{scheme}://marked:{MARKER}@{place}/d?{more}");
    let bare = format!("{scheme}://marked@{place}/d?{more}");
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
    let mut good = by_serde(sieve, &url, &bare);
    for one in found {
        match one {
            Ok(settings) => good.push(settings),
            Err(error) => sieve.pool_error("settings", &error),
        }
    }
    good.iter().for_each(|settings| sieve.debug("settings", settings));
    good
}

#[cfg(feature = "serde")]
fn by_serde(sieve: &Sieve, url: &str, bare: &str) -> Vec<Settings> {
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
            sieve.error("serde", &error);
            None
        }
    };
    maps.into_iter().filter_map(read).collect()
}

#[cfg(not(feature = "serde"))]
fn by_serde(_: &Sieve, _: &str, _: &str) -> Vec<Settings> {
    Vec::new()
}

fn nobody(_: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
    Err(io::Error::other("no such host is known"))
}

/// What a server may say instead of its protocol.
fn babble(mut socket: TcpStream) {
    let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
}

/// All that may go wrong with a PostgreSQL server at this place.
fn trouble_postgres(sieve: &Sieve, place: &str, more: &str) {
    for settings in settings(sieve, "postgres", place, more) {
        drive(sieve, place, || match Postgres::from_settings(&settings) {
            Ok(driver) => Some(driver.with_resolver(nobody)),
            Err(error) => {
                sieve.pool_error("from_settings", &error);
                None
            }
        });
    }
    let bare = format!("postgres://marked@{place}/d?{more}");
    drive(sieve, place, || {
        let driver = Postgres::new(&bare).ok()?;
        Some(driver.with_resolver(nobody).with_credentials(|| Ok(Credentials::new(MARKER))))
    });
    drive(sieve, place, || {
        let mut config: postgres::Config = bare.split('?').next()?.parse().ok()?;
        config.password(MARKER);
        Postgres::from_config(config).ok().map(|driver| driver.with_resolver(nobody))
    });
}

/// The same for MySQL and MariaDB.
fn trouble_mysql(sieve: &Sieve, place: &str, more: &str) {
    for settings in settings(sieve, "mysql", place, more) {
        drive(sieve, place, || match MySql::from_settings(&settings) {
            Ok(driver) => Some(driver.with_resolver(nobody)),
            Err(error) => {
                sieve.pool_error("from_settings", &error);
                None
            }
        });
    }
    let bare = format!("mysql://marked@{place}/d?{more}");
    drive(sieve, place, || {
        let driver = MySql::new(&bare).ok()?;
        Some(driver.with_resolver(nobody).with_credentials(|| Ok(Credentials::new(MARKER))))
    });
    drive(sieve, place, || {
        let opts = mysql::Opts::from_url(bare.split('?').next()?).ok()?;
        let opts = mysql::OptsBuilder::from_opts(opts).pass(Some(MARKER));
        MySql::from_opts(opts.into()).ok().map(|driver| driver.with_resolver(nobody))
    });
}

fn places(real: u16) -> (Vec<String>, [support::script::Script; 2]) {
    let (mute, babbling) = (serve(drop), serve(babble));
    let ports = [real, port::unused(), mute.port(), babbling.port()];
    let mut places: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    places.push("nowhere.test:1".to_owned());
    (places, [mute, babbling])
}

fn judge(sieve: &Sieve, log: &logs::Mark, at_least: usize) {
    let records = log.records();
    assert!(!records.is_empty());
    records.iter().for_each(|record| sieve.debug("log", record));
    sieve.judge(at_least);
}

#[test]
fn no_trouble_with_postgres_makes_anything_print_the_password() {
    if !pg::available() {
        return;
    }
    let (sieve, log) = (Sieve::default(), logs::mark());
    let server = pg::Server::with(|conf| {
        conf.hba("host all marked 127.0.0.1/32 scram-sha-256");
    });
    let (places, _scripts) = places(server.port());
    server.sql("postgres", "CREATE ROLE marked LOGIN PASSWORD 'another'; CREATE DATABASE d");
    places.iter().for_each(|place| trouble_postgres(&sieve, place, "pool_max_size=2"));
    trouble_postgres(&sieve, &places[0], "sslmode=require");
    trouble_postgres(&sieve, &places[0], "sslmode=verify-ca");
    server.sql("postgres", &format!("ALTER ROLE marked PASSWORD '{MARKER}'"));
    trouble_postgres(&sieve, &places[0], "pool_max_size=2");
    judge(&sieve, &log, 500);
}

#[test]
fn no_trouble_with_mariadb_makes_anything_print_the_password() {
    if !mariadb::available() {
        return;
    }
    let (sieve, log) = (Sieve::default(), logs::mark());
    let server = mariadb::Server::start();
    let (places, _scripts) = places(server.port());
    server.sql("CREATE USER marked IDENTIFIED BY 'another'");
    server.sql("CREATE DATABASE d; GRANT ALL ON d.* TO marked");
    places.iter().for_each(|place| trouble_mysql(&sieve, place, "pool_max_size=2"));
    trouble_mysql(&sieve, &places[0], "sslmode=require");
    trouble_mysql(&sieve, &places[0], "sslmode=verify-ca");
    server.sql(&format!("ALTER USER marked IDENTIFIED BY '{MARKER}'"));
    trouble_mysql(&sieve, &places[0], "pool_max_size=2");
    judge(&sieve, &log, 500);
}

/// A statement that fails, a session that is killed, a borrower that forgets: told
/// of at length, by a pool that logged in with the marker.
#[test]
fn no_trouble_with_a_session_makes_anything_print_the_password() {
    if !pg::available() {
        return;
    }
    let (sieve, log) = (Sieve::default(), logs::mark());
    let server = pg::Server::with(|conf| {
        conf.hba("host all marked 127.0.0.1/32 scram-sha-256");
    });
    server.sql("postgres", &format!("CREATE ROLE marked SUPERUSER LOGIN PASSWORD '{MARKER}'"));
    let url = format!("postgres://marked:{MARKER}@127.0.0.1:{}/postgres", server.port());
    let builder = Pool::<Postgres>::builder().max_size(1).observer(sieve.clone());
    let pool = builder.build(Postgres::new(&url).expect("a URL")).expect("a pool");
    let mut guard = pool.get().expect("a connection");
    sieve.pool_error("time-out", &timed_out(&pool));
    guard.batch_execute("begin").expect("left open");
    drop(guard);
    sieve.pool_error("statement", &pool.execute("select nonsense", &[]).expect_err("nonsense"));
    let kill = "select pg_terminate_backend(pg_backend_pid())";
    sieve.pool_error("killed", &pool.execute(kill, &[]).expect_err("it is gone"));
    sieve.debug("pool", &pool);
    sieve.debug("closed", &pool.close(Duration::from_secs(5)));
    sieve.pool_error("closed", &pool.get().map(drop).expect_err("closed"));
    judge(&sieve, &log, 20);
}

fn timed_out<D: Driver>(pool: &Pool<D>) -> Error {
    pool.get_timeout(Duration::from_millis(50)).map(drop).expect_err("there is only one")
}

/// The marker at every place of every form: what is refused is refused without it.
#[test]
fn no_malformed_text_is_repeated() {
    let sieve = Sieve::default();
    let marker = format!("!{MARKER}!");
    let all = [
        "postgres://user:password@host:5432/name?sslmode=require&pool_max_size=8",
        "postgresql://[::1]:5432,host2/name?application_name=me",
        "mysql://user:password@host:3306/name?ssl-mode=REQUIRED&compress=fast",
        "sqlite:name.db?mode=ro&pool_max_lifetime=30s",
        "host=host port=5432 user=user password='pass word' pool_min_idle=1",
    ];
    for text in all {
        for place in (0..=text.len()).filter(|place| text.is_char_boundary(*place)) {
            let marked = format!("{}{marker}{}", &text[..place], &text[place..]);
            let refusals = [
                Settings::parse(&marked).err(),
                Postgres::new(&marked).err(),
                MySql::new(&marked).err(),
                Settings::from_lookup("A", |name| (name == "A_URL").then(|| (&marked).into()))
                    .err(),
            ];
            for error in refusals.iter().flatten() {
                sieve.pool_error(&marked, error);
            }
        }
    }
    let mut knobs = Knobs::default();
    for name in Knobs::NAMES {
        let refused = knobs.set(name, &marker).err();
        refused.iter().for_each(|error| sieve.pool_error(name, error));
    }
    sieve.pool_error("name", &knobs.set(&marker, "1").expect_err("no such knob"));
    sieve.judge(1_000);
}

/// The control: the marker is seen where it is shown.
#[test]
fn the_sieve_holds_what_shows_the_marker() {
    let sieve = Sieve::default();
    let opts = mysql::OptsBuilder::new().pass(Some(MARKER));
    sieve.debug("the driver's own Debug", &opts);
    let cause = io::Error::other(Error::caller(MARKER));
    sieve.error("a cause of a cause", &cause);
    let caught = sieve.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(caught.leaks.len() >= 3, "{:?}", caught.leaks);
}
