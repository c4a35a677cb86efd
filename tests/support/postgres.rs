//! Private PostgreSQL servers.
//!
//! The programs are taken from where they are installed, the newest version's first; the
//! environment variable `POSTGRES_PROGRAMS` names a folder with those of another version, and
//! `POSTGRES_MESSAGES` the language of all servers' messages, `de_DE` or `ru_RU`.
//! A server listens on 127.0.0.1 and on a unix socket, trusts every client (unless
//! configured otherwise) and has the superuser `postgres`. Our own statements go
//! through `psql`, so this module needs no driver.

mod conf;
mod control;
mod database;
pub(crate) mod programs;
mod standby;
mod template;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::certificates::{self, Certificate};
use crate::daemon::Daemon;
use crate::wait::eventually;
use crate::{copy, hang, language, port, process, scratch, skip};

pub use conf::Conf;
pub use control::Backend;
pub use database::Database;

const START_LIMIT: Duration = Duration::from_secs(30);
/// How often a start is retried on another port.
const PORTS_TO_TRY: usize = 5;

/// A PostgreSQL server of our own; stopped, reaped and removed when dropped.
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    folder: PathBuf,
    port: u16,
    /// More places for unix sockets, each with a comma in front.
    more_sockets: String,
}

/// Returns `true` if PostgreSQL's programs are installed, with the language that
/// `POSTGRES_MESSAGES` names; if not, reports the test as skipped.
///
/// # Panics
///
/// If they are missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    hang::watch();
    let found = programs::folder().is_some();
    if !found {
        skip::missing("PostgreSQL");
    }
    found && (language::of_all_servers().is_none() || translated())
}

/// Returns the major version of the servers: 15, 17, 18.
///
/// # Panics
///
/// If no programs are installed.
pub fn version() -> u32 {
    let major = programs::version().split('.').next();
    major.and_then(|major| major.parse().ok()).expect("a version begins with a number")
}

/// Returns `true` if the servers support TLS; if not, reports the test as skipped.
pub fn tls() -> bool {
    let built = programs::built_with_tls();
    if !built {
        skip::because(&format!("PostgreSQL {} was built without TLS", programs::version()));
    }
    built
}

/// Returns `true` if the servers have messages in other languages than English; if not, reports
/// the test is skipped.
///
/// # Panics
///
/// When the system has no such language although the environment has `REQUIRE_SERVERS=1`.
pub fn translated() -> bool {
    if !language::available() {
        return false;
    }
    let built = programs::built_with_translations();
    if !built {
        let version = programs::version();
        skip::because(&format!("PostgreSQL {version} was built without translations"));
    }
    built
}

/// Returns the server that all tests of this process share; started by the first caller.
///
/// Do not stop, freeze or reconfigure it, and work in a [`Server::fresh_database`].
///
/// # Blocking
///
/// The first call makes the template and starts the server: a second or two.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| {
        Server::with(|conf| {
            conf.set("max_connections", "300");
        })
    })
}

impl Server {
    /// Starts a server with the default settings.
    ///
    /// # Blocking
    ///
    /// Until it accepts connections; the first one of a process runs `initdb` before.
    ///
    /// # Panics
    ///
    /// If the programs are missing or the server does not start.
    pub fn start() -> Server {
        Server::with(|_| ())
    }

    /// Starts a server with more settings or access rules.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub fn with(configure: impl FnOnce(&mut Conf)) -> Server {
        let mut conf = Conf::default();
        if let Some(language) = language::of_all_servers() {
            conf.messages(language);
        }
        configure(&mut conf);
        for _ in 0..PORTS_TO_TRY {
            let server = Server::prepare(&conf);
            server.launch();
            if server.accepts_within(START_LIMIT) {
                return server;
            }
            // Its message may be in any language.
            let taken = !port::is_free(server.port);
            assert!(taken, "PostgreSQL did not start:\n{}", server.log_text());
        }
        panic!("{PORTS_TO_TRY} ports were taken between our check and the server's start");
    }

    fn prepare(conf: &Conf) -> Server {
        let account = programs::account();
        let folder = scratch::folder("pg", account);
        let sockets = folder.join("s");
        fs::create_dir(&sockets).expect("the server's folder can be written");
        account.own(&sockets);
        copy::folder(template::folder(), &folder.join("data"));
        conf.write(&folder, account);
        let daemon = Daemon::new(&folder, account, Signal::SIGQUIT);
        let more_sockets = conf.more_sockets.clone();
        Server { daemon, folder, port: port::unused(), more_sockets }
    }

    fn launch(&self) {
        let arguments = [
            "-D".to_owned(),
            self.folder.join("data").display().to_string(),
            "-p".to_owned(),
            self.port.to_string(),
            "-k".to_owned(),
            format!("{}{}", self.socket_dir().display(), self.more_sockets),
        ];
        let locales = language::built().map(|folder| ("LOCPATH", folder));
        self.daemon.start_in(locales, &programs::path("postgres"), &arguments);
    }

    fn accepts_within(&self, timeout: Duration) -> bool {
        let ready = || matches!(&*self.status(), "ready" | "standby");
        eventually(timeout, || self.daemon.ended() || ready()) && !self.daemon.ended()
    }

    // As pg_ctl does it: the last line of postmaster.pid is the server's status, in no
    // language.
    fn status(&self) -> String {
        let said = fs::read_to_string(self.lock_file()).unwrap_or_default();
        said.lines().nth(7).unwrap_or_default().trim_end().to_owned()
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder with the unix socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Returns the URL of `db` over TCP, for `user`.
    pub fn url(&self, user: &str, db: &str) -> String {
        self.url_via(self.port, user, db)
    }

    /// Returns the same URL through another loopback port, such as a proxy's.
    pub fn url_via(&self, port: u16, user: &str, db: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{port}/{db}")
    }

    /// Returns the key-value connection string of `db` over the unix socket.
    pub fn unix_url(&self, user: &str, db: &str) -> String {
        let folder = self.socket_dir();
        format!("host={} port={} user={user} dbname={db}", folder.display(), self.port)
    }

    /// Returns all that the server has logged since its first start.
    pub fn log_text(&self) -> String {
        self.daemon.log_text()
    }

    /// Replaces the certificate for new clients; the server was
    /// started with [`Conf::tls`].
    pub fn replace_certificate(&self, certificate: Certificate) {
        certificates::install(certificate, &self.folder, programs::account());
        // A session inherits this from the postmaster.
        let read_at = || self.sql("postgres", "SELECT pg_conf_load_time()");
        let before = read_at();
        process::send(self.daemon.pid(), Signal::SIGHUP);
        // The postmaster reads the files before it accepts the next client.
        let noted = eventually(START_LIMIT, || read_at() != before);
        assert!(noted, "no answer to SIGHUP:\n{}", self.log_text());
    }

    /// Stops the server by SIGINT: clients get FATAL 57P01. Waits for the end.
    pub fn stop_fast(&self) {
        self.daemon.stop(Signal::SIGINT);
    }

    /// Stops the server by SIGQUIT: clients get WARNING 57P01. Waits for the end.
    pub fn stop_immediate(&self) {
        self.daemon.stop(Signal::SIGQUIT);
    }

    /// Requests a smart shutdown by SIGTERM: no new clients, and the end after the last one.
    ///
    /// Returns when the server has received it; it ends by itself. See
    /// [`Server::wait_stopped`].
    pub fn stop_smart(&self) {
        process::send(self.daemon.pid(), Signal::SIGTERM);
        let noted = || self.daemon.ended() || self.status() == "stopping";
        assert!(eventually(START_LIMIT, noted), "no answer to SIGTERM:\n{}", self.log_text());
    }

    /// Returns `true` if the server has ended within `timeout`.
    pub fn wait_stopped(&self, timeout: Duration) -> bool {
        self.daemon.ended_within(timeout)
    }

    /// Starts the stopped server on the same port with the same data.
    ///
    /// # Panics
    ///
    /// If it is running, or does not start.
    pub fn start_again(&self) {
        assert!(self.daemon.ended(), "the server is already running");
        self.launch();
        let accepts = self.accepts_within(START_LIMIT);
        assert!(accepts, "PostgreSQL did not restart:\n{}", self.log_text());
    }

    /// Stops the server by SIGINT and starts it again.
    pub fn restart_fast(&self) {
        self.stop_fast();
        self.start_again();
    }

    /// Kills the postmaster by SIGKILL and waits until its orphans have ended.
    ///
    /// The server can be started again afterwards.
    pub fn kill9_postmaster(&self) {
        self.daemon.kill();
        self.tidy_after_kill();
    }

    // With the stale lock file in place the next start would look ready immediately.
    fn tidy_after_kill(&self) {
        remove_shared_memory(&self.lock_file());
        let _ = fs::remove_file(self.lock_file());
    }

    /// Freezes the postmaster and every child process by SIGSTOP.
    ///
    /// The kernel still accepts connections and bytes for them. Undone by
    /// [`Server::thaw`], and by every method that stops the server.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Freezes only the postmaster: clients are served, new ones get no answer.
    pub fn freeze_postmaster_only(&self) {
        process::freeze(self.daemon.pid());
    }

    /// Freezes one backend.
    pub fn freeze_backend(&self, pid: i32) {
        self.assert_backend(pid);
        process::freeze(pid);
    }

    /// Resumes all frozen processes.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Kills one backend by SIGKILL: the server restarts all others after such a crash.
    ///
    /// Returns once the postmaster has reaped it; [`Server::wait_ready`] waits for the restart.
    pub fn kill9_backend(&self, pid: i32) {
        self.assert_backend(pid);
        process::send(pid, Signal::SIGKILL);
        let reaped = eventually(START_LIMIT, || process::vanished(pid));
        assert!(reaped, "the postmaster did not reap backend {pid}");
    }

    fn assert_backend(&self, pid: i32) {
        let ours = process::children_of(self.daemon.pid()).contains(&pid);
        assert!(ours, "process {pid} is not a backend of this server");
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(programs::path("psql"));
        command.env_clear().env("LC_ALL", "C").env("PGCONNECT_TIMEOUT", "20");
        command.env("PGAPPNAME", control::APPLICATION);
        command.arg("-h").arg(self.socket_dir()).args(["-p", &self.port.to_string()]);
        command
    }

    fn lock_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.daemon.ended() {
            self.tidy_after_kill();
        }
    }
}

// A killed postmaster leaves a System V segment behind; its last lock file names it:
// PostgreSQL 15, miscadmin.h, line 7 of postmaster.pid is "key id".
fn remove_shared_memory(lock_file: &Path) {
    let text = fs::read_to_string(lock_file).unwrap_or_default();
    let id = text.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
    if let Some(id) = id {
        let _ = Command::new("ipcrm").args(["-m", id]).output();
    }
}

#[cfg(test)]
mod tests;
