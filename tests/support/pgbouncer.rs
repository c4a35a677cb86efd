//! Private pgbouncers, each in front of a PostgreSQL server of ours.
//!
//! The environment variable `PGBOUNCER_PROGRAMS` names a folder with another version's program.
//!
//! A pgbouncer listens on 127.0.0.1 and on a unix socket, accepts every role that
//! its server knows, and has the administrator `postgres`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::certificates::{self, Certificate};
use crate::daemon::Daemon;
use crate::wait::eventually;
use crate::{greeting, port, postgres, programs, scratch, skip};

const START_LIMIT: Duration = Duration::from_secs(30);
/// How often a start is retried on another port.
const PORTS_TO_TRY: usize = 5;
/// Separates fields in psql's output; rows end with a zero byte.
const FIELD_END: char = '\u{1f}';

/// The pooling mode: how long a client keeps a server connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until the client disconnects.
    Session,
    /// Until its transaction ends.
    Transaction,
}

/// Settings of a pgbouncer that is about to start.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    settings: String,
    tls: Option<Certificate>,
}

impl Conf {
    /// Sets one parameter of the section `[pgbouncer]`; the last value of a name counts.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Conf {
        writeln!(self.settings, "{name} = {value}").expect("a string can be written");
        self
    }

    /// Requires TLS of clients, with this certificate.
    pub fn tls(&mut self, certificate: Certificate) -> &mut Conf {
        self.tls = Some(certificate);
        self
    }

    fn install_tls(&mut self, folder: &Path, account: Account) {
        let Some(certificate) = self.tls else { return };
        let files = certificates::install(certificate, folder, account);
        self.set("client_tls_sslmode", "require");
        self.set("client_tls_cert_file", &files.certificate.display().to_string());
        self.set("client_tls_key_file", &files.key.display().to_string());
    }
}

/// A pgbouncer of our own; stopped, reaped and removed when dropped.
#[derive(Debug)]
pub struct Bouncer {
    daemon: Daemon,
    account: Account,
    folder: PathBuf,
    port: u16,
    server: u16,
    mode: Mode,
    conf: Conf,
}

/// Returns `true` if pgbouncer and PostgreSQL are installed; if not, reports the test as skipped.
///
/// # Panics
///
/// If one is missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    let found = program().is_some();
    if !found {
        skip::missing("pgbouncer");
    }
    found && postgres::available()
}

/// Returns the version: `(1, 18)` for 1.18.0.
///
/// # Panics
///
/// When no program is here.
pub fn version() -> (u32, u32) {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let program = program().expect("no pgbouncer found; call available() first");
        let account = Account::for_server("postgres");
        let output = account.command(&program, Path::new("/")).arg("--version").output();
        let text = output.expect("pgbouncer starts").stdout;
        // "PgBouncer 1.18.0", and a line for each library.
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut numbers = text.split([' ', '.', '\n']).filter_map(|part| part.parse().ok());
        let mut next = || numbers.next().expect("it prints its version");
        (next(), next())
    })
}

fn program() -> Option<PathBuf> {
    let named = programs::named_folder("PGBOUNCER_PROGRAMS", &[&["pgbouncer"]]);
    named.map(|folder| folder.join("pgbouncer")).or_else(|| programs::find("pgbouncer"))
}

impl Bouncer {
    /// Starts one in front of `server` with otherwise default settings.
    ///
    /// # Blocking
    ///
    /// Until it accepts connections.
    ///
    /// # Panics
    ///
    /// If the program is missing or does not start.
    pub fn start(server: &postgres::Server, mode: Mode) -> Bouncer {
        Bouncer::with(server, mode, |_| ())
    }

    /// Starts one with more settings.
    ///
    /// # Panics
    ///
    /// As [`Bouncer::start`].
    pub fn with(
        server: &postgres::Server,
        mode: Mode,
        configure: impl FnOnce(&mut Conf),
    ) -> Bouncer {
        let mut conf = Conf::default();
        configure(&mut conf);
        for _ in 0..PORTS_TO_TRY {
            let bouncer = Bouncer::prepare(server.port(), mode, conf.clone());
            bouncer.launch();
            if bouncer.wait_ready(START_LIMIT) {
                return bouncer;
            }
            let log = bouncer.log_text();
            assert!(log.contains(PORT_TAKEN), "pgbouncer did not start:\n{log}");
        }
        panic!("{PORTS_TO_TRY} ports were taken between our check and the program's start");
    }

    fn prepare(server: u16, mode: Mode, mut conf: Conf) -> Bouncer {
        let account = Account::for_server("postgres");
        let folder = scratch::folder("bouncer", account);
        let sockets = folder.join("s");
        fs::create_dir(&sockets).expect("the program's folder can be written");
        account.own(&sockets);
        let port = port::unused();
        let write = |name, text| {
            fs::write(folder.join(name), text).expect("the program's folder can be written");
        };
        conf.install_tls(&folder, account);
        write("ini", ini(server, port, &folder, mode, &conf));
        // pgbouncer 1.18 never answers an administrator whose password it has to look up.
        write("users", "\"postgres\" \"\"\n".to_owned());
        let daemon = Daemon::new(&folder, account, Signal::SIGKILL);
        Bouncer { daemon, account, folder, port, server, mode, conf }
    }

    fn launch(&self) {
        let program = program().expect("no pgbouncer found; call available() first");
        self.daemon.start(&program, &[self.folder.join("ini").display().to_string()]);
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder with the unix socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Returns the URL of the server's `db` through it over TCP, for `user`.
    pub fn url(&self, user: &str, db: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{db}", self.port)
    }

    /// Returns the key-value connection string of `db` through its unix socket.
    pub fn unix_url(&self, user: &str, db: &str) -> String {
        let folder = self.socket_dir();
        format!("host={} port={} user={user} dbname={db}", folder.display(), self.port)
    }

    /// Returns all that it has logged since its first start.
    pub fn log_text(&self) -> String {
        self.daemon.log_text()
    }

    /// Sends one command to the admin console, such as `SHOW POOLS`; returns its rows, each
    /// as the values of its columns by name.
    ///
    /// # Panics
    ///
    /// With psql's message, if the command fails.
    #[track_caller]
    pub fn admin(&self, command: &str) -> Vec<HashMap<String, String>> {
        let mut psql = self.account.command(&postgres::programs::path("psql"), &self.folder);
        psql.arg("-h").arg(self.socket_dir()).args(["-p", &self.port.to_string()]);
        psql.env("PGCONNECT_TIMEOUT", "20").args(["-XqA0", "-U", "postgres", "-d", "pgbouncer"]);
        psql.args(["-P", "footer=off", "-F", &FIELD_END.to_string(), "-c", command]);
        let output = psql.output().expect("psql starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {errors}");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut rows = text.split_terminator('\0').map(|row| row.split(FIELD_END));
        let names: Vec<&str> = rows.next().into_iter().flatten().collect();
        let name = |row| names.iter().zip(row).map(|(name, value): (&&str, &str)| (*name, value));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        rows.map(|row| name(row).map(owned).collect()).collect()
    }

    /// Adds these settings to those of its start, and applies them by `RELOAD`.
    ///
    /// # Panics
    ///
    /// As [`Bouncer::admin`].
    #[track_caller]
    pub fn reload(&self, configure: impl FnOnce(&mut Conf)) {
        let mut conf = self.conf.clone();
        configure(&mut conf);
        let text = ini(self.server, self.port, &self.folder, self.mode, &conf);
        fs::write(self.folder.join("ini"), text).expect("the program's folder can be written");
        self.admin("RELOAD");
    }

    /// Returns how many clients of the database `db` it has, and how many of them wait.
    #[track_caller]
    pub fn clients(&self, db: &str) -> (usize, usize) {
        let rows = self.admin("SHOW CLIENTS");
        let ours: Vec<_> = rows.iter().filter(|row| row["database"] == db).collect();
        (ours.len(), ours.iter().filter(|row| row["state"] == "waiting").count())
    }

    /// Returns how many connections to the server's database `db` it has.
    #[track_caller]
    pub fn server_connections(&self, db: &str) -> usize {
        self.admin("SHOW SERVERS").iter().filter(|row| row["database"] == db).count()
    }

    /// Stops it immediately, although clients are connected. Waits for the end.
    pub fn stop(&self) {
        // pgbouncer's changes, 1.23: SIGTERM waits for the clients, SIGQUIT does not. Before,
        // it did not handle SIGQUIT.
        let at_once = if version() >= (1, 23) { Signal::SIGQUIT } else { Signal::SIGTERM };
        self.daemon.stop(at_once);
    }

    /// Kills it by SIGKILL. Its clients get no message.
    pub fn kill9(&self) {
        self.daemon.kill();
    }

    /// Starts the stopped one on the same port with the same settings.
    ///
    /// # Panics
    ///
    /// If it is running, or does not start.
    pub fn start_again(&self) {
        assert!(self.daemon.ended(), "pgbouncer is already running");
        self.launch();
        let ready = self.wait_ready(START_LIMIT);
        assert!(ready, "pgbouncer did not restart:\n{}", self.log_text());
    }

    /// Stops it immediately and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Freezes it by SIGSTOP; undone by [`Bouncer::thaw`].
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Resumes it.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Returns `true` if it answers a client within `timeout`.
    #[must_use]
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        let settled = || self.daemon.ended() || greeting::is_answered(self.port);
        eventually(timeout, settled) && !self.daemon.ended()
    }
}

/// The log message of pgbouncer 1.18 when it cannot bind.
const PORT_TAKEN: &str = "Address already in use";

// auth_user: without one every role would have to be listed in the file.
fn ini(server: u16, port: u16, folder: &Path, mode: Mode, conf: &Conf) -> String {
    let mode = match mode {
        Mode::Session => "session",
        Mode::Transaction => "transaction",
    };
    format!(
        "[databases]
* = host=127.0.0.1 port={server} auth_user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {folder}/s
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pool_mode = {mode}
{settings}",
        folder = folder.display(),
        settings = conf.settings
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    const SOON: Duration = Duration::from_secs(10);

    fn column<'r>(rows: &'r [HashMap<String, String>], name: &str) -> Vec<&'r str> {
        rows.iter().map(|row| row[name].as_str()).collect()
    }

    #[test]
    fn it_serves_stops_restarts_and_ends_when_dropped() {
        crate::require!(pgbouncer);
        let bouncer = Bouncer::start(postgres::shared(), Mode::Session);
        for end in [Bouncer::stop, Bouncer::kill9] {
            end(&bouncer);
            assert!(!bouncer.wait_ready(Duration::ZERO));
            bouncer.start_again();
        }
        bouncer.restart();
        bouncer.freeze();
        assert!(!bouncer.wait_ready(Duration::ZERO));
        bouncer.thaw();
        assert!(bouncer.wait_ready(SOON));
        let (folder, pid) = (bouncer.folder.clone(), bouncer.daemon.pid());
        drop(bouncer);
        assert!(process::vanished(pid) && !folder.exists());
    }

    #[test]
    fn the_admin_console_shows_the_settings() {
        crate::require!(pgbouncer);
        let bouncer = Bouncer::with(postgres::shared(), Mode::Transaction, |conf| {
            conf.set("max_client_conn", "7");
        });
        let config = bouncer.admin("SHOW CONFIG");
        let value =
            |name: &str| config.iter().find(|row| row["key"] == name).map(|row| &*row["value"]);
        assert_eq!(value("pool_mode"), Some("transaction"));
        assert_eq!(value("max_client_conn"), Some("7"));
        let failed = std::panic::catch_unwind(|| bouncer.admin("SHOW NOSUCH"));
        assert!(failed.is_err(), "{:?}", column(&config, "key"));
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn the_driver_connects_by_tcp_and_by_unix_socket_as_any_role() {
        crate::require!(pgbouncer);
        let db = postgres::shared().fresh_database();
        let bouncer = Bouncer::start(postgres::shared(), Mode::Transaction);
        for url in [bouncer.url(db.user(), db.name()), bouncer.unix_url(db.user(), db.name())] {
            let mut client =
                ::postgres::Client::connect(&url, ::postgres::NoTls).expect("it connects");
            let rows = client.simple_query("SELECT current_user").expect("it answers");
            let user = rows.iter().find_map(|message| match message {
                ::postgres::SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            assert_eq!(user, Some(db.user()));
            assert!(column(&bouncer.admin("SHOW CLIENTS"), "user").contains(&db.user()));
        }
    }
}
