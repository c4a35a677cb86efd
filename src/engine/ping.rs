//! A ping at check-out that its caller may leave: it continues on another thread.
//!
//! A ping that is cut off by the caller's own deadline would say nothing about the
//! connection, and closing the connection for it would be wrong.

use super::engine::{Engine, discard};
use super::lease::Lease;
use crate::connection::CloseCause;
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::{clock, deadlines};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// The outcome of a ping for the caller that wanted the connection.
pub(super) enum Pinged<D: Driver> {
    Answered(Lease<D>),
    /// The connection was discarded for this reason.
    Failed(CloseReason),
    /// The caller's deadline passed first. The connection is checked in or discarded
    /// when the ping ends.
    Late,
}

/// Pings until `ping_timeout` has passed; the caller waits until its own deadline.
///
/// On this thread if the ping is bounded and ends before the caller's deadline.
pub(super) fn ping<D: Driver>(
    engine: &Arc<Engine<D>>,
    mut lease: Lease<D>,
    caller: Instant,
) -> Pinged<D> {
    let began = Instant::now();
    let deadline = clock::after(began, engine.shared.config().ping_timeout);
    let is_bounded = lease.managed().ping_is_bounded();
    if is_bounded && deadline <= caller {
        let verdict = lease.managed_mut().ping(deadline, true);
        return conclude(lease, verdict);
    }
    let engine = Arc::clone(engine);
    let ping = Ping { engine, lease: Mutex::new(Some(lease)), began, deadline, is_bounded };
    Arc::new(ping).run_elsewhere(caller)
}

fn conclude<D: Driver>(lease: Lease<D>, verdict: Result<(), CloseCause>) -> Pinged<D> {
    match verdict {
        Ok(()) => Pinged::Answered(lease),
        Err(cause) => {
            let reason = cause.reason;
            lease.discard(cause);
            Pinged::Failed(reason)
        }
    }
}

/// A ping on another thread.
struct Ping<D: Driver> {
    engine: Arc<Engine<D>>,
    /// Law: taken by the one that accounts for the connection: the ping's thread, or
    /// whatever finds first that the ping did not return in time.
    lease: Mutex<Option<Lease<D>>>,
    began: Instant,
    deadline: Instant,
    is_bounded: bool,
}

type Answer<D> = (Lease<D>, Result<(), CloseCause>);

impl<D: Driver> Ping<D> {
    fn run_elsewhere(self: Arc<Self>, caller: Instant) -> Pinged<D> {
        // Without room, so that the ping's thread learns when the caller has left.
        let (report, answer) = bounded(0);
        let ping = Arc::clone(&self);
        let thread = std::thread::Builder::new().name("poolwarden-ping".into());
        match thread.spawn(move || ping.run(&report)) {
            Ok(_) => self.wait(&answer, caller),
            Err(_) => self.run_here(caller),
        }
    }

    fn wait(&self, answer: &Receiver<Answer<D>>, caller: Instant) -> Pinged<D> {
        match answer.recv_deadline(self.deadline.min(caller)) {
            Ok((lease, verdict)) => conclude(lease, verdict),
            Err(_) if self.deadline <= caller => {
                self.give_up();
                Pinged::Failed(CloseReason::PingTimeout)
            }
            Err(_) => Pinged::Late,
        }
    }

    /// Without a thread the ping must end by the caller's deadline, or not begin.
    fn run_here(&self, caller: Instant) -> Pinged<D> {
        let Some(mut lease) = self.lease.lock().take() else { return Pinged::Late };
        if self.is_bounded && Instant::now() < caller {
            let verdict = lease.managed_mut().ping(caller, false);
            return conclude(lease, verdict);
        }
        lease.put_back();
        Pinged::Late
    }

    fn run(self: Arc<Self>, report: &Sender<Answer<D>>) {
        let Some(mut managed) = self.lease.lock().as_mut().and_then(Lease::lend) else { return };
        // Without access to the socket there is nothing to shut down at the deadline: the
        // connection is given up, and this thread is left behind with it.
        let watch = (!self.is_bounded).then(|| {
            let ping = Arc::clone(&self);
            deadlines::arm(self.deadline, Arc::new(move || ping.give_up()))
        });
        let verdict = managed.ping(self.deadline, true);
        drop(watch);
        let Some(mut lease) = self.lease.lock().take() else {
            return discard(managed, CloseCause::planned(CloseReason::PingTimeout));
        };
        lease.returned(managed);
        // The caller has left: the connection is for the next one.
        if let Err(unheard) = report.send((lease, verdict)) {
            match unheard.0 {
                (lease, Ok(())) => lease.put_back(),
                (lease, Err(cause)) => lease.discard(cause),
            }
        }
    }

    /// Counts the connection off if its ping has not returned, and rules out those that
    /// were not verified since.
    fn give_up(&self) -> Option<Instant> {
        let lease = self.lease.lock().take();
        match lease {
            Some(mut lease) if lease.is_lent() => {
                self.engine.shared.rule_out_unverified(self.began);
                lease.lost();
            }
            // The thread has not begun: nothing is known of the connection.
            Some(lease) => lease.put_back(),
            None => {}
        }
        None
    }
}
