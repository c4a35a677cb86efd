//! Private pgpool-IIs, each in front of a PostgreSQL server of ours.
//!
//! A pgpool-II listens on 127.0.0.1, and its server decides who may log in. Each of its
//! processes serves one client.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::daemon::Daemon;
use crate::wait::eventually;
use crate::{greeting, port, postgres, programs, scratch, skip};

const START_LIMIT: Duration = Duration::from_secs(30);
/// How often a start is retried on another port.
const PORTS_TO_TRY: usize = 5;

/// Settings of a pgpool-II that is about to start.
#[derive(Clone, Debug, Default)]
pub struct Conf(String);

impl Conf {
    /// Sets one parameter of `pgpool.conf`; the last value of a name counts.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Conf {
        writeln!(self.0, "{name} = '{value}'").expect("a string can be written");
        self
    }
}

/// A pgpool-II of our own; stopped, reaped and removed when dropped.
#[derive(Debug)]
pub struct Pgpool {
    daemon: Daemon,
    folder: PathBuf,
    port: u16,
}

/// Returns `true` if pgpool-II and PostgreSQL are installed; if not, reports the test as
/// skipped.
///
/// # Panics
///
/// If one is missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    let found = programs::find("pgpool").is_some();
    if !found {
        skip::missing("pgpool-II");
    }
    found && postgres::available()
}

impl Pgpool {
    /// Starts one in front of `server` with otherwise default settings.
    ///
    /// # Blocking
    ///
    /// Until it accepts connections.
    ///
    /// # Panics
    ///
    /// If the program is missing or does not start.
    pub fn start(server: &postgres::Server) -> Pgpool {
        Pgpool::with(server, |_| ())
    }

    /// Starts one with more settings.
    ///
    /// # Panics
    ///
    /// As [`Pgpool::start`].
    pub fn with(server: &postgres::Server, configure: impl FnOnce(&mut Conf)) -> Pgpool {
        let mut conf = Conf::default();
        configure(&mut conf);
        for _ in 0..PORTS_TO_TRY {
            let pgpool = Pgpool::prepare(server.port(), &conf);
            pgpool.launch();
            if pgpool.wait_ready(START_LIMIT) {
                return pgpool;
            }
            let taken = !port::is_free(pgpool.port);
            assert!(taken, "pgpool-II did not start:\n{}", pgpool.log_text());
        }
        panic!("{PORTS_TO_TRY} ports were taken between our check and the program's start");
    }

    fn prepare(server: u16, conf: &Conf) -> Pgpool {
        let account = Account::for_server("postgres");
        let folder = scratch::folder("pgpool", account);
        // Both of its sockets have the name of a port.
        for sockets in ["s", "pcp"].map(|name| folder.join(name)) {
            fs::create_dir(&sockets).expect("the program's folder can be written");
            account.own(&sockets);
        }
        let port = port::unused();
        let write = |name, text| {
            fs::write(folder.join(name), text).expect("the program's folder can be written");
        };
        write("pgpool.conf", settings(server, port, &folder, conf));
        write("pcp.conf", String::new());
        write("pool_hba.conf", String::new());
        // It removes its shared memory at SIGQUIT.
        let daemon = Daemon::new(&folder, account, Signal::SIGQUIT);
        Pgpool { daemon, folder, port }
    }

    fn launch(&self) {
        let program = programs::find("pgpool").expect("no pgpool found; call available() first");
        let file = |name: &str| self.folder.join(name).display().to_string();
        // In the foreground, and with no memory of what its predecessor knew.
        let mut arguments = vec!["-n".to_owned(), "-D".to_owned()];
        for (option, name) in [("-f", "pgpool.conf"), ("-F", "pcp.conf"), ("-a", "pool_hba.conf")] {
            arguments.extend([option.to_owned(), file(name)]);
        }
        self.daemon.start(&program, &arguments);
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns all that it has logged.
    pub fn log_text(&self) -> String {
        self.daemon.log_text()
    }

    fn wait_ready(&self, timeout: Duration) -> bool {
        let settled = || self.daemon.ended() || greeting::is_answered(self.port);
        eventually(timeout, settled) && !self.daemon.ended()
    }
}

// pgpool-II's documentation, "Server Configuration". In the mode `raw` it neither balances
// nor asks its server anything by itself.
fn settings(server: u16, port: u16, folder: &Path, conf: &Conf) -> String {
    format!(
        "listen_addresses = '127.0.0.1'
port = {port}
socket_dir = '{folder}/s'
pcp_listen_addresses = ''
pcp_port = {port}
pcp_socket_dir = '{folder}/pcp'
pid_file_name = '{folder}/pgpool.pid'
logdir = '{folder}'
pool_passwd = ''
backend_clustering_mode = 'raw'
backend_hostname0 = '127.0.0.1'
backend_port0 = {server}
num_init_children = 8
max_pool = 1
sr_check_period = 0
health_check_period = 0
memqcache_total_size = 1MB
memqcache_cache_block_size = 64kB
memqcache_maxcache = 16kB
memqcache_max_num_cache = 100
{settings}",
        folder = folder.display(),
        settings = conf.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process;

    #[cfg(feature = "postgres")]
    #[test]
    fn a_role_connects_through_it_and_it_ends_when_dropped() {
        crate::require!(pgpool);
        let db = postgres::shared().fresh_database();
        let pgpool = Pgpool::start(postgres::shared());
        let url = db.url_via(pgpool.port());
        let mut client = ::postgres::Client::connect(&url, ::postgres::NoTls).expect("it connects");
        let row = client.query_one("SELECT current_user::text", &[]).expect("it answers");
        assert_eq!(row.get::<_, String>(0), db.user());
        let shown = client.simple_query("SHOW pool_version").expect("pgpool-II's own statement");
        assert!(!shown.is_empty());
        let (folder, pid) = (pgpool.folder.clone(), pgpool.daemon.pid());
        let children = process::children_of(pid);
        drop(pgpool);
        assert!(process::vanished(pid) && !folder.exists());
        assert!(eventually(START_LIMIT, || children.iter().all(|child| process::ended(*child))));
    }
}
