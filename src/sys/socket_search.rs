//! Finds sockets of this process whose owner does not expose them.

use super::sockets::{self, Descriptor};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// How many free descriptor numbers in a row end a search. The system gives the lowest
/// free number, so a socket that was opened a moment ago has no such gap below it.
const GAP: RawFd = 4096;

/// Returns the numbers of this process's open sockets, the lowest first.
///
/// Asks each number: that needs neither a descriptor nor `/proc`, and takes about a tenth
/// of a microsecond for each that is open.
pub(crate) fn numbers_of_sockets() -> Vec<RawFd> {
    let (mut found, mut gap) = (Vec::new(), 0);
    for raw in 0..RawFd::MAX {
        gap = match sockets::socket_type(raw) {
            Ok(_) => {
                found.push(raw);
                0
            }
            Err(libc::EBADF) => gap + 1,
            Err(_) => 0,
        };
        if gap > GAP {
            break;
        }
    }
    found
}

/// Finds the sockets whose receive timeout is this mark (whole seconds).
///
/// A driver that does not expose its socket while it connects lets us set that option;
/// a value that no program would choose identifies the socket among all others.
pub(crate) fn find_marked(mark: Duration) -> Vec<Descriptor> {
    let seconds = libc::time_t::try_from(mark.as_secs()).unwrap_or(libc::time_t::MAX);
    let marked = |raw: RawFd| {
        let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
        sockets::get_option(raw, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &mut value)
            && value.tv_sec == seconds
    };
    let found = numbers_of_sockets().into_iter().filter(|raw| marked(*raw));
    let is_marked = |raw| sockets::duplicate_verified(raw, |socket| marked(socket.as_raw_fd()));
    found.filter_map(|raw| is_marked(raw).ok().flatten()).collect()
}

/// Duplicates descriptor number `raw` if it is the socket between these two addresses.
///
/// # Errors
///
/// The system's error, usually that the process has no descriptor left.
pub(crate) fn verified_duplicate(
    raw: RawFd,
    local: SocketAddr,
    peer: SocketAddr,
) -> io::Result<Option<Descriptor>> {
    sockets::duplicate_verified(raw, |socket| {
        let socket = socket2::SockRef::from(&socket);
        let same = |address: io::Result<socket2::SockAddr>, wanted: SocketAddr| {
            address.ok().and_then(|address| address.as_socket()) == Some(wanted)
        };
        same(socket.local_addr(), local) && same(socket.peer_addr(), peer)
    })
}
