//! A network of a test's own that can be made to drop all packets, and this
//! process's own connections.
//!
//! A test that needs such a network runs itself a second time, alone, in a child
//! process in a new network namespace; see [`in_own_network`].

use std::env;
use std::io::{self, Write};
use std::iter;
use std::net::SocketAddr;
use std::process::Command;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use socket2::Socket;

use crate::child;

/// Set in the child process.
const INSIDE: &str = "POOLWARDEN_TEST_OWN_NETWORK";

/// Runs `body` with a loopback network that belongs to this test alone.
///
/// The caller is the test: the closure is written in the test's own function.
/// Reports on stderr if no namespace can be made here and nothing was run, which a
/// container without privileges may forbid.
///
/// # Panics
///
/// When the child process fails, with what it printed.
pub fn in_own_network<B: FnOnce(&Network)>(body: B) {
    if env::var_os(INSIDE).is_some() {
        run("ip", &["link", "set", "lo", "up"]);
        return body(&Network(()));
    }
    let test = child::test_of::<B>();
    let Some(unshare) = ways().into_iter().find(|way| works(way)) else {
        // Not `eprintln!`: the test harness hides what a passing test prints.
        let _ = writeln!(io::stderr(), "skipped: {test}: no network namespace can be made here");
        return;
    };
    let launcher: Vec<&str> = iter::once("unshare").chain(unshare).collect();
    drop(child::run(test, (INSIDE, "1"), &launcher, child::LONG_TIMEOUT));
}

/// The commands as root, and as any user where the system allows that.
fn ways() -> [Vec<&'static str>; 2] {
    [vec!["--net", "--"], vec!["--user", "--map-current-user", "--keep-caps", "--net", "--"]]
}

fn works(way: &[&str]) -> bool {
    let probe = Command::new("unshare").args(way).args(["ip", "link", "set", "lo", "up"]).output();
    probe.is_ok_and(|output| output.status.success())
}

/// The loopback network of one test.
#[derive(Debug)]
pub struct Network(());

impl Network {
    /// Drops every packet from now on, in both directions and silently.
    pub fn drop_everything(&self) {
        run("tc", &["qdisc", "add", "dev", "lo", "root", "blackhole"]);
    }

    /// Lets packets pass again.
    pub fn pass(&self) {
        run("tc", &["qdisc", "del", "dev", "lo", "root"]);
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
}

/// Returns this process's sockets that are connected to `port` of the loopback
/// network, whichever code opened them, as duplicates.
pub fn own_connections_to(port: u16) -> Vec<Socket> {
    let own = pidfd_open(getpid(), PidfdFlags::empty()).expect("a process may inspect itself");
    let folder = std::fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    let numbers = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let copies = numbers.filter_map(|number: i32| {
        pidfd_getfd(&own, number, PidfdGetfdFlags::empty()).ok().map(Socket::from)
    });
    let leads_there = |socket: &Socket| {
        let peer = socket.peer_addr().ok().and_then(|peer| peer.as_socket());
        peer.is_some_and(|peer: SocketAddr| peer.ip().is_loopback() && peer.port() == port)
    };
    copies.filter(leads_there).collect()
}
