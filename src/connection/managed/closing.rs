//! How a managed connection is closed or detached.

use super::cause::CloseCause;
use super::managed::Managed;
use super::parts::Parts;
use crate::connection::closer;
use crate::connection::closer::{CloseJob, CloseMode, Stop};
use crate::driver::Driver;
use crate::observe::{CloseReason, Closed};
use crate::sys::clock::Tick;
use std::time::Duration;
use std::time::Instant;

impl<D: Driver> Managed<D> {
    /// Sets the cause with which this connection is closed when it is dropped; the first
    /// one set counts.
    pub(crate) fn close_with(&mut self, cause: CloseCause) {
        if cause.reason.requires_verification() {
            self.shared.require_verification(Instant::now());
        }
        self.cause.get_or_insert(cause);
    }

    /// The same for one that a bare `r2d2::Pool` checks in.
    pub(crate) fn close_in_use_with(&mut self, cause: CloseCause) {
        self.was_in_use = true;
        self.close_with(cause);
    }

    /// Takes the driver's connection out of the pool; the permit is released and every
    /// descriptor of ours is closed.
    pub(crate) fn detach(mut self) -> Option<D::Connection> {
        if self.is_forked() {
            return self.parts.take().map(Parts::into_connection);
        }
        self.retire_timer();
        self.close_with(CloseCause::planned(CloseReason::Detached));
        self.watched = None;
        let parts = self.parts.take();
        self.report(Instant::now());
        parts.map(Parts::into_connection)
    }

    pub(super) fn report(&mut self, now: Instant) {
        let ended = self.checkout.check_in(Tick::of(now));
        self.shared.unregister(&self.checkout);
        if let Some(encryption) = self.encryption.take() {
            self.shared.totals().leave_encryption(encryption);
        }
        let cause = self.cause.take().unwrap_or_else(|| CloseCause::planned(CloseReason::Released));
        let was_idle = ended.is_none() && !self.was_in_use;
        if let Some(ended) = ended {
            self.report_checkin(ended);
        }
        let idle = self.idle_for(now);
        let event = Closed {
            pool: self.shared.event_log().pool(),
            connection: self.id,
            reason: cause.reason,
            message: cause.message.as_ref(),
            age: now.saturating_duration_since(self.birth) + self.asleep,
            idle: if was_idle { idle } else { Duration::ZERO },
        };
        self.shared.event_log().closed(self.shared.totals(), &event, now);
        if !cause.reason.is_planned() {
            self.shared.watch_bursts();
        }
    }

    /// Closes it now; its drop only reports that. Several that are closed together are
    /// all closed before the first report, which an observer may hold up.
    pub(crate) fn close_now(&mut self) {
        if self.parts.is_none() {
            return;
        }
        self.watched = None;
        if crate::sys::catch_panic::catch_panic(|| self.submit_close()).is_err() {
            self.shared.totals().count_panic();
        }
        self.closed = Some(Instant::now());
    }

    /// Gives the driver's connection to the closer, which releases the permit.
    fn submit_close(&mut self) {
        self.retire_timer();
        if self.close_after_hook() {
            return;
        }
        let busy = self.cause.as_ref().is_some_and(|cause| cause.busy);
        let stop = if busy {
            self.timer.get().map_or_else(|| self.stop(), |timer| timer.stop())
        } else {
            None
        };
        let Some(mut parts) = self.parts.take() else { return };
        let owed = parts.give_up(&self.shared);
        let cause = self.cause.as_ref();
        let mode = if busy {
            stop.map_or(CloseMode::Abort, cancel_then_abort)
        } else if cause.is_some_and(|cause| cause.reason.peer_has_closed()) {
            CloseMode::PeerClosed
        } else if owed || cause.is_some_and(|cause| cause.reason.peer_is_unresponsive()) {
            CloseMode::Abort
        } else {
            CloseMode::Graceful
        };
        let socket = parts.socket_copy(&self.shared);
        closer::submit(CloseJob {
            connection: Box::new(parts),
            socket,
            permit: self.permit.take(),
            grace: self.shared.config().close_grace,
            mode,
        });
    }
}

impl<D: Driver> Drop for Managed<D> {
    fn drop(&mut self) {
        if self.shared.is_forked() {
            // The session is the parent's: nothing may be sent to it or shut down.
            std::mem::forget((self.parts.take(), self.permit.take(), self.timer.take()));
            return;
        }
        // The closer first: a slow log sink must not delay the permit.
        self.close_now();
        if let Some(closed) = self.closed.take() {
            self.report(closed);
        }
    }
}

/// How long a cancel request may take before its connection is aborted.
const CANCEL_BOUND: Duration = Duration::from_secs(1);

/// Cancels the running statement, then aborts. The connection has a permit itself:
/// another is waited for only if one is reserved for cancel requests. What the request
/// cannot do, the abort that follows does.
fn cancel_then_abort(stop: Stop) -> CloseMode {
    CloseMode::CancelThenAbort(Box::new(move || drop(stop.send(CANCEL_BOUND, Duration::ZERO))))
}
