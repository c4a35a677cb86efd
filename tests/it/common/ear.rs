//! An observer that remembers what it was told.

use poolwarden::{CloseReason, Closed, ConnectError, ConnectFault, Observer, Opened};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One event of a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Opened { connection: u64, took: Duration },
    Failed(ConnectFault),
    Closed { connection: u64, reason: CloseReason, code: String, age: Duration, idle: Duration },
    TimedOut(Duration),
}

/// Remembers every event; clones share their memory.
#[derive(Clone, Default)]
pub struct Ear(Arc<Mutex<Vec<(String, Heard)>>>);

impl Ear {
    pub fn heard(&self) -> Vec<Heard> {
        self.memory().iter().map(|(_, heard)| heard.clone()).collect()
    }

    /// The pools' names, one for each event.
    pub fn names(&self) -> Vec<String> {
        self.memory().iter().map(|(pool, _)| pool.clone()).collect()
    }

    /// The ages at which connections were closed for this reason.
    pub fn ages(&self, wanted: CloseReason) -> Vec<Duration> {
        let age = |heard| match heard {
            Heard::Closed { reason, age, .. } if reason == wanted => Some(age),
            _ => None,
        };
        self.heard().into_iter().filter_map(age).collect()
    }

    fn note(&self, pool: &str, heard: Heard) {
        self.memory().push((pool.to_owned(), heard));
    }

    fn memory(&self) -> MutexGuard<'_, Vec<(String, Heard)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Ear {
    fn opened(&self, event: &Opened<'_>) {
        let (connection, took) = (event.connection, event.took);
        self.note(event.pool, Heard::Opened { connection, took });
    }

    fn connect_failed(&self, pool: &str, error: &ConnectError) {
        self.note(pool, Heard::Failed(error.fault()));
    }

    fn closed(&self, event: &Closed<'_>) {
        let code = event.words.map(|words| words.code.to_string()).unwrap_or_default();
        let (connection, reason) = (event.connection, event.reason);
        let (age, idle) = (event.age, event.idle);
        self.note(event.pool, Heard::Closed { connection, reason, code, age, idle });
    }

    fn timed_out(&self, pool: &str, waited: Duration) {
        self.note(pool, Heard::TimedOut(waited));
    }
}
