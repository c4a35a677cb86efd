//! How a driver cancels the statement that runs on a connection.

use super::attempt::Attempt;
use crate::error::BoxError;
use std::fmt;
use std::sync::Arc;

/// Cancels the statement that runs on one connection, from any other thread.
///
/// It may be called at any time while the connection is open, also between two
/// statements, and several times. Clones cancel the same connection's statement.
#[derive(Clone)]
#[non_exhaustive]
pub enum Canceller {
    /// In this process: immediately, without blocking, and never a statement that
    /// starts after the call has returned.
    Local(Arc<dyn Fn() + Send + Sync>),
    /// By a request over a separate connection, bounded by the attempt's deadline.
    Remote(Arc<Request>),
}

/// Sends one cancel request.
pub type Request = dyn Fn(&Attempt) -> Result<Cancelled, BoxError> + Send + Sync;

/// What is known about a cancel request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// The server has processed it: it cannot cancel a later statement.
    Done,
    /// It was sent and may still be pending. The connection is closed at check-in,
    /// because the request could cancel the next caller's statement.
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
