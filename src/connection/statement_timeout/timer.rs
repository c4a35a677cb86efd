//! Cancels the statements of one connection: for cancel handles that other threads
//! hold, and for the pool at the statement timeout.
//!
//! A cancel request that is still under way when its statement has ended could cancel a
//! statement of the next borrower. So the check-in waits for it, and closes the
//! connection if the request is not known to be done.

use super::running::{Counted, Running};
use crate::connection::closer::Stop;
use crate::sys::deadlines::{OnDeadline, Watch};
use crate::sys::process;
use crate::sys::sockets::Descriptor;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The statement timer of one connection, created at its first use.
pub(crate) struct StatementTimer {
    pub(super) connection: u64,
    /// The process that opened the connection.
    pub(super) generation: usize,
    /// `None`: the driver cannot cancel a statement.
    pub(super) stop: Option<Stop>,
    /// How long a request may take, and how long after the first one the connection
    /// is shut down if its statement goes on.
    pub(super) cancel_timeout: Duration,
    /// The timeout of a borrow that sets none of its own.
    pub(super) timeout: Option<Duration>,
    /// The driver's stream reports every statement.
    pub(super) is_observed: AtomicBool,
    /// Called with the time of each statement that took long.
    pub(super) slow: Option<SlowStatements>,
    /// The callback for the deadline of a statement.
    pub(super) on_deadline: Arc<OnDeadline>,
    /// Law: a request is begun, and the socket shut down, only while this says that the
    /// statement still runs.
    pub(super) state: Mutex<State>,
    /// Signalled when a request has ended.
    pub(super) settled: Condvar,
}

pub(super) struct State {
    /// Counts the borrows: a cancel handle belongs to one of them and is void after it.
    pub(super) borrow: u64,
    /// A borrower has the connection.
    pub(super) out: bool,
    /// The timeout of this borrow's statements.
    pub(super) timeout: Option<Duration>,
    pub(super) running: Option<Running>,
    /// When what runs began, and what reports its end; only for `slow`.
    pub(super) began: Option<(Instant, Counted)>,
    /// Law: armed while something with a timeout runs.
    pub(super) watch: Option<Watch>,
    /// What the timeout last did in this borrow.
    pub(super) stopped: Option<Stopped>,
    /// Cancel requests under way.
    pub(super) in_flight: u32,
    /// A request was sent while this borrower had the connection.
    pub(super) requested: bool,
    /// A request was sent that is not known to be done.
    pub(super) unconfirmed: bool,
    /// Closed with the connection: a duplicate would keep the socket half open.
    pub(super) socket: Option<Descriptor>,
}

/// What the pool's `statement_timeout` did about a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// It was cancelled by the protocol's own cancel request, this long after it began.
    Cancelled(Duration),
    /// The cancel had no effect within `cancel_timeout`: the connection was shut down,
    /// this long after the statement began. It may go on in the server.
    ShutDown(Duration),
}

/// What the check-in must know of a borrow's cancel requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelState {
    /// No request was sent.
    None,
    /// A request was sent: it must have settled before the next borrower.
    Requested,
    /// The connection was shut down.
    Aborted,
}

/// What is done about slow statements.
pub(crate) struct SlowStatements {
    /// Statements that take this long or longer are slow.
    pub(crate) limit: Duration,
    /// Called without a lock.
    pub(crate) report: Box<dyn Fn(Duration) + Send + Sync>,
}

/// The parameters of a [`StatementTimer`].
pub(crate) struct TimerSettings {
    pub(crate) connection: u64,
    pub(crate) stop: Option<Stop>,
    pub(crate) socket: Option<Descriptor>,
    pub(crate) cancel_timeout: Duration,
    pub(crate) timeout: Option<Duration>,
    pub(crate) slow: Option<SlowStatements>,
}

impl StatementTimer {
    pub(in crate::connection) fn new(settings: TimerSettings) -> Arc<StatementTimer> {
        let TimerSettings { connection, stop, socket, cancel_timeout, timeout, slow } = settings;
        let state = State {
            borrow: 0,
            out: false,
            timeout: None,
            running: None,
            began: None,
            watch: None,
            stopped: None,
            in_flight: 0,
            requested: false,
            unconfirmed: false,
            socket,
        };
        Arc::new_cyclic(|timer: &Weak<StatementTimer>| {
            let timer = Weak::clone(timer);
            let on_deadline = move || timer.upgrade()?.on_deadline(Instant::now());
            StatementTimer {
                connection,
                generation: process::generation(),
                stop,
                cancel_timeout,
                timeout,
                is_observed: AtomicBool::new(false),
                slow,
                on_deadline: Arc::new(on_deadline),
                state: Mutex::new(state),
                settled: Condvar::new(),
            }
        })
    }

    pub(in crate::connection) fn statements_are_observed(&self) {
        self.is_observed.store(true, Relaxed);
    }

    pub(crate) fn connection(&self) -> u64 {
        self.connection
    }

    /// Begins a borrow, unless one is under way; returns its number.
    pub(in crate::connection) fn check_out(&self) -> u64 {
        let mut state = self.state.lock();
        if !state.out {
            state.out = true;
            state.timeout = self.timeout;
        }
        state.borrow
    }

    /// Ends the borrow: its cancel handles are void, its timeout is over.
    pub(in crate::connection) fn check_in(&self) -> CancelState {
        let mut state = self.state.lock();
        let began = state.began;
        state.release();
        let cancel = match state.stopped.take() {
            Some(Stopped::ShutDown(_)) => CancelState::Aborted,
            _ if state.requested => CancelState::Requested,
            _ => CancelState::None,
        };
        drop(state);
        self.report_if_slow(began);
        cancel
    }

    /// Ends its use: the connection is closed or leaves the pool.
    pub(in crate::connection) fn retire(&self) {
        let socket = {
            let mut state = self.state.lock();
            state.release();
            state.socket.take()
        };
        drop(socket);
    }

    /// Returns the sender of requests, for a connection that is closed while it is busy.
    pub(in crate::connection) fn stop(&self) -> Option<Stop> {
        self.stop.clone()
    }

    /// Waits until no request is under way, until the deadline at most; returns `true` if
    /// all are known to be done.
    pub(crate) fn settle(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.in_flight > 0 {
            if self.settled.wait_until(&mut state, deadline).timed_out() && state.in_flight > 0 {
                return false;
            }
        }
        !state.unconfirmed
    }

    /// Forgets the requests of the last borrow, which have settled.
    pub(in crate::connection) fn clear_cancel_requested(&self) {
        self.state.lock().requested = false;
    }
}

impl State {
    pub(super) fn release(&mut self) {
        self.borrow += 1;
        self.out = false;
        self.timeout = None;
        self.began = None;
        self.end();
    }

    pub(super) fn end(&mut self) {
        self.running = None;
        self.watch = None;
    }
}
