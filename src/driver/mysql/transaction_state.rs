//! What MySQL and MariaDB report of the tables that a transaction writes to.
//!
//! A server that is asked for it adds the state of the transaction to the reply of each
//! statement that changes that state (session tracking), which takes no round trip. Only a reply
//! without rows has room for it, and a reply that is lost reports nothing.

use mysql::consts::CapabilityFlags;
use mysql::session_state_change::SessionStateChange;
use mysql::{Conn, Opts, OptsBuilder, SessionStateInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A part of a SET statement that asks the server to report the state of its transactions, until
/// the session is reset; a comment for servers that are too old for it: MariaDB documentation,
/// "session_track_transaction_info", MySQL documentation, "Server System Variables". MariaDB
/// skips comments for MySQL 5.7.
pub(crate) const REPORT_STATE: &str = "/*M!100301 , session_track_transaction_info = 'STATE' */\
                                       /*!50708 , session_track_transaction_info = 'STATE' */";

/// Asks for replies that have room for the state.
pub(super) fn with_room(opts: OptsBuilder) -> OptsBuilder {
    let own = Opts::from(opts.clone()).get_additional_capabilities();
    opts.additional_capabilities(own | CapabilityFlags::CLIENT_SESSION_TRACK)
}

/// Returns whether the transaction has changed tables without transactions, if the last reply
/// reports its state.
pub(crate) fn reported_permanent_changes(connection: &Conn) -> Option<bool> {
    connection.session_state_changes().ok()?.iter().find_map(permanent_changes)
}

/// MySQL documentation, "Server Tracking of Client Session State": the fourth character stands
/// for writes to tables without transactions.
fn permanent_changes(change: &SessionStateInfo<'_>) -> Option<bool> {
    match change.decode() {
        Ok(SessionStateChange::TransactionState(state)) => {
            Some(state.as_bytes().get(3) == Some(&b'w'))
        }
        _ => None,
    }
}

/// Whether the transactions of a pool are known to write to tables without transactions, and
/// whether its server refuses to report that.
#[derive(Debug, Default)]
pub(crate) struct SeenTransactions {
    writes_permanently: AtomicBool,
    is_refused: AtomicBool,
}

impl SeenTransactions {
    pub(crate) fn writes_permanently(&self) -> bool {
        self.writes_permanently.load(Relaxed)
    }

    pub(crate) fn note_permanent_write(&self) {
        self.writes_permanently.store(true, Relaxed);
    }

    /// Returns what is added to the SET of a transaction's beginning.
    pub(crate) fn report_state(&self) -> &'static str {
        if self.is_refused.load(Relaxed) { "" } else { REPORT_STATE }
    }

    /// Notes that a beginning failed; returns `true` if it is worth another one, without the
    /// report: a server of another kind may not know the variable.
    pub(crate) fn refuses(&self, error: &mysql::Error) -> bool {
        /// MySQL documentation, "Server Error Message Reference", ER_UNKNOWN_SYSTEM_VARIABLE.
        const UNKNOWN_VARIABLE: u16 = 1193;
        match error {
            mysql::Error::MySqlError(server) if server.code == UNKNOWN_VARIABLE => {
                !self.is_refused.swap(true, Relaxed)
            }
            _ => false,
        }
    }
}

/// Shared by a driver and its transactions.
pub(crate) type Seen = Arc<SeenTransactions>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_know_the_variable_is_asked_once() {
        let error = |code| {
            mysql::Error::MySqlError(mysql::MySqlError {
                state: "HY000".into(),
                message: "Unknown system variable".into(),
                code,
            })
        };
        let seen = SeenTransactions::default();
        assert!(!seen.refuses(&error(1064)));
        assert_eq!(seen.report_state(), REPORT_STATE);
        assert!(seen.refuses(&error(1193)));
        assert_eq!(seen.report_state(), "");
        assert!(!seen.refuses(&error(1193)), "nothing else is left out");
    }

    #[test]
    fn the_room_is_asked_for_beside_the_capabilities_of_the_application() {
        let own = OptsBuilder::new().additional_capabilities(CapabilityFlags::CLIENT_FOUND_ROWS);
        let both = Opts::from(with_room(own)).get_additional_capabilities();
        let expected = CapabilityFlags::CLIENT_FOUND_ROWS | CapabilityFlags::CLIENT_SESSION_TRACK;
        assert_eq!(both, expected);
    }
}
