//! poolwarden over Diesel's manager.

use crate::Failure;
use diesel::prelude::*;
use diesel::r2d2::ConnectionManager;
use diesel::sql_types::Integer;
use poolwarden::Foreign;
use std::time::Duration;

pub type Pool = poolwarden::Pool<Foreign<ConnectionManager<PgConnection>>>;

pub fn pool(url: &str, port: u16) -> Result<Pool, Failure> {
    let pool = Pool::builder()
        .max_size(4)
        .checkout_timeout(Duration::from_secs(60))
        .build(Foreign::new(ConnectionManager::new(url)).with_tcp_port(port))?;
    Ok(pool)
}

pub fn answer(pool: &Pool) -> Result<i32, Failure> {
    let mut conn = pool.get()?;
    Ok(diesel::select(diesel::dsl::sql::<Integer>("42")).get_result(&mut *conn)?)
}
