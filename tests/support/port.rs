//! Hands out loopback ports for servers, proxies and scripted peers.
//!
//! The ports are odd and below the kernel's ephemeral range, so no outgoing
//! connection takes one while its server is down. A port is never handed out
//! twice by one process: a test may stop its server and start it again later.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

use crate::hang;

const LOWEST: u16 = 10_001;
/// One past the highest port: Linux's ephemeral range begins here by default.
const END: u16 = 32_768;

static HANDED_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Returns a free odd port without a listener.
///
/// # Panics
///
/// If a thousand random tries found none.
pub fn unused() -> u16 {
    hang::watch();
    let mut handed_out = HANDED_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1000 {
        let port = random_odd();
        if !handed_out.contains(&port) && is_free(port) {
            handed_out.insert(port);
            return port;
        }
    }
    panic!("no free odd port between {LOWEST} and {END}");
}

// Bound and never listening: while another thread starts a process, that process has
// a copy of each descriptor, and a listener of ours would seem to belong to a server.
pub(crate) fn is_free(port: u16) -> bool {
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
    };
    bind().is_ok()
}

/// Returns how many sockets listen on this port of 127.0.0.1.
pub(crate) fn listeners(port: u16) -> usize {
    // "proc(5)", /proc/net/tcp: the local address is the second word, the state the
    // fourth; 0A is LISTEN.
    let table = fs::read_to_string("/proc/self/net/tcp").expect("/proc is mounted");
    let local = format!("0100007F:{port:04X}");
    let listens = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(1) == Some(&local.as_str()) && words.get(3) == Some(&"0A")
    };
    table.lines().filter(listens).count()
}

fn random_odd() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    let steps = u64::from((END - LOWEST).div_ceil(2));
    LOWEST + 2 * (random % steps) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_odd_in_range_and_never_repeated() {
        let ports: HashSet<u16> = (0..200).map(|_| unused()).collect();
        assert_eq!(ports.len(), 200);
        assert!(ports.iter().all(|port| port % 2 == 1 && (LOWEST..END).contains(port)));
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let port = unused();
        assert!(is_free(port));
        assert_eq!(listeners(port), 0);
        let _listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("free");
        assert!(!is_free(port));
        assert_eq!(listeners(port), 1);
    }
}
