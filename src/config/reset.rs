//! How a session is reset when its connection is checked in.

/// How a session is reset when its connection is checked in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// Resets what is needed. PostgreSQL over TCP: a session whose messages show a change
    /// is cleared as with `Full`, and an open transaction is rolled back; without either
    /// nothing is sent. Not seen is what a function or a procedure does inside, unless the
    /// server reports the parameter that it sets. Over unix sockets nothing is seen: one
    /// round trip finds an open transaction, and session settings stay. MySQL and MariaDB:
    /// `COM_RESET_CONNECTION`, one round trip, unless the guard was never borrowed
    /// mutably, or one of the pool's own queries is proven to have changed nothing; after a
    /// raw borrow or a transaction a second round trip re-selects the
    /// default database and verifies that the connection is in sync (without a default
    /// database, `COM_CHANGE_USER` replaces the reset). SQLite: rolls back an open
    /// transaction.
    #[default]
    Auto,
    /// Resets nothing: an open transaction and every session setting reach the next
    /// caller. On MySQL and MariaDB so may an unread reply. On PostgreSQL a connection
    /// with an outstanding reply is closed; over unix sockets one round trip after a raw
    /// borrow finds out.
    None,
    /// Resets the whole session state. PostgreSQL: settings, roles,
    /// cursors, temporary tables, sequences, plans, advisory locks and `LISTEN`, in
    /// one round trip; of the prepared statements only those of SQL's own PREPARE, over
    /// TCP. MySQL and MariaDB: as `Auto`, and after each of the pool's own queries, whatever it
    /// is. SQLite: also closes a
    /// connection whose pragmas, attached databases or temporary objects have changed.
    Full,
}
