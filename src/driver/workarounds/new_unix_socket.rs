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
//! answered. If other code connects to the same server at the same moment there are two:
//! then neither is claimed, and the connection is pinged instead of peeked at.

use super::turn::{ServerSocket, Turn};
use crate::driver::attempt::Attempt;
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
) -> Watched<T, E> {
    let server = ServerSocket::Unix(path.to_owned());
    let Some(turn) = Turn::take(server, attempt.deadline()) else { return Watched::TimedOut };
    let search = Arc::new(Search::new(path, turn));
    let looking = Arc::clone(&search);
    attempt.search_with(Box::new(move || looking.find().ok().flatten()));
    let looking = Arc::clone(&search);
    let look = move || looking.look(Instant::now());
    let watch = deadlines::arm(Instant::now() + LOOK_EVERY, Arc::new(look));
    let connected = connect();
    drop(watch);
    let found = search.find();
    search.end_turn();
    match (connected, found) {
        (Ok(connected), Ok(found)) => {
            // Past its deadline the attempt fails all the same.
            let _ = found.clone().map(|socket| attempt.watch(socket));
            Watched::Connected(connected, found)
        }
        (Ok(_), Err(error)) => Watched::NoDescriptor(error),
        (Err(error), _) => Watched::Failed(error),
    }
}

/// The search for the socket of one dial.
struct Search {
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
    fn new(path: &Path, turn: Turn) -> Search {
        let sockets = UnixSockets::connected_to(path);
        let before = sockets.find().into_iter().map(|(_, socket)| socket).collect();
        let state = Mutex::new(State { turn: Some(turn), found: None });
        Search { sockets, before, began: Instant::now(), state }
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

    fn end_turn(&self) {
        let turn = self.state.lock().turn.take();
        drop(turn);
    }
}
