//! r2d2_sqlite.

use crate::Failure;
use r2d2_sqlite::SqliteConnectionManager;
use std::path::Path;

pub type Pool = r2d2::Pool<SqliteConnectionManager>;

pub fn pool(path: &Path) -> Result<Pool, Failure> {
    let manager = SqliteConnectionManager::file(path)
        .with_init(|connection| connection.execute_batch("pragma foreign_keys = on"));
    Ok(Pool::builder().max_size(4).build(manager)?)
}

pub fn answer(pool: &Pool) -> Result<i64, Failure> {
    let connection = pool.get()?;
    Ok(connection.query_row("select 42", [], |row| row.get(0))?)
}
