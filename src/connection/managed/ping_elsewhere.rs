//! The ping of a connection without a socket, on a thread that can be left behind:
//! there is nothing to shut down if the server does not answer.

use super::cause::CloseCause;
use super::managed::Managed;
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::spawn::spawn_with;
use std::time::Instant;

/// Pings on another thread; returns the connection unless it is left behind with that
/// thread, which then closes it.
///
/// Blocks until the deadline at most.
pub(crate) fn ping_elsewhere<D: Driver>(
    managed: Box<Managed<D>>,
    deadline: Instant,
    is_full_timeout: bool,
) -> (Option<Box<Managed<D>>>, Result<(), CloseCause>) {
    let (began, shared) = (Instant::now(), managed.shared.clone());
    // Without room: a report that comes too late is known to be.
    let (report, answer) = crossbeam_channel::bounded(0);
    let work = move |mut managed: Box<Managed<D>>| {
        let verdict = managed.ping(deadline, is_full_timeout);
        if let Err(late) = report.send((managed, verdict)) {
            let mut managed = late.0.0;
            managed.close_with(CloseCause::planned(CloseReason::PingTimeout));
        }
    };
    if let Err(managed) = spawn_with("poolwarden-ping", managed, work) {
        return (Some(managed), Err(CloseCause::planned(CloseReason::PingFailed)));
    }
    if let Ok((managed, verdict)) = answer.recv_deadline(deadline) {
        return (Some(managed), verdict);
    }
    if is_full_timeout {
        shared.rule_out_unverified(began);
    }
    (None, Err(CloseCause::planned(CloseReason::PingTimeout)))
}
