//! Changes to tables without transactions (MyISAM, Aria, MEMORY), which no rollback undoes.
//!
//! MySQL and MariaDB report them by a warning of the ROLLBACK, and of the statement that
//! made them roll back the whole transaction. With a binary log they report them for a single
//! statement that fails after its first rows as well.

use super::own_text::run;
use mysql::prelude::Queryable;
use mysql::{Conn, Error, Row};

/// MySQL documentation, "Server Error Message Reference", ER_WARNING_NOT_COMPLETE_ROLLBACK;
/// the same in the MariaDB documentation, "MariaDB Error Codes".
const NOT_COMPLETE_ROLLBACK: u16 = 1196;

/// What the error of such work says.
pub(super) const STAND: &str = "changes to tables without transactions stand, which no rollback \
                                undoes";

/// Rolls back; returns `true` if changes stand.
pub(super) fn roll_back(connection: &mut Conn) -> mysql::Result<bool> {
    run(connection, "rollback")?;
    if connection.warnings() == 0 { Ok(false) } else { are_reported(connection) }
}

/// Returns `true` if the last statement has reported changes that stand.
pub(super) fn are_reported(connection: &mut Conn) -> mysql::Result<bool> {
    let is_meant = |row: &Row| row.get_opt::<u16, _>(1) == Some(Ok(NOT_COMPLETE_ROLLBACK));
    match connection.query::<Row, _>("show warnings") {
        Ok(warnings) => Ok(warnings.iter().any(is_meant)),
        // Where the question is refused, as by a proxy, nothing is known.
        Err(Error::MySqlError(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
