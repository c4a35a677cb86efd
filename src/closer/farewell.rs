//! How one connection is closed: orderly, cut, or cancelled and cut.

use super::dropper::Dropper;
use super::stop::Stop;
use super::watch::Watched;
use crate::budget::Permit;
use crate::fence::drop_fenced;
use crate::liveness::Descriptor;
use crate::watchdog;
use std::time::{Duration, Instant};

/// How long the drop of one driver connection may take before its socket is
/// shut down; a healthy one takes 50 to 270 µs.
const DROP_BOUND: Duration = Duration::from_millis(100);

/// The same while others wait behind it: a row of frozen ones must not add up.
const DROP_BOUND_FLOOR: Duration = Duration::from_millis(5);

/// How long a cancel request may take.
const CANCEL_BOUND: Duration = Duration::from_secs(1);

/// One connection to close.
pub(crate) struct Farewell {
    /// Dropping this closes the driver's connection.
    pub(crate) connection: Box<dyn Send>,
    pub(crate) socket: Option<Descriptor>,
    /// What goes back when the server has confirmed; `None` closes and forgets.
    pub(crate) permit: Option<Permit>,
    pub(crate) grace: Duration,
    pub(crate) manner: Manner,
}

/// How to close.
pub(crate) enum Manner {
    /// By the driver's own goodbye.
    Orderly,
    /// As `Cut`; the other side has closed its end, and a look before the cut
    /// confirms it. After the cut a unix socket could not tell.
    Ended,
    /// The socket is shut down first: the other side is not to be waited for.
    Cut,
    /// A statement runs: it is stopped first, then as `Cut`.
    Cancel(Stop),
}

impl Farewell {
    /// Closes the connection; returns what remains to be watched.
    pub(super) fn say(mut self, behind: usize, dropper: &mut Dropper) -> Option<Watched> {
        match std::mem::replace(&mut self.manner, Manner::Cut) {
            Manner::Orderly | Manner::Ended | Manner::Cut if self.socket.is_none() => {
                self.part_elsewhere();
                None
            }
            Manner::Orderly => self.part(behind, false, dropper),
            Manner::Ended => {
                let ended = self.socket.as_ref().is_some_and(Descriptor::is_ended_by_peer);
                let mut watched = self.part(behind, true, dropper)?;
                if ended {
                    watched.confirm();
                }
                Some(watched)
            }
            Manner::Cut => self.part(behind, true, dropper),
            Manner::Cancel(stop) => {
                self.cancel_elsewhere(stop);
                None
            }
        }
    }

    /// A cancel request is a connection of its own: not on the closer's thread.
    fn cancel_elsewhere(self, stop: Stop) {
        let work = move || {
            // This connection has a permit itself: another is waited for only if one is
            // kept for this. What the request cannot do, the cut that follows does.
            let _ = stop.send(CANCEL_BOUND, Duration::ZERO);
            super::submit(self);
        };
        // Without a thread the job drops here: its connection closes uncancelled.
        let _ = std::thread::Builder::new().name("poolwarden-cancel".into()).spawn(work);
    }

    /// Nothing can end a drop without a socket: it has a thread of its own, so that
    /// one that hangs holds up no other closing.
    fn part_elsewhere(self) {
        let work = move || {
            let _ = drop_fenced(self.connection);
            drop(self.permit);
        };
        // Without a thread the job drops here, behind the closer's fence.
        let _ = std::thread::Builder::new().name("poolwarden-drop".into()).spawn(work);
    }

    fn part(self, behind: usize, mut cut: bool, dropper: &mut Dropper) -> Option<Watched> {
        if cut && let Some(socket) = &self.socket {
            socket.abort();
        }
        let bound = DROP_BOUND / u32::try_from(behind + 1).unwrap_or(u32::MAX);
        let bound = bound.max(DROP_BOUND_FLOOR);
        let deadline = Instant::now() + bound;
        let watch = self.socket.clone().map(|socket| watchdog::cut_at(deadline, socket));
        dropper.drop_within(self.connection, bound);
        drop(watch);
        // From the deadline on a bite may be under way: then it is cut, and the poll
        // flags that a cut sets by itself are not taken for the other side's end.
        if Instant::now() >= deadline
            && let Some(socket) = &self.socket
        {
            socket.abort();
            cut = true;
        }
        match (self.socket, self.permit) {
            (Some(socket), Some(permit)) => {
                Some(Watched::new(socket, permit, cut, Instant::now() + self.grace))
            }
            _ => None,
        }
    }
}
