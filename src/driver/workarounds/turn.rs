//! Turns by which dials to one server search for their sockets one after the other.
//!
//! - **Replaces**: access to the socket of a driver that shows none: if dials search at
//!   the same time, each finds the sockets of the others too.
//! - **Upstream would have to offer**: what the files say that use it.
//! - **Delete** this file with the last of them.

use crate::sys::process::{DEPTH, PerProcess};
use parking_lot::{Condvar, Mutex};
use std::path::PathBuf;
use std::time::Instant;

/// What the sockets of one server are known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerSocket {
    /// TCP, and the server's port.
    Tcp(u16),
    /// The path of the server's unix socket.
    Unix(PathBuf),
}

/// The servers to which a dial has its turn.
static TURNS: PerProcess<Mutex<Vec<ServerSocket>>> =
    PerProcess::new([const { Mutex::new(Vec::new()) }; DEPTH]);
static OVER: PerProcess<Condvar> = PerProcess::new([const { Condvar::new() }; DEPTH]);

/// The right to be the only dial to a server that searches for its socket.
pub(crate) struct Turn(ServerSocket);

impl Turn {
    /// Waits for the turn until the deadline; `None` if it did not come.
    pub(crate) fn take(server: ServerSocket, deadline: Instant) -> Option<Turn> {
        let mut turns = TURNS.get().lock();
        while turns.contains(&server) {
            if OVER.get().wait_until(&mut turns, deadline).timed_out() {
                return None;
            }
        }
        turns.push(server.clone());
        Some(Turn(server))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        TURNS.get().lock().retain(|taken| *taken != self.0);
        OVER.get().notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_turn_excludes_others_to_the_same_server_until_it_ends() {
        let take = |port| Turn::take(ServerSocket::Tcp(port), Instant::now());
        let turn = take(1).expect("it is free");
        assert!(take(1).is_none() && take(2).is_some());
        drop(turn);
        assert!(take(1).is_some());
    }

    #[test]
    fn one_who_waits_gets_the_turn_when_it_ends() {
        let turn = Turn::take(ServerSocket::Tcp(3), Instant::now()).expect("it is free");
        let far = Instant::now() + Duration::from_secs(60);
        let waiter = std::thread::spawn(move || Turn::take(ServerSocket::Tcp(3), far).is_some());
        drop(turn);
        assert!(waiter.join().expect("no panic"));
    }
}
