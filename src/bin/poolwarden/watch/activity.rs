//! What happened since the last picture, and the last closes.

use poolwarden::observe::Closed;
use poolwarden::{ConnectError, Observer};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many lines about closes and errors are kept.
const KEPT: usize = 8;

/// How many longest waits are kept, one for each picture.
const WAITS: usize = 60;

/// What the clients and the pool report.
pub(super) struct Activity {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    longest_wait: Duration,
    waits: VecDeque<Duration>,
    events: VecDeque<String>,
    new_events: Vec<String>,
    sessions: BTreeSet<u64>,
}

impl Activity {
    pub(super) fn new() -> Activity {
        Activity { began: Instant::now(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waited(&self, wait: Duration) {
        let mut state = self.state();
        state.longest_wait = state.longest_wait.max(wait);
    }

    pub(super) fn session(&self, number: u64) {
        self.state().sessions.insert(number);
    }

    /// Returns the sessions that were seen, and forgets them.
    pub(super) fn take_sessions(&self) -> BTreeSet<u64> {
        std::mem::take(&mut self.state().sessions)
    }

    pub(super) fn event(&self, text: &str) {
        let line = format!("{:>7.1}s  {text}", self.began.elapsed().as_secs_f64());
        let mut state = self.state();
        state.new_events.push(line.clone());
        state.new_events.truncate(KEPT);
        state.events.push_front(line);
        state.events.truncate(KEPT);
    }

    /// Ends the time of one picture; returns the longest waits so far, the oldest first.
    pub(super) fn next_picture(&self) -> Vec<Duration> {
        let mut state = self.state();
        let longest = std::mem::take(&mut state.longest_wait);
        if state.waits.len() == WAITS {
            state.waits.pop_front();
        }
        state.waits.push_back(longest);
        state.waits.iter().copied().collect()
    }

    /// Returns the last events, the newest first.
    pub(super) fn events(&self) -> Vec<String> {
        self.state().events.iter().cloned().collect()
    }

    /// Returns the events since the last call, the oldest first.
    pub(super) fn new_events(&self) -> Vec<String> {
        std::mem::take(&mut self.state().new_events)
    }
}

/// The observer of the watched pool.
pub(super) struct Closes(pub(super) std::sync::Arc<Activity>);

impl Observer for Closes {
    fn closed(&self, event: &Closed<'_>) {
        let message = event.message.map(|message| format!(": {message}")).unwrap_or_default();
        let text = format!("connection {} closed: {}{message}", event.connection, event.reason);
        self.0.event(&text);
    }

    fn connect_failed(&self, _: &str, error: &ConnectError) {
        self.0.event(&format!("connect failed: {error}"));
    }
}
