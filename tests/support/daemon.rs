//! One server process: started, signalled, frozen, reaped.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::process;
use crate::wait::eventually;

const LONG_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes the pid file before it becomes the server, so that the orphan guard knows
/// every server that runs.
const LAUNCH: &str = r#"echo "$$ $2" >"$1" && shift 2 && exec "$@""#;

/// A server process that this process stops.
#[derive(Debug)]
pub(crate) struct Daemon {
    folder: PathBuf,
    account: Account,
    /// The signal that stops the server fastest without leaving anything behind.
    last_signal: Signal,
    /// `None` while the server is stopped. A child in here has not been reaped.
    child: Mutex<Option<Child>>,
}

impl Daemon {
    pub(crate) fn new(folder: &Path, account: Account, last_signal: Signal) -> Daemon {
        Daemon { folder: folder.to_owned(), account, last_signal, child: Mutex::default() }
    }

    /// Starts `program`; its output is appended to the log.
    pub(crate) fn start(&self, program: &Path, arguments: &[String]) {
        self.start_in(None, program, arguments);
    }

    /// As [`Daemon::start`], with one more variable in the program's environment.
    pub(crate) fn start_in(
        &self,
        variable: Option<(&str, &Path)>,
        program: &Path,
        arguments: &[String],
    ) {
        let mut child = self.child();
        assert!(child.is_none(), "the server is already running");
        let log = self.open_log();
        let mut command = self.account.command(Path::new("/bin/sh"), &self.folder);
        command
            .envs(variable)
            .process_group(0)
            .args(["-c", LAUNCH, "launch"])
            .arg(self.pid_file())
            .arg(self.last_signal.as_str().trim_start_matches("SIG"))
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be cloned"))
            .stderr(log);
        *child = Some(command.spawn().expect("/bin/sh starts"));
    }

    /// Returns the process id of the running server.
    ///
    /// # Panics
    ///
    /// When the server is stopped.
    pub(crate) fn pid(&self) -> i32 {
        self.child().as_ref().expect("the server runs").id() as i32
    }

    /// Returns whether the server has ended, and reaps it if so.
    pub(crate) fn ended(&self) -> bool {
        let mut child = self.child();
        let running = child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        if !running && child.take().is_some() {
            let _ = fs::remove_file(self.pid_file());
        }
        !running
    }

    pub(crate) fn ended_within(&self, timeout: Duration) -> bool {
        eventually(timeout, || self.ended())
    }

    /// Thaws the server, sends it `signal` and waits for its end.
    pub(crate) fn stop(&self, signal: Signal) {
        if self.ended() {
            return;
        }
        self.thaw();
        process::send(self.pid(), signal);
        let ended = self.ended_within(LONG_TIMEOUT);
        assert!(
            ended,
            "the server did not end within {LONG_TIMEOUT:?} of {signal}:\n{}",
            self.log_text()
        );
    }

    /// Freezes the server and each of its child processes by SIGSTOP.
    pub(crate) fn freeze(&self) {
        // The parent first: it could start more children.
        process::freeze(self.pid());
        process::children_of(self.pid()).into_iter().for_each(process::freeze);
    }

    pub(crate) fn thaw(&self) {
        process::children_of(self.pid()).into_iter().for_each(process::thaw);
        process::thaw(self.pid());
    }

    /// Kills the server by SIGKILL and waits until its orphans have ended too.
    pub(crate) fn kill(&self) {
        if self.ended() {
            return;
        }
        let orphans = process::children_of(self.pid());
        process::send(self.pid(), Signal::SIGKILL);
        orphans.iter().copied().for_each(process::thaw);
        assert!(self.ended_within(LONG_TIMEOUT), "SIGKILL did not end the server");
        let gone = || orphans.iter().copied().all(process::ended);
        if !eventually(Duration::from_secs(2), gone) {
            orphans.iter().for_each(|pid| process::send(*pid, Signal::SIGKILL));
            assert!(eventually(LONG_TIMEOUT, gone), "SIGKILL did not end the server's children");
        }
    }

    pub(crate) fn log_text(&self) -> String {
        let bytes = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn open_log(&self) -> File {
        let opened = OpenOptions::new().create(true).append(true).open(self.log_file());
        opened.expect("the server's folder can be written")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("pid")
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.ended() {
            self.thaw();
            process::send(self.pid(), self.last_signal);
            if !self.ended_within(Duration::from_secs(5)) {
                self.kill();
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
