//! The limits of a server, read from the server itself, never guessed.

use std::time::Duration;

/// The limits of a server, as one session of a pool sees them.
///
/// A limit that cannot be read, behind a pooler or without the privilege, is `None`; so
/// is one that the server reports as unlimited (a timeout of 0, a connection limit of
/// −1).
///
/// Behind a pooler the server's connection limits and counts apply to the pooler and not
/// to this pool: they are `None`, and so is `encrypted`. Timeouts are kept: they apply
/// to the session that the pooler lends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// The product and its version: `PostgreSQL 15.18`, `MariaDB 10.11.14`; empty if
    /// unknown.
    pub product: String,
    /// The role or account that the session logged in as.
    pub role: Option<String>,
    /// Whether a pooler such as pgbouncer is between the pool and the server.
    pub behind_pooler: Option<bool>,
    /// Connections that the server accepts, reserved ones included.
    pub max_connections: Option<u32>,
    /// Connections of these that are reserved for other roles.
    pub reserved_connections: Option<u32>,
    /// Connection limit of this role or account.
    pub role_limit: Option<u32>,
    /// Connection limit of this database.
    pub database_limit: Option<u32>,
    /// Connections that all clients hold now, this pool's included.
    pub connections: Option<u32>,
    /// Connections that this role holds now, this pool's included.
    pub role_connections: Option<u32>,
    /// Connections to this database now, this pool's included.
    pub database_connections: Option<u32>,
    /// Idle time after which the server ends this session.
    pub idle_timeout: Option<Duration>,
    /// Idle time inside a transaction after which the server ends this session.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// Run time after which the server cancels a statement.
    pub statement_timeout: Option<Duration>,
    /// Whether the server is read-only.
    pub read_only: Option<bool>,
    /// Whether the session is encrypted.
    pub encrypted: Option<bool>,
}

/// The arithmetic behind every [`SizePolicy`](crate::SizePolicy).
///
/// ```
/// use poolwarden::SizePolicy;
/// use poolwarden::config::ServerLimits;
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
/// assert_eq!(SizePolicy::PerInstance { instances: 4 }.of(&limits), Some(12));
/// ```
impl ServerLimits {
    /// Returns how many connections stay free for administrators: a tenth of
    /// `max_connections`, rounded up, at least 3. `None` if that limit is unknown.
    pub fn head_room(&self) -> Option<u32> {
        self.max_connections.map(|max| max.div_ceil(10).max(3))
    }

    /// Returns how many connections other roles hold now; `None` if unknown, which counts
    /// as 0.
    pub fn held_by_others(&self) -> Option<u32> {
        Some(self.connections?.saturating_sub(self.role_connections?))
    }

    /// Returns how many connections are left for all pools of this role together:
    /// `max_connections` less the reserved ones, the head room and those of other roles.
    /// `None` if `max_connections` is unknown.
    pub fn left_by_server(&self) -> Option<u32> {
        self.left_beside(self.held_by_others().unwrap_or(0))
    }

    /// Returns how many connections all pools of this role may have together: the least of
    /// what is left of the server's, the role's limit and the database's limit. `None` if
    /// all are unknown.
    pub fn available(&self) -> Option<u32> {
        let limits = [self.left_by_server(), self.role_limit, self.database_limit];
        limits.into_iter().flatten().min()
    }

    /// Returns what is left of the server's connections if others hold this many.
    pub(crate) fn left_beside(&self, others: u32) -> Option<u32> {
        let taken = [self.reserved_connections.unwrap_or(0), self.head_room()?, others];
        Some(taken.into_iter().fold(self.max_connections?, u32::saturating_sub))
    }

    /// Removes the limits that apply to the pooler's sessions instead of this pool's.
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
