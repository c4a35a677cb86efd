//! What can stop the statement of one connection: handles that other threads hold,
//! and, past its time-out, the pool.
//!
//! A request to cancel that is still under way when its statement has ended could
//! stop a statement of the next borrower. So the check-in waits for it, and closes
//! the connection if it is not known to be done.

use crate::closer::Stop;
use crate::driver::{Cancelled, Canceller};
use crate::error::BoxError;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The brake of one connection, made when it is first wanted.
pub(crate) struct Brake {
    connection: u64,
    /// `None`: the driver cannot stop a statement.
    stop: Option<Stop>,
    /// How long a request may take.
    patience: Duration,
    state: Mutex<State>,
    /// Signalled when a request has ended.
    settled: Condvar,
}

struct State {
    /// Counts the borrows: a handle stands for one of them and is void after it.
    borrow: u64,
    /// A borrower has the connection.
    out: bool,
    /// Requests to cancel under way.
    in_flight: u32,
    /// A request was sent while this borrower had the connection.
    requested: bool,
    /// A request was sent that is not known to be done.
    doubt: bool,
}

/// What a borrow leaves behind for the check-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// No request was sent.
    Calm,
    /// A request was sent: it must have settled before the next borrower.
    Shaken,
}

impl Brake {
    pub(super) fn new(connection: u64, stop: Option<Stop>, patience: Duration) -> Arc<Brake> {
        let state = State { borrow: 0, out: false, in_flight: 0, requested: false, doubt: false };
        let (state, settled) = (Mutex::new(state), Condvar::new());
        Arc::new(Brake { connection, stop, patience, state, settled })
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// A borrower has it from now on; returns the number of the borrow.
    pub(super) fn check_out(&self) -> u64 {
        let mut state = self.state.lock();
        state.out = true;
        state.borrow
    }

    /// The borrower has given it back: its handles are void.
    pub(super) fn check_in(&self) -> Parting {
        let mut state = self.state.lock();
        state.borrow += 1;
        state.out = false;
        if state.requested { Parting::Shaken } else { Parting::Calm }
    }

    /// The connection is closed or leaves the pool.
    pub(super) fn retire(&self) {
        let mut state = self.state.lock();
        state.borrow += 1;
        state.out = false;
    }

    /// What sends requests, for a connection that is closed while it is busy.
    pub(super) fn stop(&self) -> Option<Stop> {
        self.stop.clone()
    }

    /// Waits until no request is under way, at most until the deadline; tells
    /// whether all are known to be done.
    pub(crate) fn settle(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.in_flight > 0 {
            if self.settled.wait_until(&mut state, deadline).timed_out() && state.in_flight > 0 {
                return false;
            }
        }
        !state.doubt
    }

    /// The requests of the last borrow have settled.
    pub(super) fn calm_down(&self) {
        self.state.lock().requested = false;
    }

    /// Sends a request on a thread of its own if this borrow is still under way, and
    /// waits for it. `None`: the borrow is over, nothing was sent.
    ///
    /// Blocks for `patience` at most.
    pub(crate) fn cancel(self: &Arc<Self>, borrow: u64) -> Option<Result<(), BoxError>> {
        let mut state = self.state.lock();
        if !state.out || state.borrow != borrow {
            return None;
        }
        let stop = match &self.stop {
            None => return Some(Err("the driver cannot stop a statement".into())),
            Some(stop) => stop.clone(),
        };
        if matches!(stop.canceller, Canceller::Local(_)) {
            // Under the lock, so that the borrow is not over before it has returned.
            return Some(stop.send(self.patience, Duration::ZERO).map(drop));
        }
        let flight = self.take_off(&mut state);
        drop(state);
        let (report, outcome) = crossbeam_channel::bounded(1);
        let patience = self.patience;
        let work = move || drop(report.send(flight.fly(&stop, patience)));
        if let Err(error) = std::thread::Builder::new().name("poolwarden-cancel".into()).spawn(work)
        {
            return Some(Err(error.into()));
        }
        let late = || Err(format!("the request to cancel did not end within {patience:?}").into());
        // It ends by itself at that time; the rest is for the thread to get going.
        Some(outcome.recv_timeout(patience + LATE).unwrap_or_else(|_| late()))
    }

    fn take_off(self: &Arc<Self>, state: &mut State) -> Flight {
        state.in_flight += 1;
        state.requested = true;
        Flight { brake: Arc::clone(self), done: false }
    }
}

/// How much later than its bound a request is waited for.
const LATE: Duration = Duration::from_millis(100);

/// A request under way; accounted for whatever happens to it.
struct Flight {
    brake: Arc<Brake>,
    done: bool,
}

impl Flight {
    fn fly(mut self, stop: &Stop, patience: Duration) -> Result<(), BoxError> {
        let cancelled = stop.send(patience, patience)?;
        self.done = cancelled == Cancelled::Done;
        Ok(())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut state = self.brake.state.lock();
        let left = state.in_flight.checked_sub(1);
        state.in_flight = left.expect("bug: a request ended that was never sent");
        state.doubt |= !self.done;
        self.brake.settled.notify_all();
    }
}
