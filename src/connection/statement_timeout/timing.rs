//! The timeouts of one connection's statements.

use super::cancel_request::{CancelRequest, THREAD_START};
use super::running::{Counted, Running};
use super::timer::State;
use super::timer::{StatementTimer, Stopped};
use crate::driver::StatementObserver;
use crate::sys::stalled::RETRY;
use crate::sys::{clock, deadlines};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How soon a cancel is repeated: between two statements, of a text or of a transaction, it has no
/// effect. In-process it is repeated that often.
const REPEAT: Duration = Duration::from_millis(20);

/// The longest pause between two cancels: a transaction of short statements may be between two
/// of them each time, and goes on until a cancel meets one.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

impl StatementTimer {
    /// Starts the timeout for what the caller does with the connection until `end`, if the
    /// borrow has a timeout.
    pub(crate) fn begin(&self) {
        let mut state = self.state.lock();
        if self.slow.is_some() && !self.is_observed.load(Relaxed) {
            state.began = Some((Instant::now(), Counted::ByCaller));
        }
        self.begin_timeout(&mut state);
    }

    fn begin_timeout(&self, state: &mut State) {
        if let Some(timeout) = state.timeout {
            self.start(state, timeout, Counted::ByCaller);
        }
    }

    /// As `begin`, for several statements; does nothing if the driver's stream reports each
    /// of them.
    pub(crate) fn begin_unless_observed(&self) {
        if !self.is_observed.load(Relaxed) {
            self.begin_timeout(&mut self.state.lock());
        }
    }

    /// Ends what `begin` started; returns what the timeout did in this borrow.
    pub(crate) fn end(&self) -> Option<Stopped> {
        let mut state = self.state.lock();
        state.end();
        let (began, stopped) = (state.ended(Counted::ByCaller), state.stopped);
        drop(state);
        self.report_if_slow(began);
        stopped
    }

    /// Reports what has ended, if it took long. Law: called without the lock.
    pub(super) fn report_if_slow(&self, began: Option<(Instant, Counted)>) {
        if let (Some(slow), Some((began, _))) = (&self.slow, began) {
            let took = began.elapsed();
            if took >= slow.limit {
                (slow.report)(took);
            }
        }
    }

    /// Returns what the timeout did in this borrow.
    pub(crate) fn stopped(&self) -> Option<Stopped> {
        self.state.lock().stopped
    }

    /// Sets this borrow's timeout. If the stream does not report statements, it counts from
    /// now on, until it is set again or the borrow ends.
    ///
    /// A request that is under way could cancel the next statement: this waits for its end, for
    /// little longer than `cancel_timeout` at most.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) {
        let mut state = self.state.lock();
        state.end();
        if state.in_flight > 0 {
            drop(state);
            self.settle(clock::after(Instant::now(), self.cancel_timeout + THREAD_START));
            state = self.state.lock();
        }
        state.timeout = timeout;
        if let Some(timeout) = timeout.filter(|_| !self.is_observed.load(Relaxed)) {
            self.start(&mut state, timeout, Counted::ByCaller);
        }
    }

    fn start(&self, state: &mut State, timeout: Duration, counted: Counted) {
        let since = Instant::now();
        state.running = Some(Running { since, timeout, counted, requests: 0 });
        state.watch =
            Some(deadlines::arm(clock::after(since, timeout), Arc::clone(&self.on_deadline)));
    }

    /// Runs at the deadline of a statement, or of several: cancels what runs, repeats that until
    /// it has ended, and shuts the connection down after `cancel_timeout`.
    ///
    /// A request waits for the one before it, except once: that one may be lost.
    ///
    /// Returns the next deadline. A callback for an earlier statement finds that the
    /// timeout of this one has not passed, or that none runs.
    pub(in crate::connection) fn on_deadline(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let running = state.running.as_mut()?;
        let due = clock::after(running.since, running.timeout);
        if now < due {
            return Some(due);
        }
        let after = now.saturating_duration_since(running.since);
        let shutdown = clock::after(due, self.cancel_timeout);
        let requests = running.requests;
        let half = clock::after(due, self.cancel_timeout / 2);
        let is_free = state.in_flight == 0 || requests == 1 && now >= half;
        match &self.stop {
            Some(stop) if stop.is_local() => {
                state.stopped.get_or_insert(Stopped::Cancelled(after));
                // Under the lock, so that no statement that begins later is cancelled.
                let _ = stop.send(self.cancel_timeout, Duration::ZERO);
                Some(now + REPEAT)
            }
            _ if now >= shutdown => {
                state.shut_down(after);
                None
            }
            Some(stop) if is_free => {
                let (request, stop) = (CancelRequest::begin(self, &mut state), stop.clone());
                let cancel_timeout = self.cancel_timeout;
                let send = || request.send_detached(stop, cancel_timeout);
                let before = state.count_request(after);
                if !MutexGuard::unlocked(&mut state, send) {
                    state.take_request_back(before);
                    return Some(shutdown.min(now + RETRY));
                }
                Some(shutdown.min(now + pause(requests, cancel_timeout)))
            }
            _ => Some(shutdown.min(now + pause(requests, self.cancel_timeout))),
        }
    }
}

/// Returns how long after so many requests, and one more, the next one follows: at most a dozen
/// go out within a `cancel_timeout` of a second, and two a second within a long one.
fn pause(requests: u32, cancel_timeout: Duration) -> Duration {
    let doubled = REPEAT.saturating_mul(1 << requests.min(16));
    doubled.min((cancel_timeout / 8).clamp(REPEAT, LONGEST_PAUSE))
}

impl State {
    /// Returns when what runs began, if its end is reported in this way.
    fn ended(&mut self, counted: Counted) -> Option<(Instant, Counted)> {
        self.began.take_if(|(_, by)| *by == counted)
    }

    /// Counts a request for what runs, this long after it began; returns what ran, and
    /// what the timeout had done before.
    fn count_request(&mut self, after: Duration) -> (Option<Running>, Option<Stopped>) {
        let before = (self.running, self.stopped);
        if let Some(running) = &mut self.running {
            running.requests += 1;
        }
        self.stopped.get_or_insert(Stopped::Cancelled(after));
        before
    }

    /// Nothing was sent, for want of a thread.
    fn take_request_back(&mut self, (running, stopped): (Option<Running>, Option<Stopped>)) {
        let since = |running: &Option<Running>| running.as_ref().map(|running| running.since);
        if since(&self.running) == since(&running) {
            (self.running, self.stopped) = (running, stopped);
        }
    }

    fn shut_down(&mut self, after: Duration) {
        if let Some(socket) = &self.socket {
            socket.abort();
            self.stopped = Some(Stopped::ShutDown(after));
        }
    }
}

impl StatementObserver for StatementTimer {
    /// A request that is under way when its statement ends could cancel the next one: that
    /// one is held back until the server has carried out the request.
    fn before_request(&self) -> bool {
        let state = self.state.lock();
        match state.in_flight {
            0 => !state.unconfirmed,
            _ => {
                drop(state);
                self.settle(clock::after(Instant::now(), self.cancel_timeout + THREAD_START))
            }
        }
    }

    fn started(&self) {
        let mut state = self.state.lock();
        if self.slow.is_some() && state.out && state.began.is_none() {
            state.began = Some((Instant::now(), Counted::ByStream));
        }
        if let Some(timeout) = state.timeout.filter(|_| state.out && state.running.is_none()) {
            self.start(&mut state, timeout, Counted::ByStream);
        }
    }

    fn finished(&self) {
        let mut state = self.state.lock();
        if state.running.is_some_and(|running| running.counted == Counted::ByStream) {
            state.end();
        }
        let began = state.ended(Counted::ByStream);
        drop(state);
        self.report_if_slow(began);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancels_follow_each_other_less_and_less_often_but_twice_a_second() {
        let second = Duration::from_secs(1);
        let number = |cancel_timeout: Duration| {
            let mut passed = Duration::ZERO;
            (0..).take_while(move |requests| {
                passed += pause(*requests, cancel_timeout);
                passed < cancel_timeout
            })
        };
        assert_eq!(number(second).count(), 9);
        assert!((50..70).contains(&number(30 * second).count()));
        assert_eq!(pause(0, second), REPEAT);
        assert_eq!(pause(100, Duration::ZERO), REPEAT);
    }
}
