//! An observer that records all events.

use poolwarden::observe::{Closed, ConnectionInfo, Opened};
use poolwarden::{CloseReason, ConnectError, FaultClass, Observer};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One event of a pool.
#[derive(Clone, Debug, PartialEq)]
pub enum Recorded {
    Opened { connection: u64, took: Duration },
    Failed(FaultClass),
    Closed { connection: u64, reason: CloseReason, code: String, age: Duration, idle: Duration },
    TimedOut(Duration),
    HeldTooLong { connection: u64, status: String },
    ReturnedLate { connection: u64, held: Duration },
}

/// Records every event; clones share one list.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<(String, Recorded)>>>);

impl Recorder {
    pub fn events(&self) -> Vec<Recorded> {
        self.list().iter().map(|(_, events)| events.clone()).collect()
    }

    /// Returns the pool's name for each event.
    pub fn pool_names(&self) -> Vec<String> {
        self.list().iter().map(|(pool, _)| pool.clone()).collect()
    }

    /// Returns the ages at which connections were closed for this reason.
    pub fn ages(&self, wanted: CloseReason) -> Vec<Duration> {
        let age = |events| match events {
            Recorded::Closed { reason, age, .. } if reason == wanted => Some(age),
            _ => None,
        };
        self.events().into_iter().filter_map(age).collect()
    }

    fn record(&self, pool: &str, events: Recorded) {
        self.list().push((pool.to_owned(), events));
    }

    fn list(&self) -> MutexGuard<'_, Vec<(String, Recorded)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Recorder {
    fn opened(&self, event: &Opened<'_>) {
        let (connection, took) = (event.connection, event.took);
        self.record(event.pool, Recorded::Opened { connection, took });
    }

    fn connect_failed(&self, pool: &str, error: &ConnectError) {
        self.record(pool, Recorded::Failed(error.class()));
    }

    fn closed(&self, event: &Closed<'_>) {
        let code = event.message.map(|message| message.code.to_string()).unwrap_or_default();
        let (connection, reason) = (event.connection, event.reason);
        let (age, idle) = (event.age, event.idle);
        self.record(event.pool, Recorded::Closed { connection, reason, code, age, idle });
    }

    fn timed_out(&self, pool: &str, waited: Duration) {
        self.record(pool, Recorded::TimedOut(waited));
    }

    fn held_too_long(&self, pool: &str, connection: &ConnectionInfo) {
        let (connection, status) = (connection.id, connection.status.to_string());
        self.record(pool, Recorded::HeldTooLong { connection, status });
    }

    fn returned_late(&self, pool: &str, connection: u64, held: Duration) {
        self.record(pool, Recorded::ReturnedLate { connection, held });
    }
}
