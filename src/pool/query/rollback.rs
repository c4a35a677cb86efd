//! A rollback that takes no longer than its bound.

use super::common::{BorrowTimeout, ROLLBACK_BOUND};
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::pool::guard::PooledConnection;
use crate::sys::deadlines;
use crate::sys::sockets::Descriptor;
use std::time::Instant;

/// What bounds the rollback of a transaction.
pub(super) struct Rollback {
    socket: Option<Descriptor>,
    timeout: BorrowTimeout,
}

impl Rollback {
    pub(super) fn on<D: Driver>(connection: &PooledConnection<D>) -> Rollback {
        let socket = connection.lease().managed().socket_copy();
        Rollback { socket, timeout: BorrowTimeout::of(connection) }
    }

    /// Runs a rollback whose socket is shut down if it takes too long; returns why the
    /// connection must be closed if that did not work.
    pub(super) fn run<T, E>(&self, rollback: impl FnOnce() -> Result<T, E>) -> Option<CloseReason> {
        // Without a socket a rollback that hangs could not be aborted; closing rolls back as
        // well.
        let Some(socket) = self.socket.clone().filter(|_| self.timeout.lift()) else {
            return Some(CloseReason::Dirty);
        };
        let watch = deadlines::abort_at(Instant::now() + ROLLBACK_BOUND, socket);
        let rolled_back = rollback();
        drop(watch);
        rolled_back.is_err().then_some(CloseReason::Dirty)
    }

    /// Returns `true` if the peer is known to have closed the connection.
    pub(super) fn is_ended_by_peer(&self) -> bool {
        self.socket.as_ref().is_some_and(Descriptor::is_ended_by_peer)
    }
}
