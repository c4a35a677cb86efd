//! The descriptor of a `postgres` socket, read from its Debug text.
//!
//! - **Replaces**: `AsFd` for `postgres::Socket`, which the driver does not implement.
//! - **Upstream would have to offer**: that implementation, or a method of
//!   `postgres::Client` that returns the descriptor.
//! - **Delete** this file when either exists in the oldest version of the driver that this
//!   crate supports.

use crate::sys::socket_search;
use crate::sys::sockets::Descriptor;
use postgres::Socket;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// Returns a duplicate of the driver's socket, if its number is found in the Debug text
/// and the duplicate has the same local and peer address as the text.
///
/// If the format of the text ever changes, there is no descriptor, and such connections
/// are pinged instead of peeked at.
///
/// # Errors
///
/// The system's error, usually that the process has no descriptor left.
pub(crate) fn descriptor_of(socket: &Socket) -> io::Result<Option<Descriptor>> {
    let text = format!("{socket:?}");
    let Some((raw, local, peer)) = number_and_addresses(&text) else { return Ok(None) };
    socket_search::verified_duplicate(raw, local, peer)
}

fn number_and_addresses(text: &str) -> Option<(RawFd, SocketAddr, SocketAddr)> {
    let local: SocketAddr = field(text, "addr: ")?.parse().ok()?;
    let peer: SocketAddr = field(text, "peer: ")?.parse().ok()?;
    Some((field(text, "fd: ")?.parse().ok()?, local, peer))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let rest = &text[text.find(name)? + name.len()..];
    Some(rest[..rest.find([',', ' ', '}'])?].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_sockets_debug_text_are_found() {
        let text = "Socket(Tcp(TcpStream { addr: 127.0.0.1:40000, peer: [::1]:5432, fd: 9 }))";
        assert_eq!(field(text, "addr: "), Some("127.0.0.1:40000"));
        assert_eq!(field(text, "peer: "), Some("[::1]:5432"));
        assert_eq!(field(text, "fd: "), Some("9"));
        assert_eq!(field(text, "inode: "), None);
    }
}
