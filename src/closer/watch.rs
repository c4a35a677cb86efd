//! A closed connection that the server has not let go of yet.

use crate::budget::{Abandoned, Permit};
use crate::fence::drop_fenced;
use crate::liveness::Descriptor;
use std::time::{Duration, Instant};

/// How long an abandoned connection is watched at most: a server that has not
/// let go by then has nothing left that a descriptor of ours could tell.
const WATCH_AT_MOST: Duration = Duration::from_secs(15 * 60);

/// How often orphans are looked for: nobody wakes us when a pool is dropped.
const ORPHAN_LOOK: Duration = Duration::from_millis(100);

/// How much that nobody will read is thrown away at one look, in bytes, and of one
/// connection altogether: a server that streams on is not listened to for ever.
const THROWN_AT_ONCE: usize = 1 << 20;
const THROWN_AT_MOST: usize = 1 << 26;

/// Our last hold on a closed connection, and the permit that waits for its end.
pub(super) struct Watched {
    socket: Descriptor,
    right: Right,
    /// We shut both directions down: poll is useless, the TCP state is asked.
    cut: bool,
    confirmed: bool,
    thrown: usize,
    since: Instant,
    deadline: Instant,
}

enum Right {
    Permit(Permit),
    Abandoned(Option<Abandoned>),
}

impl Watched {
    pub(super) fn new(socket: Descriptor, permit: Permit, cut: bool, deadline: Instant) -> Watched {
        if !cut {
            // Our duplicate would keep the connection half open for ever.
            socket.finish();
        }
        let (right, since) = (Right::Permit(permit), Instant::now());
        Watched { socket, right, cut, confirmed: false, thrown: 0, since, deadline }
    }

    pub(super) fn socket(&self) -> &Descriptor {
        &self.socket
    }

    /// Tells whether the poll set can see the server's end of it.
    pub(super) fn is_polled(&self) -> bool {
        !self.cut
    }

    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Gives the permit back when the server has let go or the grace is over;
    /// tells whether there is nothing left to watch.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if self.thrown < THROWN_AT_MOST {
            self.thrown += self.socket.discard_received(THROWN_AT_ONCE);
        }
        let released = if self.cut { self.socket.released_by_peer() } else { None };
        if self.confirmed || released == Some(true) || self.is_orphaned() {
            self.let_go();
            return true;
        }
        if now < self.deadline {
            return false;
        }
        // A socket that cannot tell, a unix socket that we cut, is not watched on.
        let blind = self.cut && released.is_none();
        if blind || now >= self.since + WATCH_AT_MOST {
            self.let_go();
            return true;
        }
        self.abandon();
        self.deadline = self.since + WATCH_AT_MOST;
        false
    }

    fn is_orphaned(&self) -> bool {
        match &self.right {
            Right::Permit(permit) => permit.is_orphaned(),
            Right::Abandoned(abandoned) => abandoned.as_ref().is_none_or(Abandoned::is_orphaned),
        }
    }

    /// Giving a permit back calls the pool, which may start a dial: fenced.
    fn let_go(&mut self) {
        let right = std::mem::replace(&mut self.right, Right::Abandoned(None));
        let _ = drop_fenced(right);
    }

    fn abandon(&mut self) {
        let right = std::mem::replace(&mut self.right, Right::Abandoned(None));
        self.right = match right {
            Right::Permit(permit) => {
                let abandoned = crate::fence::fence(|| permit.abandon());
                Right::Abandoned(abandoned.unwrap_or(None))
            }
            other => other,
        };
    }

    /// How long until this one must be looked at again.
    pub(super) fn next_look(&self, now: Instant) -> Duration {
        let until_deadline = self.deadline.saturating_duration_since(now);
        let wait = if self.cut {
            // Nothing wakes us for these: soon at first, then more and more rarely.
            let age = now.saturating_duration_since(self.since);
            (age / 4).clamp(Duration::from_millis(1), Duration::from_millis(50))
        } else {
            ORPHAN_LOOK
        };
        until_deadline.min(wait)
    }
}
