//! The events that are reported to a user's observer.

use super::close_reason::CloseReason;
use super::connection_info::ConnectionInfo;
use super::server_message::ServerMessage;
use crate::error::ConnectError;
use std::panic::Location;
use std::time::Duration;

/// The event that a connection was opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opened<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// How long opening took, from name resolution to the end of the init hook.
    pub took: Duration,
}

/// The event that a connection was closed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// Why it was closed.
    pub reason: CloseReason,
    /// The server's final message, if it sent one.
    pub message: Option<&'a ServerMessage>,
    /// How old the connection was.
    pub age: Duration,
    /// How long it had been idle; zero if it was in use.
    pub idle: Duration,
}

/// The event that several connections were lost at the same time, for the same reason.
///
/// The server was restarted, or its sessions were terminated. The pool found the idle ones
/// together; each of them is reported by [`closed`](Observer::closed) as well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LostTogether<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// How many were lost; two or more.
    pub lost: usize,
    /// How many were open before, these included.
    pub open: usize,
    /// Why they were closed.
    pub reason: CloseReason,
    /// The server's final message, if it sent one.
    pub message: Option<&'a ServerMessage>,
}

/// The event that a connection was checked out.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedOut<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// How long the caller waited; zero if a healthy connection was idle.
    pub waited: Duration,
    /// The line of code that checked it out.
    pub site: &'static Location<'static>,
}

/// The event that a connection was checked in, or closed in place of that.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckedIn<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// How long it was in use, the reset of its session included.
    pub used: Duration,
}

/// The event that a statement took longer than the option
/// [`slow_statement`](crate::Builder::slow_statement).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SlowStatement<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The connection's number, unique in this process.
    pub connection: u64,
    /// How long the statement took.
    pub took: Duration,
    /// The line of code that checked the connection out, if known.
    pub site: Option<&'static Location<'static>>,
}

/// The event that an outage ended: an attempt to connect succeeded after others had failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OutageEnded<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// How long it took, from the first lost connection or failed attempt.
    pub lasted: Duration,
    /// How many attempts to connect failed.
    pub failed: u64,
    /// How many connections were lost.
    pub lost: u64,
}

/// The event that the number of connections that a pool may have has changed: by
/// [`Pool::set_max_size`](crate::Pool::set_max_size), by the server's limits, or because the
/// server was full.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LimitChanged<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// The number before.
    pub before: u32,
    /// The number from now on.
    pub max_size: u32,
}

/// Receives a pool's events.
///
/// Every method does nothing by default. The pool calls them on the thread on which
/// the event occurs, never under a lock; a panic in them is caught and counted. Events on
/// different threads may arrive in another order than they occurred. A slow
/// observer delays the thread that calls it: that may be a caller's. While a call has not
/// returned for half a second, the pool's further events are dropped and counted
/// ([`events_dropped`](crate::Snapshot::events_dropped)), and a thread of the crate that
/// waits for it is left behind and replaced
/// ([`left_behind`](crate::Snapshot::left_behind)): no other pool is delayed.
///
/// ```
/// use poolwarden::Observer;
/// use poolwarden::observe::{CheckedOut, OutageEnded};
///
/// struct Console;
///
/// impl Observer for Console {
///     fn slow_checkout(&self, event: &CheckedOut<'_>) {
///         eprintln!("{}: {:?} at {}", event.pool, event.waited, event.site);
///     }
///
///     fn outage_ended(&self, event: &OutageEnded<'_>) {
///         eprintln!("{}: down for {:?}", event.pool, event.lasted);
///     }
/// }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Called once for connections that were lost together, before
    /// [`closed`](Observer::closed) is called for each.
    fn lost_together(&self, event: &LostTogether<'_>) {
        let _ = event;
    }

    /// Called after a connection was opened.
    fn opened(&self, event: &Opened<'_>) {
        let _ = event;
    }

    /// Called after an attempt to open a connection failed.
    fn connect_failed(&self, pool: &str, error: &ConnectError) {
        let _ = (pool, error);
    }

    /// Called after a connection was handed to the closer.
    fn closed(&self, event: &Closed<'_>) {
        let _ = event;
    }

    /// Called for every check-out, on the caller's thread, before the connection is handed
    /// over.
    fn checked_out(&self, event: &CheckedOut<'_>) {
        let _ = event;
    }

    /// Called for every check-in, and for every connection that is closed while it is in use:
    /// once for each [`checked_out`](Observer::checked_out).
    fn checked_in(&self, event: &CheckedIn<'_>) {
        let _ = event;
    }

    /// Called for a check-out that took longer than the option
    /// [`slow_checkout`](crate::Builder::slow_checkout).
    fn slow_checkout(&self, event: &CheckedOut<'_>) {
        let _ = event;
    }

    /// Called after a statement that took longer than the option
    /// [`slow_statement`](crate::Builder::slow_statement).
    fn slow_statement(&self, event: &SlowStatement<'_>) {
        let _ = event;
    }

    /// Called after a check-out reached its deadline.
    fn timed_out(&self, pool: &str, waited: Duration) {
        let _ = (pool, waited);
    }

    /// Called once while a caller holds a connection for longer than the option
    /// [`held_warning`](crate::Builder::held_warning).
    fn held_too_long(&self, pool: &str, connection: &ConnectionInfo) {
        let _ = (pool, connection);
    }

    /// Called when a connection that was reported as held too long comes back, or is closed.
    fn returned_late(&self, pool: &str, connection: u64, held: Duration) {
        let _ = (pool, connection, held);
    }

    /// Called when an attempt to connect fails after the last one had succeeded.
    fn outage_began(&self, pool: &str, error: &ConnectError) {
        let _ = (pool, error);
    }

    /// Called when an attempt to connect succeeds after others had failed.
    fn outage_ended(&self, event: &OutageEnded<'_>) {
        let _ = event;
    }

    /// Called when the number of connections that the pool may have has changed.
    fn limit_changed(&self, event: &LimitChanged<'_>) {
        let _ = event;
    }

    /// Called before the next event, if earlier ones were dropped: this many.
    fn events_dropped(&self, pool: &str, count: u64) {
        let _ = (pool, count);
    }
}
