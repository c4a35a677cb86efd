//! One request to cancel under way, on a thread of its own.

use super::{Brake, State};
use crate::closer::Stop;
use crate::driver::Cancelled;
use crate::error::BoxError;
use std::sync::Arc;
use std::time::Duration;

/// How much later than its bound a request is waited for: it ends by itself, the rest
/// is for its thread to get going.
const LATE: Duration = Duration::from_millis(100);

/// A request under way; accounted for whatever happens to it.
pub(super) struct Flight {
    brake: Arc<Brake>,
    done: bool,
}

impl Flight {
    pub(super) fn take_off(brake: &Arc<Brake>, state: &mut State) -> Flight {
        state.in_flight += 1;
        state.requested = true;
        Flight { brake: Arc::clone(brake), done: false }
    }

    fn fly(mut self, stop: &Stop, patience: Duration) -> Result<(), BoxError> {
        let outcome = stop.send(patience, patience);
        self.done = match &outcome {
            Ok(cancelled) => *cancelled == Cancelled::Done,
            Err(error) => Stop::was_never_sent(error),
        };
        outcome.map(drop)
    }

    /// Sends the request; nobody waits for it but the check-in.
    pub(super) fn fly_alone(self, stop: Stop, patience: Duration) {
        let _ = spawn(move || drop(self.fly(&stop, patience)));
    }

    /// Sends the request and waits until it has ended, for little more than its bound.
    pub(super) fn fly_and_report(self, stop: Stop, patience: Duration) -> Result<(), BoxError> {
        let (report, outcome) = crossbeam_channel::bounded(1);
        spawn(move || drop(report.send(self.fly(&stop, patience))))?;
        let late = || Err(format!("the request to cancel did not end within {patience:?}").into());
        outcome.recv_timeout(patience + LATE).unwrap_or_else(|_| late())
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name("poolwarden-cancel".into()).spawn(work).map(drop)
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
