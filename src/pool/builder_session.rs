//! The builder's options for the defaults of every session.

use super::builder::Builder;
use crate::config::IsolationLevel;
use crate::driver::Driver;

/// # Session defaults
///
/// They are set on every new connection, before the `init` hook, and once more after a
/// reset that clears the session; a borrower may change them for itself as far as the
/// [`Reset`](crate::Reset) at check-in undoes it. PostgreSQL takes one round trip for all of
/// them, at each connect; MySQL and MariaDB one for isolation and read-only together, one
/// for the schema and one for the time zone, at each connect and each reset. Behind a pooler
/// in transaction mode set them in the pooler or for the role.
///
/// An option that the database does not have is an error of `build`; a value that the server
/// refuses fails the connect as [`FaultClass::Configuration`](crate::FaultClass::Configuration).
impl<D: Driver> Builder<D> {
    /// Sets the isolation level of transactions that do not choose one themselves.
    ///
    /// Default: the server's. PostgreSQL, MySQL and MariaDB.
    pub fn isolation(mut self, level: IsolationLevel) -> Builder<D> {
        self.options.isolation = Some(level);
        self
    }

    /// Sets whether transactions that do not choose it themselves are read-only.
    ///
    /// Default: as the server has it. On SQLite it is the pragma `query_only`. `true`
    /// contradicts the role [`Writable`](crate::Role::Writable). It prevents mistakes, no
    /// intent: a borrower can change it.
    pub fn read_only(mut self, read_only: bool) -> Builder<D> {
        self.options.read_only = Some(read_only);
        self
    }

    /// Sets the schema in which unqualified names are looked up: PostgreSQL's `search_path`,
    /// and the database on MySQL and MariaDB.
    ///
    /// One name, which is quoted; default: the server's, or that of the URL.
    pub fn schema(mut self, name: impl Into<String>) -> Builder<D> {
        self.options.schema = Some(name.into());
        self
    }

    /// Sets the time zone: a name that the server knows, or an offset such as `+02:00`.
    ///
    /// Letters, digits and `+-:/_`; default: the server's. PostgreSQL, MySQL and MariaDB.
    /// PostgreSQL reads the sign of a bare offset as POSIX does, so that `+02:00` lies west
    /// of Greenwich: prefer names there.
    pub fn time_zone(mut self, zone: impl Into<String>) -> Builder<D> {
        self.options.time_zone = Some(zone.into());
        self
    }
}
