//! Diesel's own pool.

use crate::Failure;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool as DieselPool};
use diesel::sql_types::Integer;
use std::time::Duration;

pub type Pool = DieselPool<ConnectionManager<PgConnection>>;

pub fn pool(url: &str) -> Result<Pool, Failure> {
    let pool = Pool::builder()
        .max_size(4)
        .connection_timeout(Duration::from_secs(60))
        .test_on_check_out(true)
        .build(ConnectionManager::new(url))?;
    Ok(pool)
}

pub fn answer(pool: &Pool) -> Result<i32, Failure> {
    let mut conn = pool.get()?;
    Ok(diesel::select(diesel::dsl::sql::<Integer>("42")).get_result(&mut conn)?)
}
