//! A request that connects to MySQL or MariaDB.

use crate::Failure;
use mysql::prelude::Queryable;
use poolwarden::dropin::mysql::Conn;

/// Returns how many orders there are.
pub fn request(url: &str) -> Result<Option<i64>, Failure> {
    let mut conn = Conn::new(url)?;
    Ok(conn.query_first("select 20 + 22")?)
}
