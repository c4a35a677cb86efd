//! Private MariaDB or MySQL servers.
//!
//! MariaDB's programs are taken from where they are installed; the environment variable
//! `MYSQL_PROGRAMS` names a folder with those of another version, or of MySQL.
//! A server listens on 127.0.0.1 and on a unix socket. User `app`, password
//! `app`, may do everything. Our own statements go through its client
//! as `root`, so this module needs no driver.

mod conf;
mod control;
mod database;
mod programs;
mod sequence;
mod template;

use std::fmt::{self, Display, Formatter};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::certificates::{self, Certificate};
use crate::daemon::Daemon;
use crate::wait::eventually;
use crate::{copy, hang, port, scratch, skip};

pub use conf::Conf;
pub use control::Process;
pub use database::Database;

const START_LIMIT: Duration = Duration::from_secs(30);
/// The interval between two readiness checks of a server.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);
/// How often a start is retried on another port.
const PORTS_TO_TRY: usize = 5;

/// A MariaDB server of our own; stopped, reaped and removed when dropped.
#[derive(Debug)]
pub struct Server {
    daemon: Daemon,
    folder: PathBuf,
    port: u16,
    conf: Conf,
}

/// The product of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

impl Display for Product {
    /// Writes its name as the crate does: `MariaDB`, `MySQL`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Product::MariaDb => "MariaDB",
            Product::MySql => "MySQL",
        })
    }
}

/// Returns the product of the servers.
///
/// # Panics
///
/// If no programs are installed.
pub fn product() -> Product {
    programs::product()
}

/// Returns `true` if the servers are MariaDB's; if not, reports the test as skipped.
pub fn mariadb_only() -> bool {
    let wanted = product() == Product::MariaDb;
    if !wanted {
        skip::because(&format!("MySQL {} has not what the test is about", programs::version()));
    }
    wanted
}

/// Returns `true` if the programs of one product are installed; if not, reports the test as skipped.
///
/// # Panics
///
/// If they are missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    hang::watch();
    let found = programs::installed();
    if !found {
        skip::missing("MariaDB or MySQL");
    }
    found
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
    /// Until it accepts connections; the first one of a process makes the template before.
    ///
    /// # Panics
    ///
    /// If the programs are missing or the server does not start.
    pub fn start() -> Server {
        Server::with(|_| ())
    }

    /// Starts a server with more settings.
    ///
    /// # Panics
    ///
    /// As [`Server::start`].
    pub fn with(configure: impl FnOnce(&mut Conf)) -> Server {
        let mut conf = Conf::default();
        configure(&mut conf);
        for _ in 0..PORTS_TO_TRY {
            let server = Server::prepare(conf.clone());
            server.launch();
            if server.wait_ready(START_LIMIT) {
                return server;
            }
            let log = server.log_text();
            assert!(log.contains("Address already in use"), "the server did not start:\n{log}");
        }
        panic!("{PORTS_TO_TRY} ports were taken between our check and the server's start");
    }

    fn prepare(mut conf: Conf) -> Server {
        let account = programs::account();
        let folder = scratch::folder("my", account);
        copy::folder(template::folder(), &folder.join("data"));
        conf.install_tls(&folder, account);
        let daemon = Daemon::new(&folder, account, Signal::SIGKILL);
        Server { daemon, folder, port: port::unused(), conf }
    }

    fn launch(&self) {
        let mut arguments = Conf::defaults(&self.folder.join("data"));
        arguments.extend([
            format!("--socket={}", self.socket().display()),
            format!("--pid-file={}", self.folder.join("server.pid").display()),
            format!("--port={}", self.port),
            // A server that starts deletes every `#sql` file in its folder for
            // temporary tables: in a shared one, those of its running neighbours.
            format!("--tmpdir={}", self.folder.display()),
        ]);
        arguments.extend(self.conf.arguments());
        self.daemon.start(programs::server(), &arguments);
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// Returns the URL of `db` over TCP for user `app`.
    ///
    /// It has `prefer_socket=false`: the driver would otherwise query a loopback
    /// server for its unix socket and switch to it, past any proxy.
    pub fn url(&self, db: &str) -> String {
        self.url_via(self.port, db)
    }

    /// Returns the same URL through another loopback port, such as a proxy's.
    pub fn url_via(&self, port: u16, db: &str) -> String {
        tcp_url("app", port, db)
    }

    /// Returns the URL of `db` over the unix socket for user `app`.
    pub fn unix_url(&self, db: &str) -> String {
        self.unix_url_for("app", db)
    }

    fn unix_url_for(&self, user: &str, db: &str) -> String {
        let socket = percent_encode(&self.socket().display().to_string());
        format!("mysql://{user}:app@localhost/{db}?socket={socket}")
    }

    /// Returns all that the server has logged since its first start.
    pub fn log_text(&self) -> String {
        self.daemon.log_text()
    }

    /// Replaces the certificate for new clients; the server was
    /// started with [`Conf::tls`].
    pub fn replace_certificate(&self, certificate: Certificate) {
        certificates::install(certificate, &self.folder, programs::account());
        match product() {
            Product::MariaDb => drop(self.sql("FLUSH SSL")),
            // A running server does not load a certificate that clients should refuse.
            Product::MySql => self.restart(),
        }
    }

    /// Stops the server by SIGTERM: clients get a FIN. Waits for the end.
    pub fn stop(&self) {
        self.daemon.stop(Signal::SIGTERM);
    }

    /// Starts the stopped server on the same port with the same data.
    ///
    /// # Panics
    ///
    /// If it is running, or does not start.
    pub fn start_again(&self) {
        assert!(self.daemon.ended(), "the server is already running");
        self.launch();
        let ready = self.wait_ready(START_LIMIT);
        assert!(ready, "the server did not restart:\n{}", self.log_text());
    }

    /// Stops the server by SIGTERM and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Kills the server by SIGKILL; it can be started again.
    pub fn kill9(&self) {
        self.daemon.kill();
    }

    /// Freezes the server by SIGSTOP.
    ///
    /// The kernel still accepts connections and bytes for it. Undone by
    /// [`Server::thaw`], and by every method that stops the server.
    pub fn freeze(&self) {
        self.daemon.freeze();
    }

    /// Resumes a frozen server.
    pub fn thaw(&self) {
        self.daemon.thaw();
    }

    /// Returns `true` if the server greets a client within `timeout`.
    #[must_use]
    pub fn wait_ready(&self, timeout: Duration) -> bool {
        eventually(timeout, || self.daemon.ended() || self.greets()) && !self.daemon.ended()
    }

    // Both a greeting and a refusal because of too many clients begin with some byte.
    fn greets(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            return false;
        };
        stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("no zero timeout");
        stream.read_exact(&mut [0]).is_ok()
    }
}

pub(crate) fn tcp_url(user: &str, port: u16, db: &str) -> String {
    format!("mysql://{user}:app@127.0.0.1:{port}/{db}?prefer_socket=false")
}

// RFC 3986, "Unreserved Characters": all others are encoded.
fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests;
