//! poolwarden.

use crate::Failure;
use poolwarden::Sqlite;
use std::path::Path;

pub type Pool = poolwarden::Pool<Sqlite>;

pub fn pool(path: &Path) -> Result<Pool, Failure> {
    let pool = Pool::builder()
        .max_size(4)
        .init(|connection| Ok(connection.execute_batch("pragma foreign_keys = on")?))
        .build(Sqlite::file(path))?;
    Ok(pool)
}

pub fn answer(pool: &Pool) -> Result<i64, Failure> {
    let connection = pool.get()?;
    Ok(connection.query_row("select 42", [], |row| row.get(0))?)
}
