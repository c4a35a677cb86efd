//! What a borrower leaves behind, and how much of it is cleaned away.

/// How a connection is cleaned when it comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// Cleans by need. PostgreSQL: an open transaction is rolled back; without one
    /// nothing is sent (over unix sockets one round trip tells). MySQL and MariaDB:
    /// `COM_RESET_CONNECTION`, one round trip, unless the guard was never borrowed
    /// mutably; after a raw borrow or a transaction one more chooses the default
    /// database again and proves that the connection answers in step (where there is
    /// none, a new log-in on the same connection stands for the reset). SQLite: an
    /// open transaction is rolled back.
    #[default]
    Auto,
    /// Cleans nothing: an open transaction and every setting of a borrower reach
    /// the next one. On MySQL and MariaDB so may an answer that a borrower left unread.
    None,
    /// Cleans everything that a session can have. PostgreSQL: settings, roles,
    /// cursors, temporary tables, sequences, plans, advisory locks and `LISTEN`, in
    /// one round trip; prepared statements stay. MySQL, MariaDB and SQLite: as
    /// `Auto`.
    Full,
}

/// How a borrower had a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Handling {
    /// It was never borrowed mutably: no statement can have run on it.
    Untouched,
    /// Only the pool's own queries used it.
    Own,
    /// It was borrowed mutably: anything may have been done with it.
    Raw,
}

/// What a borrower has left on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftovers {
    /// Nothing: it can be handed out again.
    None,
    /// Something that a reset cleans.
    Some,
    /// An answer is owed or unread: it cannot be cleaned, only closed.
    Unanswered,
}

/// What a reset found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// A transaction was open and is rolled back.
    pub rolled_back: bool,
}
