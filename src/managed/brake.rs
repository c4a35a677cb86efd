//! What can stop the statement of one connection: handles that other threads hold,
//! and, past its time-out, the pool.
//!
//! A request to cancel that is still under way when its statement has ended could
//! stop a statement of the next borrower. So the check-in waits for it, and closes
//! the connection if it is not known to be done.

mod flight;
mod timing;

use crate::closer::Stop;
use crate::error::BoxError;
use crate::liveness::Descriptor;
use crate::watchdog::{Bite, Watch};
use flight::Flight;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use timing::Running;

/// The brake of one connection, made when it is first wanted.
pub(crate) struct Brake {
    connection: u64,
    /// `None`: the driver cannot stop a statement.
    stop: Option<Stop>,
    /// How long a request may take, and how long after the first one the connection
    /// of a statement that goes on is cut.
    patience: Duration,
    /// The time-out of a borrow that sets none of its own.
    timeout: Option<Duration>,
    /// The driver's stream tells of every statement.
    is_gauged: AtomicBool,
    /// What the watchdog does at the deadline of a statement.
    bite: Arc<Bite>,
    /// Law: a request is begun, and the socket cut, only while it says that the
    /// statement still runs.
    state: Mutex<State>,
    /// Signalled when a request has ended.
    settled: Condvar,
}

struct State {
    /// Counts the borrows: a handle stands for one of them and is void after it.
    borrow: u64,
    /// A borrower has the connection.
    out: bool,
    /// The time-out of this borrow's statements.
    timeout: Option<Duration>,
    running: Option<Running>,
    /// Law: armed while something with a time-out runs.
    watch: Option<Watch>,
    /// What the time-out last did in this borrow.
    stopped: Option<Stopped>,
    /// Requests to cancel under way.
    in_flight: u32,
    /// A request was sent while this borrower had the connection.
    requested: bool,
    /// A request was sent that is not known to be done.
    doubt: bool,
    /// Given up with the connection: nothing may keep a closed socket half open.
    socket: Option<Descriptor>,
}

/// What the pool's `statement_timeout` did about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// It was cancelled by the protocol's own means, this long after it began.
    Cancelled(Duration),
    /// The cancel had no effect within `cancel_timeout`: the connection was shut down,
    /// this long after the statement began. It may go on in the server.
    ShutDown(Duration),
}

/// What a borrow leaves behind for the check-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parting {
    /// No request was sent.
    Calm,
    /// A request was sent: it must have settled before the next borrower.
    Shaken,
    /// The connection was shut down.
    Cut,
}

/// What a brake is made of.
pub(super) struct Fittings {
    pub(super) connection: u64,
    pub(super) stop: Option<Stop>,
    pub(super) socket: Option<Descriptor>,
    pub(super) patience: Duration,
    pub(super) timeout: Option<Duration>,
}

impl Brake {
    pub(super) fn new(fittings: Fittings) -> Arc<Brake> {
        let Fittings { connection, stop, socket, patience, timeout } = fittings;
        let state = State {
            borrow: 0,
            out: false,
            timeout: None,
            running: None,
            watch: None,
            stopped: None,
            in_flight: 0,
            requested: false,
            doubt: false,
            socket,
        };
        Arc::new_cyclic(|brake: &Weak<Brake>| {
            let brake = Weak::clone(brake);
            let bite = move || brake.upgrade()?.bite(Instant::now());
            Brake {
                connection,
                stop,
                patience,
                timeout,
                is_gauged: AtomicBool::new(false),
                bite: Arc::new(bite),
                state: Mutex::new(state),
                settled: Condvar::new(),
            }
        })
    }

    pub(super) fn tells_of_statements(&self) {
        self.is_gauged.store(true, Relaxed);
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// A borrower has it from now on; returns the number of the borrow.
    pub(super) fn check_out(&self) -> u64 {
        let mut state = self.state.lock();
        if !state.out {
            state.out = true;
            state.timeout = self.timeout;
        }
        state.borrow
    }

    /// The borrower has given it back: its handles are void, its time-out is over.
    pub(super) fn check_in(&self) -> Parting {
        let mut state = self.state.lock();
        state.release();
        match state.stopped.take() {
            Some(Stopped::ShutDown(_)) => Parting::Cut,
            _ if state.requested => Parting::Shaken,
            _ => Parting::Calm,
        }
    }

    /// The connection is closed or leaves the pool.
    pub(super) fn retire(&self) {
        let socket = {
            let mut state = self.state.lock();
            state.release();
            state.socket.take()
        };
        drop(socket);
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
        if stop.is_local() {
            // Under the lock, so that the borrow is not over before it has returned.
            return Some(stop.send(self.patience, Duration::ZERO).map(drop));
        }
        let flight = Flight::take_off(self, &mut state);
        drop(state);
        Some(flight.fly_and_report(stop, self.patience))
    }
}

impl State {
    fn release(&mut self) {
        self.borrow += 1;
        self.out = false;
        self.timeout = None;
        self.end();
    }

    fn end(&mut self) {
        self.running = None;
        self.watch = None;
    }
}
