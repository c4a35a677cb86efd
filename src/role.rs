//! What a server must be for a pool to use it.

/// What a server must be for a pool to use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Whatever answers.
    #[default]
    Any,
    /// One that takes writes: a primary, not a standby or a replica.
    ///
    /// PostgreSQL is asked `show transaction_read_only`, MySQL and MariaDB for
    /// `@@global.read_only`; a MySQL user who may write in spite of it is not
    /// believed.
    Writable,
}
