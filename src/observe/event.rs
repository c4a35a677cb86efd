//! The events that a user's observer is told of.

use super::reason::{CloseReason, Words};
use crate::error::ConnectError;
use std::time::Duration;

/// A connection was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opened<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// How long opening took, from name resolution to the init hook.
    pub took: Duration,
}

/// A connection was closed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// Why it was closed.
    pub reason: CloseReason,
    /// What the server said, if it said something.
    pub words: Option<&'a Words>,
    /// How old the connection was.
    pub age: Duration,
    /// How long it had idled; zero if it was in use.
    pub idle: Duration,
}

/// A user's ear for a pool's events.
///
/// Every method does nothing by default. They are called on whatever thread the
/// event happens, never under a lock of the pool; a panic in them is caught and
/// counted. A slow observer delays the thread that it is called on.
pub trait Observer: Send + Sync + 'static {
    /// Called after a connection was opened.
    fn opened(&self, event: &Opened<'_>) {
        let _ = event;
    }

    /// Called after an attempt to open a connection failed.
    fn connect_failed(&self, pool: &str, error: &ConnectError) {
        let _ = (pool, error);
    }

    /// Called after a connection was given to the closer.
    fn closed(&self, event: &Closed<'_>) {
        let _ = event;
    }

    /// Called after a check-out ran into its deadline.
    fn timed_out(&self, pool: &str, waited: Duration) {
        let _ = (pool, waited);
    }
}
