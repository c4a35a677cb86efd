//! How a driver stops the statement that runs on a connection.

use super::Attempt;
use crate::error::BoxError;
use std::fmt;
use std::sync::Arc;

/// Stops the statement that runs on one connection, from any other thread.
///
/// It may be called at any time while the connection is open, also between two
/// statements, and several times. Clones stop the same connection's statement.
#[derive(Clone)]
#[non_exhaustive]
pub enum Canceller {
    /// In this process: at once, without blocking, and never a statement that
    /// begins after the call has returned.
    Local(Arc<dyn Fn() + Send + Sync>),
    /// By a request over a connection of its own, which the attempt bounds.
    Remote(Arc<Request>),
}

/// Sends one request to cancel.
pub type Request = dyn Fn(&Attempt) -> Result<Cancelled, BoxError> + Send + Sync;

/// How far a request to cancel is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// The server has carried it out: no later statement can be hit by it.
    Done,
    /// It was sent, and may still be under way. The connection is closed when it
    /// comes back, because the next borrower's statement could be hit.
    Sent,
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Canceller::Local(_) => "Canceller::Local",
            Canceller::Remote(_) => "Canceller::Remote",
        })
    }
}
