//! The pool's own texts of statements.

use mysql::prelude::Queryable;
use mysql::{Conn, Error};
use std::io;

/// Runs one of the pool's own texts and reads the whole answer, so that no error goes
/// unnoticed.
///
/// An answer without a part for each statement belongs to another request: the protocol
/// is out of sync, and the outcome of this text is unknown.
pub(super) fn run(connection: &mut Conn, sql: &str) -> mysql::Result<()> {
    let mut result = connection.query_iter(sql)?;
    let mut parts = 0;
    while let Some(rows) = result.iter() {
        for row in rows {
            row?;
        }
        parts += 1;
    }
    if parts == sql.split(';').count() {
        return Ok(());
    }
    let text = "the answer does not belong to these statements: protocol out of sync";
    Err(Error::IoError(io::Error::new(io::ErrorKind::InvalidData, text)))
}
