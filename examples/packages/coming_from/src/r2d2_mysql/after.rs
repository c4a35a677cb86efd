//! poolwarden.

use crate::Failure;
use mysql::prelude::Queryable;
use poolwarden::MySql;
use std::time::Duration;

pub type Pool = poolwarden::Pool<MySql>;

pub fn pool(url: &str) -> Result<Pool, Failure> {
    let pool = Pool::builder()
        .max_size(4)
        .min_idle(1)
        .checkout_timeout(Duration::from_secs(60))
        .init(|connection| Ok(connection.query_drop("set time_zone = '+00:00'")?))
        .build(MySql::new(url)?)?;
    Ok(pool)
}

pub fn answer(pool: &Pool) -> Result<Option<u8>, Failure> {
    let mut connection = pool.get()?;
    Ok(connection.query_first("select 42")?)
}
