//! One session of the fake server: the far end of one connection.

use super::script::Script;
use socket2::Socket;
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What the server says at first, and in answer to a ping.
pub(super) const ALIVE: u8 = b'!';
pub(super) const PING: u8 = b'?';
pub(super) const FAREWELL: u8 = b'.';

/// The far end of a socket, or the mere fact that there is a connection.
pub(super) struct Session {
    pub(super) far: Option<Socket>,
    /// It answers no ping; it does all else.
    pub(super) mute: AtomicBool,
}

impl Session {
    pub(super) fn new(far: Option<Socket>) -> Session {
        Session { far, mute: AtomicBool::new(false) }
    }

    pub(super) fn greet(&self) {
        self.say(&[ALIVE]);
    }

    pub(super) fn say(&self, bytes: &[u8]) {
        // The other side may have gone: that is found out by reading.
        let _ = self.far.as_ref().map(|mut far| far.write_all(bytes));
    }

    /// Reads what came and answers it; tells whether the session is over.
    pub(super) fn serve(&self) -> bool {
        let Some(mut far) = self.far.as_ref() else { return false };
        let mut bytes = [0; 64];
        match far.read(&mut bytes) {
            Ok(0) => true,
            Ok(length) => {
                let pings = bytes[..length].iter().filter(|byte| **byte == PING).count();
                self.say(&vec![ALIVE; if self.mute.load(Relaxed) { 0 } else { pings }]);
                bytes[..length].contains(&FAREWELL)
            }
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

/// Ends the session of a connection that has no socket when it is dropped.
pub(super) struct Gone<'a>(Option<(&'a Script, u64)>);

impl Gone<'_> {
    pub(super) fn of(script: &Script, number: u64, without_socket: bool) -> Gone<'_> {
        Gone(without_socket.then_some((script, number)))
    }
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        if let Some((script, number)) = self.0 {
            script.server().forget(number);
        }
    }
}
