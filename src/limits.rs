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

/// What the server can give: the arithmetic behind every [`Cap`](crate::Cap).
///
/// ```
/// use poolwarden::{Cap, ServerLimits};
///
/// let mut limits = ServerLimits::default();
/// limits.max_connections = Some(100);
/// limits.reserved_connections = Some(3);
/// (limits.connections, limits.role_connections) = (Some(30), Some(10));
/// assert_eq!(limits.head_room(), Some(10));
/// assert_eq!(limits.held_by_others(), Some(20));
/// assert_eq!(limits.left_by_server(), Some(67)); // 100 - 3 - 10 - 20
/// limits.database_limit = Some(50);
/// assert_eq!(limits.available(), Some(50));
/// assert_eq!(Cap::PerInstance { instances: 4 }.of(&limits), Some(12));
/// ```
impl ServerLimits {
    /// Returns how many connections stay free for administrators: a tenth of
    /// `max_connections`, rounded up, at least 3. `None` if those are not known.
    pub fn head_room(&self) -> Option<u32> {
        self.max_connections.map(|max| max.div_ceil(10).max(3))
    }

    /// Returns how many connections other roles hold now; `None` if that is not known,
    /// which counts as none.
    pub fn held_by_others(&self) -> Option<u32> {
        Some(self.connections?.saturating_sub(self.role_connections?))
    }

    /// Returns what is left of `max_connections` for all pools of this role together:
    /// less the reserved ones, the head room, and what other roles hold. `None` if those
    /// are not known.
    pub fn left_by_server(&self) -> Option<u32> {
        self.left_beside(self.held_by_others().unwrap_or(0))
    }

    /// Returns how many connections all pools of this role may have together: what is
    /// left by the server, and no more than the role and the database may have. `None`
    /// if nothing of that is known.
    pub fn available(&self) -> Option<u32> {
        let limits = [self.left_by_server(), self.role_limit, self.database_limit];
        limits.into_iter().flatten().min()
    }

    /// What is left of the server's connections if others hold so many.
    pub(crate) fn left_beside(&self, others: u32) -> Option<u32> {
        let taken = [self.reserved_connections.unwrap_or(0), self.head_room()?, others];
        Some(taken.into_iter().fold(self.max_connections?, u32::saturating_sub))
    }

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
