//! What safe calls tell of a socket and change about it.

use super::sockets::{self, Descriptor};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

impl Descriptor {
    /// Discards received data that will not be read, up to this many bytes; returns how
    /// many. Never waits.
    ///
    /// The peer's FIN follows that data: while the data fills the buffers, the peer
    /// cannot send it.
    pub(crate) fn discard_received(&self, limit: usize) -> usize {
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut discarded = 0;
        while discarded < limit {
            let socket = socket2::SockRef::from(self);
            match socket.recv_with_flags(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(count) if count > 0 => discarded += count,
                _ => break,
            }
        }
        discarded
    }

    /// Has the kernel count down from this number as bytes are received, or stop counting if it
    /// is -1; `false` if it cannot. While it counts, a peek sees less.
    #[cfg(target_os = "linux")]
    pub(crate) fn set_peek_offset(&self, offset: i32) -> bool {
        sockets::set_number(self.as_fd(), libc::SOL_SOCKET, libc::SO_PEEK_OFF, offset)
    }

    /// Returns what is left of that number.
    #[cfg(target_os = "linux")]
    pub(crate) fn peek_offset(&self) -> Option<i32> {
        let (mut left, raw) = (-1, self.as_fd().as_raw_fd());
        let known = sockets::get_option(raw, libc::SOL_SOCKET, libc::SO_PEEK_OFF, &mut left);
        (known && left >= 0).then_some(left)
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn set_peek_offset(&self, _: i32) -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn peek_offset(&self) -> Option<i32> {
        None
    }

    /// Returns `true` if both ends of the socket are the same: it is connected to itself.
    pub(crate) fn is_connected_to_itself(&self) -> bool {
        let socket = socket2::SockRef::from(self);
        match (socket.local_addr(), socket.peer_addr()) {
            (Ok(local), Ok(peer)) => local.is_ipv4() | local.is_ipv6() && local == peer,
            _ => false,
        }
    }
}

/// Returns `true` if a socket that a peek found closed was reset, and the driver has
/// already taken the error.
///
/// Linux, `tcp_reset`: a reset that follows a FIN, because we wrote after the FIN,
/// leaves EPIPE behind. On systems without a TCP state, and after two writes, the
/// answer may be wrong.
pub(crate) fn was_reset(socket: BorrowedFd<'_>) -> bool {
    let mut error: libc::c_int = 0;
    sockets::tcp_state(socket) == Some(sockets::TCP_CLOSE)
        && sockets::get_option(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ERROR, &mut error)
        && error == 0
}

/// Clears the timeouts that a dial has set on a socket.
pub(crate) fn clear_timeouts(socket: BorrowedFd<'_>) -> io::Result<()> {
    let socket = socket2::SockRef::from(&socket);
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)
}

/// Returns how many bytes a TCP socket has received so far. `None` where the system does
/// not count them: before Linux 4.1, and on other systems.
#[cfg(target_os = "linux")]
pub(crate) fn bytes_received(raw: RawFd) -> Option<u64> {
    /// The offset of `tcpi_bytes_received` in struct tcp_info (Linux, linux/tcp.h).
    const OFFSET: usize = 128;
    let mut info = [0u8; OFFSET + size_of::<u64>()];
    let known = sockets::get_option(raw, libc::IPPROTO_TCP, libc::TCP_INFO, &mut info);
    let count = info[OFFSET..].try_into().expect("what follows the offset is its size");
    known.then_some(u64::from_ne_bytes(count))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn bytes_received(_raw: RawFd) -> Option<u64> {
    None
}
