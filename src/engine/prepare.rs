//! The hooks of a check-out: `on_checkout`, and the closure of one caller.

use super::checkout_error;
use super::engine::Engine;
use super::lease::Lease;
use super::wait_phase::WaitPhase;
use crate::connection::CloseCause;
use crate::driver::Driver;
use crate::error::{BoxError, Error, ErrorKind, Usability};
use crate::observe::CloseReason;
use crate::sys::catch_panic::drop_catching;
use std::sync::Arc;
use std::time::Instant;

/// The outcome of a hook for the caller that wanted the connection.
pub(crate) enum Prepared<L> {
    Ready(L),
    /// The connection was discarded; another one may be accepted.
    Refused,
}

impl<D: Driver> Engine<D> {
    /// Runs `on_checkout`, by the deadline. If it refuses a connection that was opened for
    /// this caller, the next one would be refused as well: its error is returned.
    pub(super) fn prepare(
        self: &Arc<Self>,
        mut lease: Lease<D>,
        is_new: bool,
        deadline: Instant,
    ) -> Result<Prepared<Lease<D>>, Error> {
        let refusal = match lease.managed_mut().run_on_checkout(deadline) {
            Ok(()) => return Ok(Prepared::Ready(lease)),
            Err(refusal) => refusal,
        };
        lease.discard(refusal.cause);
        if is_new && !(refusal.is_late && Instant::now() >= deadline) {
            return Err(self.refused("the on_checkout hook failed", refusal.error));
        }
        let _ = drop_catching(refusal.error);
        Ok(Prepared::Refused)
    }

    /// Runs a caller's own closure on a connection that is checked out, by the deadline.
    ///
    /// If the connection was lost, another one may be better, unless it was opened for this
    /// caller. If it was not lost, it is checked in and the closure's error is returned.
    pub(crate) fn prepare_for_caller(
        self: &Arc<Self>,
        mut lease: Lease<D>,
        hook: &mut dyn FnMut(&mut D::Connection) -> Result<(), BoxError>,
        (began, deadline): (Instant, Instant),
    ) -> Result<Prepared<Lease<D>>, Error> {
        if !self.shared.may_block_here() {
            drop(lease);
            return Err(checkout_error::async_context(self, "prepare a connection"));
        }
        if Instant::now() >= deadline {
            drop(lease);
            let timeout = deadline.saturating_duration_since(began);
            return Err(checkout_error::too_late(self, began, timeout, WaitPhase::Preparing));
        }
        let is_new = lease.managed().is_new_since(began);
        let refusal = match lease.managed_mut().run_hook("get_with", hook, deadline) {
            Ok(()) => return Ok(Prepared::Ready(lease)),
            Err(refusal) => refusal,
        };
        let error = self.refused("the closure of get_with failed", refusal.error);
        if refusal.is_late || refusal.cause.reason == CloseReason::Panicked {
            lease.discard(refusal.cause);
        } else if error.fault().connection() == Usability::Broken || lease.managed_mut().is_lost() {
            lease.discard(CloseCause::planned(CloseReason::Broken));
            if !is_new {
                let _ = drop_catching(error);
                return Ok(Prepared::Refused);
            }
        }
        Err(error)
    }

    fn refused(&self, what: &str, error: BoxError) -> Error {
        let error = Error::new(ErrorKind::Hook, what).with_source(error);
        error.in_pool(self.shared.name()).with_levels(self.levels())
    }
}
