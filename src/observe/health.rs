//! One answer for a readiness probe.

use crate::sys::human_duration::HumanDuration;
use std::fmt;
use std::time::Duration;

/// How a pool is doing, from [`Pool::health`](crate::Pool::health).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// The server answered, or callers use connections and none waits.
    Serving,
    /// The server answered, but something is wrong.
    Degraded {
        /// What is wrong: connecting fails, or the server reported too many connections.
        cause: String,
    },
    /// Connections are in use, and callers wait for one.
    Saturated {
        /// How many callers wait.
        waiting: u32,
        /// How long the caller has waited that has waited longest.
        longest_wait: Duration,
    },
    /// The pool is suspended: callers wait until it is resumed.
    Suspended,
    /// No connection is open that answers, and none can be opened.
    Down {
        /// For how long connecting has failed; zero if it fails for the first time.
        down_for: Duration,
        /// The error of the last attempt to connect, or that no connection answered in time.
        cause: String,
    },
    /// The pool is closed.
    Closed,
}

impl Health {
    /// Returns `true` if a caller would get a connection: serving or degraded.
    pub fn is_ready(&self) -> bool {
        matches!(self, Health::Serving | Health::Degraded { .. })
    }
}

/// Says how many callers wait, and for how long the first has.
pub(super) fn waiting_text(waiting: u32, longest_wait: Duration) -> String {
    let callers = if waiting == 1 { "caller waits" } else { "callers wait" };
    format!("{waiting} {callers}, the first for {}", HumanDuration(longest_wait))
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Serving => f.write_str("serving"),
            Health::Degraded { cause } => write!(f, "degraded: {cause}"),
            Health::Saturated { waiting, longest_wait } => {
                write!(f, "saturated: {}", waiting_text(*waiting, *longest_wait))
            }
            Health::Down { down_for, cause } => {
                write!(f, "down for {}: {cause}", HumanDuration(*down_for))
            }
            Health::Suspended => f.write_str("suspended"),
            Health::Closed => f.write_str("closed"),
        }
    }
}
