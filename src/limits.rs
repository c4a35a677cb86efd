//! What a server allows: read from the server itself, never guessed.

use std::time::Duration;

/// The limits of a server, as one session of a pool sees them.
///
/// What cannot be known, behind a pooler or without the privilege to look, is
/// `None`; what is known not to be limited is `None` too where the server says
/// "no limit" (a time-out of zero, a connection limit of −1).
///
/// Behind a pooler the server's limits and counts of connections are the pooler's
/// business and say nothing about ours: they are `None`, and so is `encrypted`.
/// Time-outs are kept: the session that the pooler lends may end by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// The product and its version: `PostgreSQL 15.18`, `MariaDB 10.11.14`; empty
    /// if the server does not say.
    pub product: String,
    /// The role or account that the session logged in as.
    pub role: Option<String>,
    /// Whether something between us and the server shares sessions (pgbouncer).
    pub behind_pooler: Option<bool>,
    /// Most connections that the server accepts, reserved ones included.
    pub max_connections: Option<u32>,
    /// Connections of these that this role may not use.
    pub reserved_connections: Option<u32>,
    /// Most connections for this role or account.
    pub role_limit: Option<u32>,
    /// Most connections for this database.
    pub database_limit: Option<u32>,
    /// Connections that all clients hold now, ours included.
    pub connections: Option<u32>,
    /// Connections that this role holds now, ours included.
    pub role_connections: Option<u32>,
    /// Connections to this database now, ours included.
    pub database_connections: Option<u32>,
    /// After how much idling the server ends this session.
    pub idle_timeout: Option<Duration>,
    /// After how much idling inside a transaction the server ends this session.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// After how long the server cancels a statement.
    pub statement_timeout: Option<Duration>,
    /// Whether the server refuses writes.
    pub read_only: Option<bool>,
    /// Whether the session is encrypted.
    pub encrypted: Option<bool>,
}

impl ServerLimits {
    /// Forgets what the server says about the pooler's sessions, not ours.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(crate) fn hide_poolers_own(&mut self) {
        if self.behind_pooler == Some(true) {
            self.max_connections = None;
            self.reserved_connections = None;
            self.role_limit = None;
            self.database_limit = None;
            self.connections = None;
            self.role_connections = None;
            self.database_connections = None;
            self.encrypted = None;
        }
    }
}
