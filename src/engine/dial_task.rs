//! The task of opening one connection and of reporting the outcome.

use super::dial;
use super::dial_report::DialReport;
use super::engine::{Engine, discard};
use crate::connection::permits::Permit;
use crate::connection::{CloseCause, Managed, Shared, settle};
use crate::driver::Driver;
use crate::engine::core::{DialId, DialOrder, Failure, Opened};
use crate::error::{ConnectError, FaultClass};
use crate::observe::{CALL_LIMIT, CloseReason};
use crate::sys::catch_panic::{catch_panic, drop_catching};
use crate::sys::deadlines;
use crate::sys::stalled::RETRY;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// The task of opening one connection; it reports the outcome in every case.
pub(super) struct DialTask<D: Driver> {
    pub(super) engine: Arc<Engine<D>>,
    pub(super) id: DialId,
    pub(super) reported: bool,
}

impl<D: Driver> DialTask<D> {
    pub(super) fn run(mut self, permit: Permit) {
        let engine = Arc::clone(&self.engine);
        let attempt = dial::attempt(&engine.shared);
        engine.enter_attempt(&attempt);
        let opened = catch_panic(|| dial::open(&engine.shared, &attempt, permit));
        drop(attempt);
        match opened {
            Ok((outcome, report)) => {
                Finished { task: self, outcome }.finish_after(report, &engine.shared);
            }
            Err(panicked) => {
                let error = ConnectError::new(FaultClass::Panicked, engine.shared.name());
                self.fail(&error.with_source(panicked));
            }
        }
    }

    pub(super) fn succeed(&mut self, managed: Box<Managed<D>>) {
        self.reported = true;
        self.engine.shared.slot_was_free();
        let opened = self.engine.core.dial_succeeded(self.id, managed, Instant::now());
        let Opened { late, orders, ended } = opened;
        self.engine.start_dials(orders);
        if let Some(late) = late {
            discard(late, CloseCause::planned(CloseReason::PoolClosed));
        }
        self.engine.refill_pace.lock().succeeded();
        self.drop_error(ended);
        // The server's limits may have been read over this connection: the orders use a
        // raised maximum size, and the housekeeper closes what exceeds a lowered one.
        self.engine.call_housekeeper();
    }

    pub(super) fn fail(&mut self, error: &ConnectError) {
        self.reported = true;
        let now = Instant::now();
        // A proxy at its limit of clients hangs up without an error. While other
        // connections are open that is more likely than an outage.
        let is_full = matches!(error.class(), FaultClass::Saturated | FaultClass::FleetFull)
            || error.class() == FaultClass::Hangup && self.engine.core.has_open();
        if is_full {
            self.engine.saturated(error.class(), now);
        }
        if self.id.ticket().is_none() {
            self.engine.refill_pace.lock().failed(now);
        }
        let failure = match error.class() {
            FaultClass::Starting => Failure::Starting,
            class if is_full || class.waits() => Failure::Waits,
            FaultClass::Refused => Failure::Refused,
            _ => Failure::Fails,
        };
        let (orders, replaced) = self.engine.core.dial_failed(self.id, error, failure, now);
        self.engine.start_dials(orders);
        self.drop_error(replaced);
        self.engine.shared.watch_bursts();
        self.engine.start();
    }

    /// Drops what may be the last handle of a driver's error, whose destructor is
    /// foreign.
    fn drop_error(&self, error: Option<ConnectError>) {
        if drop_catching(error).is_err() {
            self.engine.shared.totals().count_panic();
        }
    }
}

/// An attempt that has ended, and whose outcome the core does not know yet.
struct Finished<D: Driver> {
    task: DialTask<D>,
    outcome: Result<Box<Managed<D>>, ConnectError>,
}

impl<D: Driver> Finished<D> {
    /// Sends the report, and then tells the core, so that the observers know of a
    /// connection before its caller does. If the report takes too long, its thread is left
    /// behind, and the core is told on another.
    fn finish_after(self, report: DialReport, shared: &Shared<D>) {
        let ours = Arc::new(Mutex::new(Some(self)));
        let theirs = Arc::clone(&ours);
        let on_deadline = Arc::new(move || Finished::finish_elsewhere(&theirs));
        let watch = deadlines::arm(Instant::now() + CALL_LIMIT, on_deadline);
        // What it drops is caught by itself.
        let _ = catch_panic(|| report.send(shared));
        drop(watch);
        let unfinished = ours.lock().take();
        if let Some(finished) = unfinished {
            finished.finish();
        }
    }

    /// Returns when to retry, if no thread can be started.
    fn finish_elsewhere(slot: &Arc<Mutex<Option<Finished<D>>>>) -> Option<Instant> {
        // Taken by the thread itself: if none starts, the first one may still finish it.
        let theirs = Arc::clone(slot);
        let finish = move || {
            let finished = theirs.lock().take();
            if let Some(finished) = finished {
                finished.task.engine.shared.totals().count_left_behind();
                finished.finish();
            }
        };
        let thread = std::thread::Builder::new().name("poolwarden-dial".into());
        thread.spawn(finish).is_err().then(|| Instant::now() + RETRY)
    }

    fn finish(self) {
        let Finished { mut task, outcome } = self;
        match outcome {
            Ok(managed) => task.succeed(managed),
            Err(error) => {
                task.fail(&error);
                task.drop_error(Some(error));
            }
        }
    }
}

impl<D: Driver> Drop for DialTask<D> {
    fn drop(&mut self) {
        if !self.reported {
            let error = ConnectError::new(FaultClass::LocalResource, self.engine.shared.name());
            self.fail(&error.with_source("no thread could be started to open a connection"));
        }
    }
}

impl<D: Driver> Engine<D> {
    /// Starts a thread for each connection to open; where permits are shared, sees to those
    /// that the pool still wants.
    pub(super) fn start_dials(self: &Arc<Self>, orders: Vec<DialOrder>) {
        self.start_threads(orders);
        settle(self.shared.permits());
    }

    /// Starts a thread for each connection to open.
    pub(super) fn start_threads(self: &Arc<Self>, orders: Vec<DialOrder>) {
        for order in orders {
            let task = DialTask { engine: Arc::clone(self), id: order.id, reported: false };
            let permit = order.permit;
            let thread = std::thread::Builder::new().name("poolwarden-dial".into());
            // If no thread can be started, the closure is dropped here, and the task in
            // it reports that it failed.
            let _ = thread.spawn(move || task.run(permit));
        }
    }
}
