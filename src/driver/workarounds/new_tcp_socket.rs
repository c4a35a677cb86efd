//! The TCP socket of a connection whose driver shows none: the one that is new and
//! receives the replies to pings.
//!
//! - **Replaces**: `AsFd` for the connections of r2d2 managers, diesel's for example.
//! - **Upstream would have to offer**: that implementation, or a method of `ManageConnection`
//!   that returns the descriptor.
//! - **Delete** this file when such connections are pinged instead.
//!
//! That a socket to the server's port is new proves little: other code of the process may
//! connect to the same server at the same moment. So the new connection is pinged, and
//! only a socket that receives the same number of bytes in two pings in a row, and is the
//! only one that does, is claimed. If there are several, none is.

use super::claimed_sockets;
use super::turn::{ServerSocket, Turn};
use crate::sys::clock;
use crate::sys::sockets::{self, Descriptor};
use crate::sys::unix_sockets::Identity;
use crate::sys::{socket_search, socket_state};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

/// How many pings the search makes at most. Two are enough if no other code connects.
const PINGS: usize = 6;

/// The search for the socket that one dial opens.
pub(crate) struct NewTcpSocket {
    port: u16,
    before: HashSet<Identity>,
}

/// A socket that may be the one.
struct Candidate {
    raw: RawFd,
    socket: Identity,
    received: u64,
    /// How many bytes it received during the last ping.
    reply: u64,
    /// It received as many during the ping before.
    repeated: bool,
}

impl NewTcpSocket {
    /// Begins the search, before a connection to this port is opened.
    pub(crate) fn begin(port: u16) -> NewTcpSocket {
        NewTcpSocket { port, before: sockets_to(port).map(|(_, socket)| socket).collect() }
    }

    /// Returns a descriptor of our own for the connection that is open by now, if exactly
    /// one socket receives the replies to its pings.
    ///
    /// # Errors
    ///
    /// The ping's, and, within the result, the system's: the process has no descriptor left.
    pub(crate) fn find<E>(
        &self,
        deadline: Instant,
        mut ping: impl FnMut() -> Result<(), E>,
    ) -> Result<io::Result<Option<Descriptor>>, E> {
        let now = Instant::now();
        // The ping that holds the turn may hang: half of the time is left without a socket.
        let middle = now + clock::left(deadline, now) / 2;
        let Some(_turn) = Turn::take(ServerSocket::Tcp(self.port), middle) else {
            return Ok(Ok(None));
        };
        let mut candidates = self.candidates();
        for number in 0..PINGS {
            if candidates.is_empty() {
                break;
            }
            candidates.retain_mut(Candidate::begin);
            ping()?;
            // The reply to a first ping may be longer: the driver prepares the statement.
            candidates.retain_mut(|one| one.has_received() && (number < 2 || one.repeated));
            if let [one] = &*candidates
                && one.repeated
            {
                return Ok(one.claim());
            }
        }
        Ok(Ok(None))
    }

    fn candidates(&self) -> Vec<Candidate> {
        let claimed = claimed_sockets::all();
        let is_new = |socket: &Identity| !self.before.contains(socket) && !claimed.contains(socket);
        let new = sockets_to(self.port).filter(|(_, socket)| is_new(socket));
        new.map(|(raw, socket)| Candidate { raw, socket, received: 0, reply: 0, repeated: false })
            .collect()
    }
}

impl Candidate {
    /// Counts what was received before a ping; `false` if the system does not tell.
    fn begin(&mut self) -> bool {
        socket_state::bytes_received(self.raw).map(|count| self.received = count).is_some()
    }

    /// Returns `true` if something was received during a ping.
    fn has_received(&mut self) -> bool {
        let Some(now) = socket_state::bytes_received(self.raw) else { return false };
        let reply = now.saturating_sub(self.received);
        self.repeated = reply == self.reply;
        self.reply = reply;
        reply > 0
    }

    fn claim(&self) -> io::Result<Option<Descriptor>> {
        let is_it = |raw| sockets::identity(raw) == Some(self.socket);
        let found = sockets::duplicate_verified(self.raw, |number| is_it(number.as_raw_fd()))?;
        if found.is_some() {
            claimed_sockets::claim(self.socket);
        }
        Ok(found)
    }
}

fn sockets_to(port: u16) -> impl Iterator<Item = (RawFd, Identity)> {
    let all = socket_search::numbers_of_sockets().into_iter();
    let there = all.filter(move |raw| peer_port(*raw) == Some(port));
    there.filter_map(|raw| Some((raw, sockets::identity(raw)?)))
}

fn peer_port(raw: RawFd) -> Option<u16> {
    sockets::peer_address(raw)?.as_socket().map(|address| address.port())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// A connection and the server's end of it.
    fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        (near, listener.accept().expect("a connection").0)
    }

    /// Makes the server send so many bytes, and reads them.
    fn receive((near, server): &mut (TcpStream, TcpStream), count: usize) {
        server.write_all(&vec![0; count]).expect("sent");
        near.read_exact(&mut vec![0; count]).expect("received");
    }

    fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        (listener, port)
    }

    type Found = Result<io::Result<Option<Descriptor>>, ()>;

    fn is_socket_of(found: Found, (near, _): &(TcpStream, TcpStream)) -> bool {
        let found = found.expect("pinged").expect("a descriptor");
        found.is_some_and(|found| found.is_same_socket(sockets::borrow(near)))
    }

    fn is_none(found: Found) -> bool {
        found.expect("pinged").expect("descriptors").is_none()
    }

    #[test]
    fn the_new_socket_is_found_among_old_ones_other_ports_and_silent_ones() {
        let ((one, port), (two, _)) = (listener(), listener());
        let mut old = connect(&one);
        let search = NewTcpSocket::begin(port);
        let (mut wanted, _silent, mut elsewhere) = (connect(&one), connect(&one), connect(&two));
        let mut pings = 0;
        let found = search.find(far(), || {
            pings += 1;
            // The first reply is longer.
            receive(&mut wanted, if pings == 1 { 50 } else { 20 });
            receive(&mut old, 20);
            receive(&mut elsewhere, 20);
            Ok(())
        });
        assert!(is_socket_of(found, &wanted));
        assert_eq!(pings, 3);
    }

    #[test]
    fn a_busy_socket_is_told_apart_by_the_length_of_what_it_receives() {
        let (one, port) = listener();
        let search = NewTcpSocket::begin(port);
        let (mut wanted, mut busy) = (connect(&one), connect(&one));
        let mut pings = 0;
        let found = search.find(far(), || {
            pings += 1;
            receive(&mut wanted, 20);
            receive(&mut busy, 20 + pings);
            Ok(())
        });
        assert!(is_socket_of(found, &wanted));
    }

    #[test]
    fn of_two_that_cannot_be_told_apart_none_is_claimed() {
        let (one, port) = listener();
        let search = NewTcpSocket::begin(port);
        let (mut a, mut b) = (connect(&one), connect(&one));
        let mut pings = 0;
        let found = search.find(far(), || {
            pings += 1;
            receive(&mut a, 20);
            receive(&mut b, 20);
            Ok(())
        });
        assert!(is_none(found));
        assert_eq!(pings, PINGS);
    }

    #[test]
    fn a_socket_without_replies_or_with_varying_ones_is_not_claimed() {
        let (one, port) = listener();
        let search = NewTcpSocket::begin(port);
        let mut other = connect(&one);
        assert!(is_none(search.find(far(), || Ok(()))));
        let mut count = 0;
        let found = search.find(far(), || {
            count += 1;
            receive(&mut other, count);
            Ok(())
        });
        assert!(is_none(found));
    }

    #[test]
    fn a_socket_that_was_claimed_is_no_candidate_of_a_dial_that_began_earlier() {
        let (one, port) = listener();
        let (first, second) = (NewTcpSocket::begin(port), NewTcpSocket::begin(port));
        let (mut a, mut b) = (connect(&one), connect(&one));
        let found = first.find(far(), || {
            receive(&mut a, 20);
            Ok(())
        });
        assert!(is_socket_of(found, &a));
        let found = second.find(far(), || {
            receive(&mut a, 20);
            receive(&mut b, 20);
            Ok(())
        });
        assert!(is_socket_of(found, &b));
    }

    #[test]
    fn a_failed_ping_ends_the_search_and_without_a_turn_there_is_no_ping() {
        let (one, port) = listener();
        let search = NewTcpSocket::begin(port);
        let _new = connect(&one);
        assert!(search.find(far(), || Err(())).is_err());
        let turn = Turn::take(ServerSocket::Tcp(port), far()).expect("it is free");
        assert!(is_none(search.find(Instant::now(), || Err(()))));
        drop(turn);
    }
}
