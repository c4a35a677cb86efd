//! Private Odysseys, each in front of a PostgreSQL server of ours.
//!
//! The environment variable `ODYSSEY_PROGRAMS` names the folder with its program; the
//! distribution has none. An Odyssey listens on 127.0.0.1, in transaction mode, and accepts
//! every role of its server that needs no password.

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

/// An Odyssey of our own; stopped, reaped and removed when dropped.
#[derive(Debug)]
pub struct Odyssey {
    daemon: Daemon,
    port: u16,
}

/// Returns `true` if the environment names a program and PostgreSQL is installed; if not,
/// reports the test as skipped.
///
/// # Panics
///
/// If PostgreSQL is missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    let found = program().is_some();
    if !found {
        skip::because("ODYSSEY_PROGRAMS names no Odyssey");
    }
    found && postgres::available()
}

fn program() -> Option<PathBuf> {
    let named = programs::named_folder("ODYSSEY_PROGRAMS", &[&["odyssey"]]);
    named.map(|folder| folder.join("odyssey"))
}

impl Odyssey {
    /// Starts one in front of `server`.
    ///
    /// # Blocking
    ///
    /// Until it accepts connections.
    ///
    /// # Panics
    ///
    /// If the program is missing or does not start.
    pub fn start(server: &postgres::Server) -> Odyssey {
        for _ in 0..PORTS_TO_TRY {
            let odyssey = Odyssey::launch(server.port());
            let settled = || odyssey.daemon.ended() || greeting::is_answered(odyssey.port);
            if eventually(START_LIMIT, settled) && !odyssey.daemon.ended() {
                return odyssey;
            }
            let taken = !port::is_free(odyssey.port);
            assert!(taken, "Odyssey did not start:\n{}", odyssey.log_text());
        }
        panic!("{PORTS_TO_TRY} ports were taken between our check and the program's start");
    }

    fn launch(server: u16) -> Odyssey {
        let account = Account::for_server("postgres");
        let folder = scratch::folder("odyssey", account);
        let port = port::unused();
        let conf = folder.join("conf");
        fs::write(&conf, settings(server, port, &folder)).expect("the folder can be written");
        let daemon = Daemon::new(&folder, account, Signal::SIGKILL);
        let program = program().expect("no odyssey found; call available() first");
        daemon.start(&program, &[conf.display().to_string()]);
        Odyssey { daemon, port }
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns all that it has logged.
    pub fn log_text(&self) -> String {
        self.daemon.log_text()
    }
}

// Odyssey's documentation, "Configuration". Its storage dials the server when a client needs
// a session.
fn settings(server: u16, port: u16, folder: &Path) -> String {
    format!(
        "daemonize no
log_to_stdout yes
log_format \"%t %l [%i %s] (%c) %m\\n\"
pid_file \"{folder}/odyssey.pid\"
locks_dir \"{folder}\"
workers 1
listen {{
  host \"127.0.0.1\"
  port {port}
}}
storage \"server\" {{
  type \"remote\"
  host \"[127.0.0.1]:{server}\"
}}
database default {{
  user default {{
    authentication \"none\"
    storage \"server\"
    pool \"transaction\"
    pool_size 20
  }}
}}
",
        folder = folder.display()
    )
}
