//! What idle connections are taken out for: the pings of `keepalive_ping`, before a proxy or
//! the server ends them for being idle, and the question whether their slot of a fleet is
//! wanted.

use super::engine::{Engine, discard};
use crate::connection::{CheckoutVerdict, CloseCause, Managed};
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::clock::{self, Tick};
use crate::sys::deadlines;
use crate::sys::spawn::spawn_with;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::AcqRel};
use std::time::Instant;

/// How many connections of a pool are pinged at a time.
const AT_ONCE: u32 = 4;

impl<D: Driver> Engine<D> {
    /// Starts a thread for each idle connection that is to be pinged, a few at a time; each
    /// thread goes on with those that are due when it is done with one.
    pub(super) fn keep_alive(self: &Arc<Self>, now: Instant) {
        let config = self.shared.config();
        if self.shared.age_limits().keepalive().is_none() && config.fleet_cap.is_none() {
            return;
        }
        while let Some((borrowed, managed)) = Borrowed::take_due(self, now) {
            let first = Arc::clone(&borrowed);
            let work = move |managed| first.ping_and_go_on(managed);
            if let Err(managed) = spawn_with("poolwarden-keepalive", managed, work) {
                // There is no thread now: the next sweep tries it again.
                return borrowed.settle(managed, Ok(()));
            }
        }
    }
}

/// Returns `true` if an idle connection is to be pinged, or to ask whether its slot is wanted.
fn is_due<D: Driver>(managed: &Managed<D>, now: Instant) -> bool {
    managed.keepalive_due().is_some_and(|due| due <= now) || managed.is_turn_over(Tick::of(now))
}

/// The place of a connection that was taken out of the idle ones for its ping; it is
/// accounted for whatever happens.
struct Borrowed<D: Driver> {
    engine: Arc<Engine<D>>,
    index: usize,
    /// Law: cleared by the one that accounts for the connection: the ping's thread, or the
    /// deadline of a ping that does not return.
    is_owed: AtomicBool,
}

impl<D: Driver> Borrowed<D> {
    fn take_due(engine: &Arc<Engine<D>>, now: Instant) -> Option<(Arc<Self>, Box<Managed<D>>)> {
        let (index, managed) = engine.core.borrow_due(AT_ONCE, |managed| is_due(managed, now))?;
        let is_owed = AtomicBool::new(true);
        Some((Arc::new(Borrowed { engine: Arc::clone(engine), index, is_owed }), managed))
    }

    /// Pings this connection, then one after the other all that are due.
    fn ping_and_go_on(self: Arc<Self>, managed: Box<Managed<D>>) {
        let engine = Arc::clone(&self.engine);
        let mut next = Some((self, managed));
        while let Some((borrowed, managed)) = next {
            borrowed.ping(managed);
            next = Borrowed::take_due(&engine, Instant::now());
        }
        // The housekeeper has not seen those that were out.
        engine.call_housekeeper();
    }

    /// Pings within `ping_timeout`. If nothing can end the ping of this driver, this thread
    /// is left behind with the connection.
    fn ping(self: &Arc<Self>, mut managed: Box<Managed<D>>) {
        let began = Instant::now();
        let deadline = clock::after(began, self.engine.shared.config().ping_timeout);
        let verdict = match managed.look(Tick::of(began)) {
            CheckoutVerdict::Close(cause) => Err(cause),
            CheckoutVerdict::Ready | CheckoutVerdict::NeedsPing | CheckoutVerdict::Unverified => {
                let watch = (!managed.ping_is_bounded()).then(|| {
                    let borrowed = Arc::clone(self);
                    deadlines::arm(deadline, Arc::new(move || borrowed.give_up(began)))
                });
                let is_quiet = managed.keepalive_due().is_some_and(|due| due <= began);
                let verdict = match managed.end_turn_by(deadline) {
                    Ok(()) if is_quiet => managed.keep_alive(deadline),
                    outcome => outcome,
                };
                drop(watch);
                verdict
            }
        };
        self.settle(managed, verdict);
    }

    /// Puts a healthy connection back to its place, and closes any other.
    fn settle(&self, mut managed: Box<Managed<D>>, verdict: Result<(), CloseCause>) {
        if !self.is_owed.swap(false, AcqRel) {
            return discard(managed, CloseCause::planned(CloseReason::PingTimeout));
        }
        match verdict {
            Ok(()) => self.count_back(Some(managed)),
            Err(cause) => {
                if cause.reason.hints_at_an_outage() {
                    self.engine.core.forbid_extra_attempts();
                }
                managed.close_with(cause);
                self.count_back(None);
            }
        }
    }

    fn count_back(&self, healthy: Option<Box<Managed<D>>>) {
        let gone = usize::from(healthy.is_none());
        let healthy = healthy.into_iter().collect();
        let now = Instant::now();
        let (late, orders) = self.engine.core.return_idle(self.index, healthy, gone, now);
        self.engine.start_dials(orders);
        for managed in late {
            discard(managed, CloseCause::planned(CloseReason::PoolClosed));
        }
    }

    /// Counts off a connection whose ping has not returned, and rules out those that were
    /// not verified since.
    fn give_up(&self, began: Instant) -> Option<Instant> {
        if self.is_owed.swap(false, AcqRel) {
            self.engine.shared.rule_out_unverified(began);
            self.engine.core.forbid_extra_attempts();
            self.count_back(None);
        }
        None
    }
}

impl<D: Driver> Drop for Borrowed<D> {
    fn drop(&mut self) {
        if self.is_owed.swap(false, AcqRel) {
            self.count_back(None);
        }
    }
}
