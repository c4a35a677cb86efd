//! A request that opens an SQLite file.

use rusqlite::{Connection, Error};
use std::path::Path;

/// Returns how many orders there are.
pub fn request(path: &Path) -> Result<i64, Error> {
    let connection = Connection::open(path)?;
    let orders = connection.query_row("select 20 + 22", [], |row| row.get(0))?;
    connection.close().map_err(|(_, error)| error)?;
    Ok(orders)
}
