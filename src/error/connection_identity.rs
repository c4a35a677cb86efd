//! One connection, as errors name it.

use std::fmt;

/// Identifies one connection, to look it up in the server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionIdentity {
    /// The pool's name.
    pub pool: String,
    /// The connection's number in log lines and events.
    pub number: u64,
    /// The server's number for the session: PostgreSQL's process id, or MySQL's
    /// connection id; `None` where the driver does not provide one.
    pub server_process: Option<u64>,
}

impl fmt::Display for ConnectionIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool {}: connection {}", self.pool, self.number)?;
        match self.server_process {
            Some(id) => write!(f, " (server process {id})"),
            None => Ok(()),
        }
    }
}
