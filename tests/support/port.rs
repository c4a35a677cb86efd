//! Hands out loopback ports for servers, proxies and scripted peers.
//!
//! The ports are odd and below the kernel's ephemeral range, so no outgoing
//! connection takes one while its server is down. A port is never handed out
//! twice by one process: a test may stop its server and start it again later.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{LazyLock, Mutex, PoisonError};

use socket2::{Domain, Socket, Type};

const LOWEST: u16 = 10_001;
/// One past the highest port: Linux's ephemeral range begins here by default.
const END: u16 = 32_768;

static HANDED_OUT: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// Returns a free odd port on which nobody listens.
///
/// # Panics
///
/// When a thousand random tries found none.
pub fn unused() -> u16 {
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
// a copy of each descriptor, and a listener of ours would seem to be somebody's.
fn is_free(port: u16) -> bool {
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())
    };
    bind().is_ok()
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
        let _listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("free");
        assert!(!is_free(port));
    }
}
