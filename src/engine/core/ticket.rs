//! What passes between the core, the waiting callers and the dial tasks.

use crate::connection::permits::Permit;
use crate::sys::sync::{Arc, Condvar};
use std::time::Instant;

/// What the core hands to a waiting caller.
pub(crate) enum Handover<T, E> {
    Connection(T),
    Failed(E),
    Closed,
}

/// A caller's place in the queue, kept over several waits of one check-out.
#[derive(Clone)]
pub(crate) struct Ticket {
    pub(super) ticket: u64,
    pub(super) arrived: Instant,
    pub(super) signal: Arc<Condvar>,
}

/// The obligation to open one connection and to report the outcome.
#[must_use]
pub(crate) struct DialOrder {
    pub(crate) permit: Permit,
    pub(crate) id: DialId,
}

/// Identifies an order in the report of its outcome.
#[derive(Clone, Copy)]
pub(crate) struct DialId {
    pub(super) number: u64,
    pub(super) ticket: Option<u64>,
}

impl DialId {
    /// Returns the ticket of the waiter that the order was made for, if it was made for
    /// one.
    pub(crate) fn ticket(self) -> Option<u64> {
        self.ticket
    }
}

/// What the failure of an attempt says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The cause is temporary: callers wait for its end, within their deadlines.
    Waits,
    /// The same, and the server is starting up.
    Starting,
    /// Waiting would not help: callers get the error.
    Fails,
    /// The same, and the attempt has reached no server: nothing listens there.
    Refused,
}

impl Failure {
    /// Returns `true` if callers wait for the end of the cause.
    pub(crate) fn waits(self) -> bool {
        matches!(self, Failure::Waits | Failure::Starting)
    }
}

/// What follows from a new connection.
#[must_use]
pub(crate) struct Opened<T, E> {
    /// The connection, if the pool is closed.
    pub(crate) late: Option<T>,
    pub(crate) orders: Vec<DialOrder>,
    /// The error of the outage that this connection has ended.
    pub(crate) ended: Option<E>,
}
