//! What a statement has written on MySQL or MariaDB.

use mysql::Conn;

/// What a statement has written, as the server reports it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MySqlWriteResult {
    /// Rows inserted, deleted or changed. An UPDATE does not count rows that already had
    /// the new values, unless the driver's options set `CLIENT_FOUND_ROWS`.
    pub affected_rows: u64,
    /// The first `AUTO_INCREMENT` value that the statement generated, if it did.
    pub last_insert_id: Option<u64>,
}

impl MySqlWriteResult {
    /// Returns what the connection's last statement has written.
    pub(super) fn last_of(connection: &Conn) -> MySqlWriteResult {
        let id = connection.last_insert_id();
        MySqlWriteResult {
            affected_rows: connection.affected_rows(),
            last_insert_id: (id != 0).then_some(id),
        }
    }
}
