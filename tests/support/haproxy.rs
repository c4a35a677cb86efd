//! Private haproxies in TCP mode, each in front of one loopback port.
//!
//! A haproxy listens on 127.0.0.1 and forwards bytes; a unix socket of its own
//! takes the commands of the runtime API.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::daemon::Daemon;
use crate::wait::eventually;
use crate::{port, process, programs, scratch, skip};

const START_LIMIT: Duration = Duration::from_secs(30);
/// The interval between two readiness checks of a haproxy.
const ANSWER_LIMIT: Duration = Duration::from_millis(300);
/// How often a start is retried on another port.
const PORTS_TO_TRY: usize = 5;
/// The message of haproxy 2.6 when it cannot bind.
const PORT_TAKEN: &str = "Address already in use";
/// The only server of the only backend, as the runtime API names it.
const SERVER: &str = "back/one";

/// Settings of a haproxy that is about to start.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    global: String,
    defaults: String,
    bind: String,
    server: String,
}

impl Conf {
    /// Adds one line to the section `global`.
    pub fn global(&mut self, line: &str) -> &mut Conf {
        writeln!(self.global, "    {line}").expect("a string can be written");
        self
    }

    /// Adds one line for front and back, such as `timeout client 1s`; the last one counts.
    pub fn set(&mut self, line: &str) -> &mut Conf {
        writeln!(self.defaults, "    {line}").expect("a string can be written");
        self
    }

    /// Adds words to the `bind` line.
    pub fn bind(&mut self, words: &str) -> &mut Conf {
        write!(self.bind, " {words}").expect("a string can be written");
        self
    }

    /// Adds words to the line of the server, such as `on-marked-down shutdown-sessions`.
    pub fn server(&mut self, words: &str) -> &mut Conf {
        write!(self.server, " {words}").expect("a string can be written");
        self
    }

    fn text(&self, folder: &Path, port: u16, server: u16) -> String {
        let Conf { global, defaults, bind, server: words } = self;
        format!(
            "global
    stats socket {folder}/admin mode 600 level admin
{global}
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    retries 0
{defaults}
frontend front
    bind 127.0.0.1:{port}{bind}
    default_backend back
backend back
    server one 127.0.0.1:{server}{words}
",
            folder = folder.display()
        )
    }
}

/// A haproxy of our own; stopped, reaped and removed when dropped.
#[derive(Debug)]
pub struct Haproxy {
    account: Account,
    conf: Conf,
    server: u16,
    port: u16,
    /// The last one listens; earlier ones were signalled to end with their last session.
    processes: Mutex<Vec<Generation>>,
}

/// One process, from its start to its end.
#[derive(Debug)]
struct Generation {
    daemon: Daemon,
    folder: PathBuf,
}

/// Returns `true` if haproxy is installed; if not, reports the test as skipped.
///
/// # Panics
///
/// If it is missing although the environment has `REQUIRE_SERVERS=1`.
pub fn available() -> bool {
    let found = programs::find("haproxy").is_some();
    if !found {
        skip::missing("haproxy");
    }
    found
}

impl Haproxy {
    /// Starts one in front of a loopback port, with timeouts of an hour.
    ///
    /// # Blocking
    ///
    /// Until it accepts connections.
    ///
    /// # Panics
    ///
    /// If the program is missing or does not start.
    pub fn start(server: u16) -> Haproxy {
        Haproxy::with(server, |_| ())
    }

    /// Starts one with more settings.
    ///
    /// # Panics
    ///
    /// As [`Haproxy::start`].
    pub fn with(server: u16, configure: impl FnOnce(&mut Conf)) -> Haproxy {
        let mut conf = Conf::default();
        configure(&mut conf);
        let account = Account::for_server("haproxy");
        for _ in 0..PORTS_TO_TRY {
            let processes = Mutex::default();
            let conf = conf.clone();
            let haproxy = Haproxy { account, conf, server, port: port::unused(), processes };
            match haproxy.launch(&[]) {
                Ok(()) => return haproxy,
                Err(log) => assert!(log.contains(PORT_TAKEN), "haproxy did not start:\n{log}"),
            }
        }
        panic!("{PORTS_TO_TRY} ports were taken between our check and the program's start");
    }

    /// Starts a process and waits until it listens; its log if it ended instead.
    fn launch(&self, arguments: &[String]) -> Result<(), String> {
        let folder = scratch::folder("haproxy", self.account);
        let conf = folder.join("conf");
        let text = self.conf.text(&folder, self.port, self.server);
        fs::write(&conf, text).expect("the program's folder can be written");
        let daemon = Daemon::new(&folder, self.account, Signal::SIGKILL);
        let program = programs::find("haproxy").expect("no haproxy found; call available() first");
        let own = ["-db".to_owned(), "-f".to_owned(), conf.display().to_string()];
        daemon.start(&program, &[&own, arguments].concat());
        let ready = || command(&folder, "show info").is_some();
        if eventually(START_LIMIT, || daemon.ended() || ready()) && !daemon.ended() {
            self.processes().push(Generation { daemon, folder });
            return Ok(());
        }
        Err(daemon.log_text())
    }

    /// Returns the TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sends one command of the runtime API to the process that listens; returns its answer.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[track_caller]
    pub fn admin(&self, text: &str) -> String {
        let processes = self.processes();
        let last = processes.last().expect("one process runs from the start on");
        command(&last.folder, text).unwrap_or_else(|| panic!("no answer to {text:?}"))
    }

    /// Takes the server out of service, as an administrator does; undone by
    /// [`Haproxy::mark_up`].
    #[track_caller]
    pub fn mark_down(&self) {
        self.command_without_output(&format!("set server {SERVER} state maint"));
    }

    /// Puts the server back into service.
    #[track_caller]
    pub fn mark_up(&self) {
        self.command_without_output(&format!("set server {SERVER} state ready"));
    }

    /// Closes all sessions with the server.
    #[track_caller]
    pub fn shut_sessions(&self) {
        self.command_without_output(&format!("shutdown sessions server {SERVER}"));
    }

    /// Returns `true` if haproxy considers the server up.
    #[track_caller]
    pub fn server_is_up(&self) -> bool {
        self.stat("back,one,", 17).starts_with("UP") || self.stat("back,one,", 17) == "no check"
    }

    /// Returns how many sessions the process that listens has with the server now.
    #[track_caller]
    pub fn sessions(&self) -> usize {
        self.stat("back,one,", 4).parse().expect("scur is a number")
    }

    // "Management Guide", 9.1 "CSV format": 4 is scur, 17 is status.
    #[track_caller]
    fn stat(&self, line: &str, column: usize) -> String {
        let text = self.admin("show stat");
        let line = text.lines().find(|one| one.starts_with(line)).expect("the server's line");
        line.split(',').nth(column).expect("a field").to_owned()
    }

    // A command that succeeds is answered by an empty line.
    #[track_caller]
    fn command_without_output(&self, text: &str) {
        let answer = self.admin(text);
        assert_eq!(answer.trim(), "", "{text}");
    }

    /// Starts a process with the same settings that takes over the port and signals
    /// the old one to end once its sessions have ended ("-sf").
    ///
    /// # Panics
    ///
    /// When the new one does not start.
    pub fn reload(&self) {
        let old = self.processes().last().expect("one process runs from the start on").daemon.pid();
        let before = port::listeners(self.port);
        let started = self.launch(&["-sf".to_owned(), old.to_string()]);
        started.unwrap_or_else(|log| panic!("haproxy did not reload:\n{log}"));
        // Both listen for a moment, in which the old one may still take a client.
        let left = eventually(START_LIMIT, || port::listeners(self.port) <= before);
        assert!(left, "the old haproxy still listens");
    }

    /// Stops its listener and lets it end with its last session (SIGUSR1).
    ///
    /// Returns once it has stopped listening.
    pub fn stop_softly(&self) {
        let pid = self.processes().last().expect("one process runs from the start on").daemon.pid();
        process::send(pid, Signal::SIGUSR1);
        let refused = || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err();
        assert!(eventually(START_LIMIT, refused), "it still listens");
    }

    /// Ends all its processes and their sessions immediately (SIGTERM). Waits for the end.
    pub fn stop(&self) {
        self.processes().iter().for_each(|one| one.daemon.stop(Signal::SIGTERM));
    }

    /// Returns whether all its processes have ended within `timeout`.
    #[must_use]
    pub fn wait_stopped(&self, timeout: Duration) -> bool {
        eventually(timeout, || self.processes().iter().all(|one| one.daemon.ended()))
    }

    /// Returns whether only the process that was started last runs, within `timeout`.
    #[must_use]
    pub fn wait_old_ones_stopped(&self, timeout: Duration) -> bool {
        let old = |all: &[Generation]| all.iter().rev().skip(1).all(|one| one.daemon.ended());
        eventually(timeout, || old(&self.processes()))
    }

    /// Starts the stopped one on the same port with the same settings.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_again(&self) {
        self.launch(&[]).unwrap_or_else(|log| panic!("haproxy did not restart:\n{log}"));
    }

    /// Stops it by SIGTERM and starts it again.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Generation>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// "Management Guide", 9.3: one command, one answer, then the connection ends.
fn command(folder: &Path, text: &str) -> Option<String> {
    let mut stream = UnixStream::connect(folder.join("admin")).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    stream.write_all(format!("{text}\n").as_bytes()).ok()?;
    stream.shutdown(Shutdown::Write).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const SOON: Duration = Duration::from_secs(10);

    fn upstream() -> (TcpListener, u16) {
        let listener = TcpListener::bind(("127.0.0.1", port::unused())).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        (listener, port)
    }

    fn ended(mut stream: &TcpStream) -> bool {
        stream.set_read_timeout(Some(SOON)).expect("no zero timeout");
        matches!(stream.read(&mut [0]), Ok(0))
    }

    #[test]
    fn it_forwards_bytes_is_marked_down_and_up_and_ends_when_dropped() {
        crate::require!(haproxy);
        let (listener, port) = upstream();
        let haproxy = Haproxy::with(port, |conf| {
            conf.server("on-marked-down shutdown-sessions");
        });
        let client = || TcpStream::connect(("127.0.0.1", haproxy.port())).expect("it listens");
        let mut first = client();
        let (mut served, _) = listener.accept().expect("a session");
        first.write_all(b"x").expect("it is open");
        served.read_exact(&mut [0]).expect("a byte");
        assert!(haproxy.server_is_up() && haproxy.sessions() == 1);
        haproxy.mark_down();
        assert!(ended(&first) && ended(&client()) && !haproxy.server_is_up());
        haproxy.mark_up();
        let second = client();
        let _served = listener.accept().expect("a session");
        assert!(eventually(SOON, || haproxy.sessions() == 1));
        haproxy.shut_sessions();
        assert!(ended(&second));
        let pid = haproxy.processes()[0].daemon.pid();
        let folder = haproxy.processes()[0].folder.clone();
        drop(haproxy);
        assert!(process::vanished(pid) && !folder.exists());
    }

    #[test]
    fn after_a_reload_the_new_process_serves_and_the_old_one_ends_with_its_last_session() {
        crate::require!(haproxy);
        let (listener, port) = upstream();
        let haproxy = Haproxy::start(port);
        let client = || TcpStream::connect(("127.0.0.1", haproxy.port())).expect("it listens");
        let old = client();
        let served = listener.accept().expect("a session");
        haproxy.reload();
        let new = client();
        let _served = listener.accept().expect("a session");
        assert!(!haproxy.wait_old_ones_stopped(Duration::ZERO));
        drop((old, served));
        assert!(haproxy.wait_old_ones_stopped(SOON));
        haproxy.stop_softly();
        assert!(!haproxy.wait_stopped(Duration::ZERO));
        haproxy.stop();
        assert!(ended(&new) && haproxy.wait_stopped(Duration::ZERO));
        haproxy.start_again();
        drop(client());
    }
}
