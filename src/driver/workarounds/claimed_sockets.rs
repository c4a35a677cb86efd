//! The sockets that a search has claimed for the connections they belong to: no other search
//! needs to look at them.
//!
//! - **Replaces**: access to the socket of a driver that shows none.
//! - **Upstream would have to offer**: what the files say that use it.
//! - **Delete** this file with the last of them.

use crate::sys::process::{DEPTH, PerProcess};
use crate::sys::unix_sockets::Identity;
use crate::sys::{socket_search, sockets};
use parking_lot::Mutex;
use std::collections::HashSet;

/// Those of them that may still be open.
static CLAIMED: PerProcess<Mutex<Vec<Identity>>> =
    PerProcess::new([const { Mutex::new(Vec::new()) }; DEPTH]);

/// Returns the sockets that were claimed.
pub(super) fn all() -> HashSet<Identity> {
    CLAIMED.get().lock().iter().copied().collect()
}

/// Claims a socket; forgets those that are closed.
pub(super) fn claim(socket: Identity) {
    let open = socket_search::numbers_of_sockets().into_iter().filter_map(sockets::identity);
    let open: HashSet<_> = open.collect();
    let mut claimed = CLAIMED.get().lock();
    claimed.retain(|socket| open.contains(socket));
    claimed.push(socket);
}
