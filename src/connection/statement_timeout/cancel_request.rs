//! One cancel request under way, on a thread of its own.

use super::timer::State;
use super::timer::StatementTimer;
use crate::connection::closer::Stop;
use crate::driver::Cancelled;
use crate::error::BoxError;
use crate::sys::catch_panic::catch_panic;
use crate::sys::human_duration::HumanDuration;
use crate::sys::process;
use crate::sys::spawn::spawn_with;
use std::sync::Arc;
use std::time::Duration;

/// How much longer than its bound a request is waited for: the request ends at its
/// bound, this is for the start of its thread.
pub(super) const THREAD_START: Duration = Duration::from_millis(100);

/// A request under way; counted until it ends, however it ends.
pub(super) struct CancelRequest {
    timer: Arc<StatementTimer>,
    done: bool,
}

impl CancelRequest {
    pub(super) fn begin(timer: &Arc<StatementTimer>, state: &mut State) -> CancelRequest {
        state.in_flight += 1;
        state.requested = true;
        CancelRequest { timer: Arc::clone(timer), done: false }
    }

    /// Does the work on a thread of its own; if none can be started, returns the request.
    fn spawn(self, work: impl FnOnce(CancelRequest) + Send + 'static) -> Result<(), CancelRequest> {
        spawn_with("poolwarden-cancel", self, |request| drop(catch_panic(|| work(request))))
    }

    fn send(mut self, stop: &Stop, timeout: Duration) -> Result<(), BoxError> {
        let outcome = stop.send(timeout, timeout);
        self.done = match &outcome {
            Ok(cancelled) => *cancelled == Cancelled::Done,
            Err(error) => Stop::was_never_sent(error),
        };
        outcome.map(drop)
    }

    /// Sends the request without waiting for it; the check-in does. Returns `false` if no
    /// thread can be started for it: nothing was sent.
    pub(super) fn send_detached(self, stop: Stop, timeout: Duration) -> bool {
        let sent = self.spawn(move |request| drop(request.send(&stop, timeout)));
        sent.map_err(|mut unsent| unsent.done = true).is_ok()
    }

    /// Sends the request and waits until it has ended, for little longer than the timeout.
    pub(super) fn send_and_wait(self, stop: Stop, timeout: Duration) -> Result<(), BoxError> {
        let (report, outcome) = crossbeam_channel::bounded(1);
        let (elsewhere, here) = (stop.clone(), stop);
        let work = move |request: CancelRequest| {
            drop(report.send(request.send(&elsewhere, timeout)));
        };
        if let Err(request) = self.spawn(work) {
            // This thread would wait for the answer anyway.
            return request.send(&here, timeout);
        }
        let late = || {
            let timeout = HumanDuration(timeout);
            Err(format!("the cancel request did not end within {timeout}").into())
        };
        outcome.recv_timeout(timeout + THREAD_START).unwrap_or_else(|_| late())
    }
}

impl Drop for CancelRequest {
    fn drop(&mut self) {
        let mut state = self.timer.state.lock();
        let left = state.in_flight.checked_sub(1);
        state.in_flight = left.expect("bug: more cancel requests ended than began");
        state.unconfirmed |= !self.done;
        self.timer.settled.notify_all();
    }
}

impl StatementTimer {
    /// Returns `true` if a cancel waits for no server.
    pub(crate) fn cancels_locally(&self) -> bool {
        self.stop.as_ref().is_none_or(Stop::is_local)
    }

    /// Sends a request on a thread of its own if this borrow is still under way, and
    /// waits for it. `None`: the borrow is over, nothing was sent.
    ///
    /// Blocks for `cancel_timeout` at most.
    pub(crate) fn cancel(self: &Arc<Self>, borrow: u64) -> Option<Result<(), BoxError>> {
        if self.generation != process::generation() {
            return Some(Err("this process was forked after the connection was opened".into()));
        }
        let mut state = self.state.lock();
        if !state.out || state.borrow != borrow {
            return None;
        }
        let stop = match &self.stop {
            None => return Some(Err("the driver cannot cancel a statement".into())),
            Some(stop) => stop.clone(),
        };
        if stop.is_local() {
            // Under the lock, so that the borrow is not over before it has returned.
            return Some(stop.send(self.cancel_timeout, Duration::ZERO).map(drop));
        }
        let request = CancelRequest::begin(self, &mut state);
        drop(state);
        Some(request.send_and_wait(stop, self.cancel_timeout))
    }
}
