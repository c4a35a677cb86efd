//! How one connection is closed: gracefully, by abort, or by a cancel and an abort.

use super::closing_socket::Closing;
use super::dropper::Droppers;
use crate::connection::permits::Permit;
use crate::sys::catch_panic::{catch_panic, drop_catching};
use crate::sys::sockets::Descriptor;
use crate::sys::spawn::spawn_with;
use std::time::Duration;

/// How long the drop of one driver connection may take before its socket is
/// shut down; a healthy one takes 50 to 270 µs.
const DROP_BOUND: Duration = Duration::from_millis(100);

/// The same while other jobs wait behind it: the bounds of many connections to a
/// frozen server must not add up.
const DROP_BOUND_FLOOR: Duration = Duration::from_millis(5);

/// One connection to close.
pub(crate) struct CloseJob {
    /// Dropping this closes the driver's connection.
    pub(crate) connection: Box<dyn Send>,
    pub(crate) socket: Option<Descriptor>,
    /// Released when the server has confirmed the close; `None`: the confirmation is not
    /// waited for.
    pub(crate) permit: Option<Permit>,
    pub(crate) grace: Duration,
    pub(crate) mode: CloseMode,
}

/// How to close.
pub(crate) enum CloseMode {
    /// By the driver's own orderly close.
    Graceful,
    /// As `Abort`; the peer has closed its end, and a check before the abort confirms
    /// it. After the abort a unix socket could not show it.
    PeerClosed,
    /// The socket is shut down first: the driver must not wait for the peer.
    Abort,
    /// A statement runs: it is cancelled first, then as `Abort`.
    CancelThenAbort(Box<dyn FnOnce() + Send>),
}

impl CloseJob {
    /// Returns what tells the pools of jobs apart.
    pub(super) fn pool(&self) -> usize {
        self.permit.as_ref().map_or(0, Permit::pool)
    }

    /// Returns `true` if it needs one of the threads that drop.
    pub(super) fn needs_dropper(&self) -> bool {
        self.socket.is_some() && !matches!(self.mode, CloseMode::CancelThenAbort(_))
    }

    /// Begins to close the connection. Does not block. If no thread can be started for
    /// what may block, nothing is done and the job is returned unchanged.
    pub(super) fn run(
        self,
        behind: usize,
        droppers: &mut Droppers,
        submit: fn(CloseJob),
    ) -> Result<(), Box<CloseJob>> {
        match (&self.mode, &self.socket) {
            (CloseMode::CancelThenAbort(_), _) => self.cancel_elsewhere(submit),
            (_, None) => self.drop_elsewhere(),
            (_, Some(_)) => self.close(behind, droppers),
        }
    }

    /// A cancel request opens a connection of its own: not on the closer's thread.
    fn cancel_elsewhere(self, submit: fn(CloseJob)) -> Result<(), Box<CloseJob>> {
        self.hand_to("poolwarden-cancel", move |mut job| {
            let mode = std::mem::replace(&mut job.mode, CloseMode::Abort);
            if let CloseMode::CancelThenAbort(cancel) = mode {
                let _ = catch_panic(cancel);
            }
            submit(job);
        })
    }

    /// Without a socket nothing can end a drop: it has a thread of its own, so that one
    /// that hangs delays no other close.
    fn drop_elsewhere(self) -> Result<(), Box<CloseJob>> {
        self.hand_to("poolwarden-drop", |job| {
            let _ = drop_catching(job.connection);
            drop(job.permit);
        })
    }

    /// Does the work on a thread of its own; if none can be started, returns the job.
    fn hand_to(
        self,
        name: &str,
        work: impl FnOnce(CloseJob) + Send + 'static,
    ) -> Result<(), Box<CloseJob>> {
        spawn_with(name, Box::new(self), |job| work(*job))
    }

    fn close(self, behind: usize, droppers: &mut Droppers) -> Result<(), Box<CloseJob>> {
        let pool = self.pool();
        let CloseJob { connection, socket, permit, grace, mode } = self;
        let Some(socket) = socket else { return Ok(()) };
        let confirmed = matches!(mode, CloseMode::PeerClosed) && socket.is_ended_by_peer();
        let mut closing = Closing { socket, permit, pool, grace, aborted: false, confirmed };
        if !matches!(mode, CloseMode::Graceful) {
            closing.abort();
        }
        let bound = DROP_BOUND / u32::try_from(behind + 1).unwrap_or(u32::MAX);
        let begun = droppers.begin(connection, closing, bound.max(DROP_BOUND_FLOOR));
        begun.map_err(|(connection, closing)| {
            let Closing { socket, permit, .. } = closing;
            Box::new(CloseJob { connection, socket: Some(socket), permit, grace, mode })
        })
    }
}
