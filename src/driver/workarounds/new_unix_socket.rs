//! The socket of a connection over a unix socket: the one that is new.
//!
//! - **Replaces**: `AsFd` for `postgres::Client`, or a hook that is called with a unix
//!   socket as `MakeTlsConnect` is with a TCP socket; `AsFd` for the connections of r2d2
//!   managers.
//! - **Upstream would have to offer**: either of them.
//! - **Delete** this file when either exists in the oldest version of the driver that this
//!   crate supports, and the other managers are pinged.
//!
//! Dials to one server take turns, so that exactly one socket to it is new. A turn lasts
//! until that socket is found, a moment after the dial began: not until the server has
//! answered. If other code connects to the same server at the same moment there are two, or
//! only the wrong one was there at first. So the search is repeated once the connection is open;
//! if several sockets are new then, the one is claimed that receives the reply to a
//! ping. The kernel tells which: a receive without `MSG_PEEK` decreases the socket's peek offset
//! by the bytes that it takes (socket(7), `SO_PEEK_OFF`). If several do, or where the system has
//! no such option, none is claimed, and the connection is pinged instead of peeked at.

use super::claimed_sockets;
use super::turn::{ServerSocket, Turn};
use crate::driver::attempt::Attempt;
use crate::sys::clock;
use crate::sys::deadlines;
use crate::sys::sockets::Descriptor;
use crate::sys::unix_sockets::{Identity, UnixSockets};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a turn lasts at most; the socket may still be found afterwards.
const TURN: Duration = Duration::from_millis(500);

/// How often the socket is looked for during a turn.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How many pings tell apart the sockets that are new. One is enough unless other code receives
/// something on one of them at the same moment.
const PINGS: usize = 4;

/// A peek offset that no reply to a ping uses up; bytes.
const FAR: i32 = 1 << 30;

/// What a dial came to.
pub(crate) enum Watched<T, E> {
    /// The result, and a descriptor of our own for the socket if exactly one appeared.
    Connected(T, Option<Descriptor>),
    Failed(E),
    /// The process lacks a descriptor for the socket's duplicate.
    NoDescriptor(io::Error),
    /// The attempt's deadline passed before its turn came.
    TimedOut,
}

/// Runs `connect` so that the socket it opens can be found: to be shut down at the
/// attempt's deadline, and to be peeked at afterwards.
pub(crate) fn watched<T, E>(
    path: &Path,
    attempt: &Attempt,
    connect: impl FnOnce() -> Result<T, E>,
    mut ping: impl FnMut(&mut T),
) -> Watched<T, E> {
    let server = ServerSocket::Unix(path.to_owned());
    let taken = Turn::take(server.clone(), attempt.deadline());
    let Some(turn) = taken else { return Watched::TimedOut };
    let search = Arc::new(Search::new(path, server, turn));
    let looking = Arc::clone(&search);
    attempt.search_with(Box::new(move || looking.find().ok().flatten()));
    let looking = Arc::clone(&search);
    let look = move || looking.look(Instant::now());
    let watch = deadlines::arm(Instant::now() + LOOK_EVERY, Arc::new(look));
    let connected = connect();
    drop(watch);
    let watched = match connected {
        Ok(mut connected) => match search.conclude(attempt.deadline(), || ping(&mut connected)) {
            Ok(found) => {
                // Past its deadline the attempt fails all the same.
                let _ = found.clone().map(|socket| attempt.watch(socket));
                Watched::Connected(connected, found)
            }
            Err(error) => Watched::NoDescriptor(error),
        },
        Err(error) => Watched::Failed(error),
    };
    search.end_turn();
    watched
}

/// The search for the socket of one dial.
struct Search {
    server: ServerSocket,
    sockets: UnixSockets,
    before: HashSet<Identity>,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    turn: Option<Turn>,
    found: Option<Descriptor>,
}

impl Search {
    fn new(path: &Path, server: ServerSocket, turn: Turn) -> Search {
        let sockets = UnixSockets::connected_to(path);
        let before = sockets.find().into_iter().map(|(_, socket)| socket).collect();
        let state = Mutex::new(State { turn: Some(turn), found: None });
        Search { server, sockets, before, began: Instant::now(), state }
    }

    /// Runs on the timer thread while the dial goes on; returns when to look next.
    fn look(&self, now: Instant) -> Option<Instant> {
        let is_found = matches!(self.find(), Ok(Some(_)));
        if !is_found && now < self.began + TURN {
            return Some(now + LOOK_EVERY);
        }
        self.end_turn();
        None
    }

    /// Returns the socket, which ends the turn, if exactly one is new.
    fn find(&self) -> io::Result<Option<Descriptor>> {
        let mut state = self.state.lock();
        if state.found.is_none() {
            let sockets = self.sockets.find().into_iter();
            let mut new = sockets.filter(|(_, socket)| !self.before.contains(socket));
            if let (Some(one), None) = (new.next(), new.next()) {
                state.found = self.sockets.duplicate(one)?;
            }
        }
        let turn = if state.found.is_some() { state.turn.take() } else { None };
        let found = state.found.clone();
        drop(state);
        drop(turn);
        Ok(found)
    }

    /// Returns the socket of the connection, which is open by now: it is the only one that is
    /// new, or the only one that receives the replies to its pings.
    fn conclude(
        &self,
        deadline: Instant,
        mut ping: impl FnMut(),
    ) -> io::Result<Option<Descriptor>> {
        let mut new = self.new_sockets()?;
        if new.len() > 1 {
            let now = Instant::now();
            // The ping that holds the turn may hang: half of the time is left without a socket.
            let middle = now + clock::left(deadline, now) / 2;
            let own = self.state.lock().turn.take();
            let Some(_turn) = own.or_else(|| Turn::take(self.server.clone(), middle)) else {
                return Ok(None);
            };
            for _ in 0..PINGS {
                new.retain(|(one, _)| one.set_peek_offset(FAR));
                ping();
                new.retain(|(one, _)| {
                    let left = one.peek_offset();
                    one.set_peek_offset(-1);
                    left.is_some_and(|left| left < FAR)
                });
                if new.len() < 2 {
                    break;
                }
            }
        }
        let only = if new.len() == 1 { new.pop() } else { None };
        let found = only.map(|(copy, socket)| {
            claimed_sockets::claim(socket);
            copy
        });
        // What was found before may be the wrong one; it is dropped without the lock.
        let before = std::mem::replace(&mut self.state.lock().found, found.clone());
        drop(before);
        Ok(found)
    }

    /// Returns the sockets that are new and not known to belong to other connections.
    fn new_sockets(&self) -> io::Result<Vec<(Descriptor, Identity)>> {
        let (found, claimed) = (self.sockets.find().into_iter(), claimed_sockets::all());
        // The one that was found before has two numbers: the driver's, and that of our duplicate.
        let mut seen = HashSet::new();
        let new = found
            .filter(|(_, socket)| !self.before.contains(socket) && !claimed.contains(socket))
            .filter(|(_, socket)| seen.insert(*socket))
            .map(|(raw, socket)| {
                Ok(self.sockets.duplicate((raw, socket))?.map(|one| (one, socket)))
            });
        new.filter_map(Result::transpose).collect()
    }

    fn end_turn(&self) {
        let turn = self.state.lock().turn.take();
        drop(turn);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::driver::attempt::AttemptOptions;
    use crate::sys::sockets;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    /// A connection and the server's end of it.
    type Ends = (UnixStream, UnixStream);

    struct Server(PathBuf, UnixListener);

    impl Server {
        fn start() -> Server {
            let path = std::env::temp_dir().join(format!("poolwarden-{}", fastrand::u64(..)));
            let listener = UnixListener::bind(&path).expect("a socket");
            Server(path, listener)
        }

        fn connect(&self) -> Ends {
            let near = UnixStream::connect(&self.0).expect("it connects");
            (near, self.1.accept().expect("a connection").0)
        }

        /// Returns the connection, and the socket that was claimed for it.
        fn dial(
            &self,
            connect: impl FnOnce() -> Ends,
            ping: impl FnMut(&mut Ends),
        ) -> (Ends, Option<Descriptor>) {
            let timeout = Duration::from_secs(60);
            let options = AttemptOptions { timeout, ..AttemptOptions::default() };
            let attempt = Attempt::new(Instant::now(), options);
            match watched(&self.0, &attempt, || Ok::<_, ()>(connect()), ping) {
                Watched::Connected(connection, found) => (connection, found),
                _ => panic!("it connects"),
            }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Makes the server send a byte, and reads it.
    fn receive((near, server): &mut Ends) {
        server.write_all(&[7]).expect("sent");
        near.read_exact(&mut [0]).expect("received");
    }

    fn is_of(found: &Option<Descriptor>, (near, _): &Ends) -> bool {
        found.as_ref().is_some_and(|found| found.is_same_socket(sockets::borrow(near)))
    }

    #[test]
    fn a_socket_that_alone_is_new_is_claimed_without_a_ping() {
        let server = Server::start();
        let _earlier = server.connect();
        let connect = || {
            let own = server.connect();
            // Meanwhile it is found.
            std::thread::sleep(20 * LOOK_EVERY);
            own
        };
        let (own, found) = server.dial(connect, |_| panic!("no ping"));
        assert!(is_of(&found, &own));
        let before = found.and_then(|found| found.peek_offset());
        assert_eq!(before, None, "peeks see everything");
    }

    #[test]
    fn of_several_new_sockets_the_one_that_receives_the_reply_is_claimed() {
        let server = Server::start();
        let mut strangers = Vec::new();
        let connect = || {
            strangers.push(server.connect());
            // Meanwhile only the wrong one can be found.
            std::thread::sleep(20 * LOOK_EVERY);
            let own = server.connect();
            strangers.push(server.connect());
            own
        };
        let (own, found) = server.dial(connect, receive);
        assert!(is_of(&found, &own));
        for stranger in strangers {
            let copy = Descriptor::duplicate(&stranger.0).expect("a descriptor");
            assert_eq!(copy.peek_offset(), None, "it is left as it was");
        }
    }

    #[test]
    fn if_other_code_receives_during_a_ping_the_next_one_decides() {
        let server = Server::start();
        let mut pings = 0;
        let busy = std::cell::RefCell::new(None);
        let dial = || {
            *busy.borrow_mut() = Some(server.connect());
            server.connect()
        };
        let ping = |own: &mut Ends| {
            pings += 1;
            receive(own);
            if pings == 1 {
                receive(busy.borrow_mut().as_mut().expect("it is open"));
            }
        };
        let (own, found) = server.dial(dial, ping);
        assert!(is_of(&found, &own));
        assert_eq!(pings, 2);
    }

    #[test]
    fn if_no_ping_decides_no_socket_is_claimed() {
        let server = Server::start();
        let busy = std::cell::RefCell::new(None);
        let dial = || {
            *busy.borrow_mut() = Some(server.connect());
            server.connect()
        };
        let ping = |own: &mut Ends| {
            receive(own);
            receive(busy.borrow_mut().as_mut().expect("it is open"));
        };
        assert!(server.dial(dial, ping).1.is_none());
    }
}
