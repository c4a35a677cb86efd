//! The socket of a `mysql` handshake under way, found by a receive timeout that no
//! application would set.
//!
//! - **Replaces**: access to the socket while `mysql::Conn::new` runs. The driver shows it
//!   only after the handshake, and bounds only the TCP connect: a server that sends one
//!   byte at a time holds the caller for as long as it likes.
//! - **Upstream would have to offer**: a deadline for the whole of `Conn::new`, or a
//!   callback that gets the socket before the first byte.
//! - **Delete** this file when either exists in the oldest version of the driver that this
//!   crate supports.

use crate::driver::Attempt;
use crate::sys::{socket_search, socket_state, sockets};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// More than a day: harmless if it were left in place. In whole seconds: a unix socket
/// rounds fractions up to 4 ms.
const FIRST: u64 = 100_000;

/// Dials under way at a time are told apart by this many values.
const VALUES: u64 = 1_000_000;

/// The receive timeout by which one dial's socket is found.
#[derive(Clone, Copy)]
pub(crate) struct Marker(Duration);

impl Marker {
    /// Returns a marker that no other dial under way has.
    pub(crate) fn next() -> Marker {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Marker(Duration::from_secs(FIRST + NEXT.fetch_add(1, Relaxed) % VALUES))
    }

    /// The `read_timeout` that the dial must have.
    pub(crate) fn read_timeout(self) -> Duration {
        self.0
    }

    /// Lets the attempt search for the socket when it must be shut down.
    pub(crate) fn search_for(self, attempt: &Attempt) {
        attempt.search_with(Box::new(move || {
            let mut found = socket_search::find_marked(self.0);
            if found.len() == 1 { found.pop() } else { None }
        }));
    }

    /// Clears the timeout of a connection that is open: it belongs to the dial only.
    pub(crate) fn clear(connection: &impl AsRawFd) -> io::Result<()> {
        socket_state::clear_timeouts(sockets::borrow(connection))
    }
}
