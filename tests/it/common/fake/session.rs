//! One session of the fake server: the server's end of one connection.

use super::script::Script;
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The server's greeting, and its reply to a ping.
pub(super) const REPLY: u8 = b'!';
pub(super) const PING: u8 = b'?';
pub(super) const TERMINATE: u8 = b'.';

/// The server's end of a socket, or `None` for a connection without one.
pub(super) struct Session {
    pub(super) far: Option<Socket>,
    /// It replies to no ping, but works otherwise.
    pub(super) mute: AtomicBool,
}

impl Session {
    pub(super) fn new(far: Option<Socket>) -> Session {
        Session { far, mute: AtomicBool::new(false) }
    }

    pub(super) fn greet(&self) {
        self.send(&[REPLY]);
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        // The client may have closed: the next read shows it.
        let _ = self.far.as_ref().map(|mut far| far.write_all(bytes));
    }

    /// Reads and answers the input; returns `true` if the session is over.
    pub(super) fn serve(&self) -> bool {
        let Some(mut far) = self.far.as_ref() else { return false };
        let mut bytes = [0; 64];
        match far.read(&mut bytes) {
            Ok(0) => true,
            Ok(length) => {
                let pings = bytes[..length].iter().filter(|byte| **byte == PING).count();
                self.send(&vec![REPLY; if self.mute.load(Relaxed) { 0 } else { pings }]);
                bytes[..length].contains(&TERMINATE)
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Ends the session of a connection without a socket when it is dropped.
pub(super) struct EndOnDrop<'a>(Option<(&'a Script, u64)>);

impl EndOnDrop<'_> {
    pub(super) fn new(script: &Script, number: u64, without_socket: bool) -> EndOnDrop<'_> {
        EndOnDrop(without_socket.then_some((script, number)))
    }
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        if let Some((script, number)) = self.0 {
            script.server().forget(number);
        }
    }
}
