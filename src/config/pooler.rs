//! Which pooler there is between this process and a PostgreSQL server.

/// Whether PostgreSQL is reached through a pooler such as pgbouncer, and for how
/// long the pooler assigns a server session to a client.
///
/// A pooler in transaction mode runs each transaction on whichever server session is
/// free. A statement prepared under a name may then be unknown to the next session
/// (SQLSTATE 26000), or another client may have used the name (42P05). Behind such a
/// pooler the driver's statement names are not sent, unless it keeps names apart by itself: each statement is prepared in the
/// message that uses it, which costs no round trip and works for the pool's own queries
/// and for raw driver calls. Other session state (`SET`, `LISTEN`, advisory locks, SQL's
/// `PREPARE`) is lost between transactions, as with any client of such a pooler.
///
/// If a table has changed so that a prepared statement returns different columns, the
/// connection is closed with an error: the statement has already run by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// Each new connection asks for the server's process id (one round trip, together with
    /// the server's limits where those are due). If it differs from the one announced at
    /// start-up, there is a pooler, and it is treated as one in transaction mode from then on. The first such connection also prepares a statement: if
    /// it has another name on the server, the pooler keeps names apart (pgbouncer 1.21 and
    /// later with `max_prepared_statements`), and nothing is rewritten. Not possible over a
    /// unix socket.
    #[default]
    Detect,
    /// There is no pooler, or it assigns a session for the life of a connection: no
    /// detection, and prepared statements stay on the server.
    Session,
    /// There is a pooler in transaction mode: no detection. Not possible over a unix
    /// socket, where the driver's messages cannot be rewritten.
    Transaction,
    /// There is a pooler in transaction mode that keeps the names of prepared statements
    /// apart by itself, such as pgbouncer 1.21 and later with `max_prepared_statements`: no
    /// detection, and nothing is rewritten.
    NamedStatements,
}
