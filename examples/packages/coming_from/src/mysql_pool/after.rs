//! poolwarden.

use crate::Failure;
use mysql::prelude::Queryable;
use poolwarden::MySql;
use std::time::Duration;

pub type Pool = poolwarden::Pool<MySql>;

pub fn pool(url: &str) -> Result<Pool, Failure> {
    Ok(Pool::builder().min_idle(1).max_size(4).build(MySql::new(url)?)?)
}

pub fn answer(pool: &Pool) -> Result<Option<u8>, Failure> {
    let mut connection = pool.get_timeout(Duration::from_secs(60))?;
    Ok(connection.query_first("select 42")?)
}

pub fn in_transaction(pool: &Pool) -> Result<Option<u8>, Failure> {
    Ok(pool.transaction(|transaction| Ok(transaction.query_first("select 42")?))?)
}
