//! The time-outs of one connection's statements.

use super::{Brake, Flight, State, Stopped};
use crate::clock;
use crate::driver::Gauge;
use crate::watchdog;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often what stops at once is repeated: it may have come between two statements
/// of one text.
const REPEAT: Duration = Duration::from_millis(20);

/// What the time of a borrow is counted from, and how far its end has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    since: Instant,
    timeout: Duration,
    counted: Counted,
    /// Requests to cancel made so far.
    asked: u32,
}

/// Who says when it begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// One of our own methods, which knows.
    ByCaller,
    /// The driver's stream, which sees it.
    ByStream,
}

impl Brake {
    /// Begins to count the time of what the caller does with the connection, up to
    /// `end`, if the borrow has a time-out.
    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        if let Some(timeout) = state.timeout {
            self.start(&mut state, timeout, Counted::ByCaller);
        }
    }

    /// The same, unless the driver's stream tells of each statement by itself.
    pub(crate) fn begin_unless_gauged(&self) {
        if !self.is_gauged.load(Relaxed) {
            self.begin();
        }
    }

    /// What `begin` counted has ended; tells what the time-out did in this borrow.
    pub(crate) fn end(&self) -> Option<Stopped> {
        let mut state = self.state.lock();
        state.end();
        state.stopped
    }

    /// Tells what the time-out did in this borrow.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.state.lock().stopped
    }

    /// Sets this borrow's time-out. Where the stream does not tell, it counts from now
    /// on, until it is set again or the borrow is over.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) {
        let mut state = self.state.lock();
        state.end();
        state.timeout = timeout;
        if let Some(timeout) = timeout.filter(|_| !self.is_gauged.load(Relaxed)) {
            self.start(&mut state, timeout, Counted::ByCaller);
        }
    }

    fn start(&self, state: &mut State, timeout: Duration, counted: Counted) {
        let since = Instant::now();
        state.running = Some(Running { since, timeout, counted, asked: 0 });
        state.watch = Some(watchdog::arm(clock::after(since, timeout), Arc::clone(&self.bite)));
    }

    /// The time of a statement may be over: asks that it is stopped, once more after
    /// half of the patience, and cuts the connection after all of it.
    ///
    /// Returns when to come again. A bite for an earlier statement finds that the time
    /// of this one is not over, or that none runs.
    pub(super) fn bite(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let running = state.running.as_mut()?;
        let due = clock::after(running.since, running.timeout);
        if now < due {
            return Some(due);
        }
        let after = now.saturating_duration_since(running.since);
        let cut = clock::after(due, self.patience);
        let asked = running.asked;
        running.asked += 1;
        match &self.stop {
            Some(stop) if stop.is_local() => {
                state.stopped.get_or_insert(Stopped::Cancelled(after));
                // Under the lock: a statement that begins after this one is not hit.
                let _ = stop.send(self.patience, Duration::ZERO);
                Some(now + REPEAT)
            }
            _ if now >= cut => {
                state.cut(after);
                None
            }
            Some(stop) if asked < 2 => {
                state.stopped.get_or_insert(Stopped::Cancelled(after));
                let (flight, stop) = (Flight::take_off(self, &mut state), stop.clone());
                MutexGuard::unlocked(&mut state, || flight.fly_alone(stop, self.patience));
                Some(if asked == 0 { clock::after(due, self.patience / 2) } else { cut })
            }
            _ => Some(cut),
        }
    }
}

impl State {
    fn cut(&mut self, after: Duration) {
        if let Some(socket) = &self.socket {
            socket.abort();
            self.stopped = Some(Stopped::ShutDown(after));
        }
    }
}

impl Gauge for Brake {
    fn sent(&self) {
        let mut state = self.state.lock();
        if let Some(timeout) = state.timeout.filter(|_| state.out && state.running.is_none()) {
            self.start(&mut state, timeout, Counted::ByStream);
        }
    }

    fn answered(&self) {
        let mut state = self.state.lock();
        if state.running.is_some_and(|running| running.counted == Counted::ByStream) {
            state.end();
        }
    }
}
