//! Which servers a pool uses.

/// Which servers a pool uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Any server.
    #[default]
    Any,
    /// Writable servers: a primary, not a standby or a replica.
    ///
    /// The pool reads `transaction_read_only` from PostgreSQL, and `@@global.read_only`
    /// from MySQL and MariaDB; that the user's privileges may override it is ignored.
    Writable,
    /// Standbys: PostgreSQL's hot standbys, and servers of MySQL and MariaDB that are
    /// read-only.
    ///
    /// For reading. A standby that was promoted is left at the next ping of its
    /// connection.
    Standby,
}
