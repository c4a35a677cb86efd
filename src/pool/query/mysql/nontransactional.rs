//! Changes to tables without transactions (MyISAM, Aria, MEMORY), which no rollback undoes.
//!
//! MySQL and MariaDB report them by a warning of the ROLLBACK, and of the statement that
//! made them roll back the whole transaction. With a binary log they report them for a single
//! statement that fails after its first rows as well. While a transaction goes on, the replies of
//! its statements report them, as far as those can.

use super::own_text::run;
use crate::driver::mysql::{Seen, reported_permanent_changes};
use mysql::prelude::Queryable;
use mysql::{Conn, Error, Row};

/// MySQL documentation, "Server Error Message Reference", ER_WARNING_NOT_COMPLETE_ROLLBACK;
/// the same in the MariaDB documentation, "MariaDB Error Codes".
const NOT_COMPLETE_ROLLBACK: u16 = 1196;

/// What the error of such work says.
pub(super) const STAND: &str = "changes to tables without transactions stand, which no rollback \
                                undoes";

/// When the connection was lost of which that is not certain.
pub(super) const WHEN_LOST: &str = "after a statement that may have changed a table without \
                                    transactions, which no rollback undoes";

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

/// What is known of such changes in a transaction that goes on.
pub(super) struct PermanentChanges {
    /// What the transactions of this pool were seen to do.
    seen: Seen,
    /// The server has reported the state of the transaction.
    is_state_reported: bool,
    /// The server has reported some.
    are_reported: bool,
    /// A statement was sent that may have made some, and its reply cannot tell, or was lost.
    are_possible: bool,
}

impl PermanentChanges {
    pub(super) fn none(seen: Seen) -> PermanentChanges {
        PermanentChanges {
            seen,
            is_state_reported: false,
            are_reported: false,
            are_possible: false,
        }
    }

    /// Reads what the last reply reports. Law: called before the next statement is sent.
    pub(super) fn read(&mut self, connection: &Conn) {
        let reported = reported_permanent_changes(connection);
        self.is_state_reported |= reported.is_some();
        if reported == Some(true) && !self.are_reported {
            self.note();
        }
    }

    /// Notes that the transaction has made some.
    pub(super) fn note(&mut self) {
        self.are_reported = true;
        self.seen.note_permanent_write();
    }

    /// Notes a statement that writes and got a reply with room for the state, which has been
    /// read. The first one is always told; a server that is too old never tells.
    pub(super) fn note_told(&mut self) {
        self.are_possible |= !self.is_state_reported;
    }

    /// Notes a statement that writes, and whose reply cannot tell to which tables.
    pub(super) fn note_untold(&mut self) {
        self.are_possible = true;
    }

    /// Returns `true` if some may stand after the connection was lost. What no reply has told
    /// is taken for a change to a table with transactions, unless a transaction of this pool was
    /// seen to write to another one: nearly all have none.
    pub(super) fn may_stand(&self) -> bool {
        self.are_reported || self.are_possible && self.seen.writes_permanently()
    }
}
