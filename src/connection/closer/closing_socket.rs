//! A closed connection whose close the server has not confirmed yet.

use crate::connection::permits::{Abandoned, Permit};
use crate::sys::catch_panic::drop_catching;
use crate::sys::sockets::Descriptor;
use std::time::{Duration, Instant};

/// How long an abandoned connection is watched at most.
const WATCH_AT_MOST: Duration = Duration::from_secs(15 * 60);

/// How often orphans are looked for: dropping a pool does not wake the closer.
const ORPHAN_LOOK: Duration = Duration::from_millis(100);

/// How many received bytes are discarded at one look, and of one connection in all: a
/// server that keeps sending is not read without end.
const DISCARD_AT_ONCE: usize = 1 << 20;
const DISCARD_LIMIT: usize = 1 << 26;

/// How long a server has after a RST to end the session.
const RESET_GRACE: Duration = Duration::from_millis(50);

/// A connection while its driver drops it.
pub(super) struct Closing {
    pub(super) socket: Descriptor,
    pub(super) permit: Option<Permit>,
    /// What tells the pools of connections apart.
    pub(super) pool: usize,
    pub(super) grace: Duration,
    pub(super) aborted: bool,
    /// The peer had closed its end before we did anything to the socket.
    pub(super) confirmed: bool,
}

impl Closing {
    pub(super) fn abort(&mut self) {
        self.socket.abort();
        self.aborted = true;
    }

    /// Returns what remains to be watched after the drop.
    pub(super) fn watch(self, now: Instant) -> Option<Watched> {
        let mut watched = Watched::new(self.socket, self.permit?, self.aborted, now + self.grace);
        watched.confirmed = self.confirmed;
        Some(watched)
    }
}

/// Our descriptor of a closed connection, and the permit that is released with it.
pub(super) struct Watched {
    socket: Descriptor,
    right: Right,
    /// We shut both directions down: poll shows nothing then, only the TCP state does.
    aborted: bool,
    confirmed: bool,
    discarded: usize,
    since: Instant,
    /// The end of the grace.
    deadline: Instant,
    is_abandoned: bool,
    /// When we reset the connection: the kernel shows nothing of the server any more.
    reset: Option<Instant>,
}

enum Right {
    Permit(Permit),
    Abandoned(Option<Abandoned>),
}

impl Watched {
    pub(super) fn new(
        socket: Descriptor,
        permit: Permit,
        aborted: bool,
        deadline: Instant,
    ) -> Watched {
        if !aborted {
            // Without a FIN our duplicate would keep the connection half open.
            socket.finish();
        }
        Watched {
            socket,
            right: Right::Permit(permit),
            aborted,
            confirmed: false,
            discarded: 0,
            since: Instant::now(),
            deadline,
            is_abandoned: false,
            reset: None,
        }
    }

    pub(super) fn socket(&self) -> &Descriptor {
        &self.socket
    }

    /// Returns `true` if `poll` can show the server's close.
    pub(super) fn is_polled(&self) -> bool {
        !self.aborted && self.reset.is_none()
    }

    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Releases the permit when the server has confirmed the close or the grace is over;
    /// returns `true` if there is nothing left to watch.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        let released = self.released(now);
        if released == Some(true) || self.is_orphaned() {
            self.release();
            return true;
        }
        let received = self.discard();
        // A server that is blocked in sending does not see that we have closed.
        let is_sending = received > 0 && now >= self.deadline;
        if self.reset.is_none() && (is_sending || self.discarded >= DISCARD_LIMIT) {
            self.socket.reset();
            self.reset = Some(now);
        }
        if now < self.deadline || self.reset.is_some() {
            return false;
        }
        // An aborted unix socket never shows the server's close.
        let is_blind = self.aborted && released.is_none();
        if is_blind || now >= self.since + WATCH_AT_MOST {
            self.release();
            return true;
        }
        if !self.is_abandoned {
            self.is_abandoned = true;
            self.abandon();
        }
        false
    }

    /// Returns `true` if the server has closed its end; `None` if that cannot be known.
    fn released(&self, now: Instant) -> Option<bool> {
        if let Some(reset) = self.reset {
            return Some(now >= reset + RESET_GRACE);
        }
        if self.confirmed {
            return Some(true);
        }
        if self.aborted { self.socket.released_by_peer() } else { Some(false) }
    }

    /// Discards what has been received; returns how much.
    fn discard(&mut self) -> usize {
        if self.reset.is_some() {
            return 0;
        }
        let received = self.socket.discard_received(DISCARD_AT_ONCE);
        self.discarded += received;
        received
    }

    fn is_orphaned(&self) -> bool {
        match &self.right {
            Right::Permit(permit) => permit.is_orphaned(),
            Right::Abandoned(abandoned) => abandoned.as_ref().is_none_or(Abandoned::is_orphaned),
        }
    }

    /// Releasing a permit calls the pool, which may start a dial: panics are caught.
    fn release(&mut self) {
        let right = std::mem::replace(&mut self.right, Right::Abandoned(None));
        let _ = drop_catching(right);
    }

    fn abandon(&mut self) {
        let right = std::mem::replace(&mut self.right, Right::Abandoned(None));
        self.right = match right {
            Right::Permit(permit) => {
                let abandoned = crate::sys::catch_panic::catch_panic(|| permit.abandon());
                Right::Abandoned(abandoned.unwrap_or(None))
            }
            other => other,
        };
    }

    /// Returns how long until the next look at this one.
    pub(super) fn next_look(&self, now: Instant) -> Duration {
        let end = if self.is_abandoned { self.since + WATCH_AT_MOST } else { self.deadline };
        let wait = if self.is_polled() {
            ORPHAN_LOOK
        } else {
            // Nothing wakes us for these: frequent looks at first, then rarer ones.
            let age = now.saturating_duration_since(self.reset.unwrap_or(self.since));
            (age / 4).clamp(Duration::from_millis(1), Duration::from_millis(50))
        };
        // Past its end one waits for its reset only.
        if now < end { wait.min(end - now) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::permits::Permits;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_closing_connection_of_a_dropped_pool_is_no_longer_watched() {
        for grace in [Duration::ZERO, Duration::from_secs(3600)] {
            let permits = Permits::new(1);
            let permit = permits.try_take().expect("a permit");
            // The server's end stays open: the close is not confirmed.
            let (near, _far) = UnixStream::pair().expect("a socket pair");
            let socket = Descriptor::duplicate(&near).expect("a socket pair");
            let now = Instant::now();
            let mut watched = Watched::new(socket, permit, false, now + grace);
            assert!(!watched.is_over(now), "as long as there is a pool, grace {grace:?}");
            assert_eq!(permits.usage().abandoned, u32::from(grace.is_zero()));
            permits.orphan();
            assert!(watched.is_over(now), "grace {grace:?}");
            assert_eq!((permits.usage().used, permits.usage().abandoned), (0, 0));
        }
    }
}
