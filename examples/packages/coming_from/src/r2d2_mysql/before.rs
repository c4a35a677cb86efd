//! r2d2_mysql.

use crate::Failure;
use mysql::prelude::Queryable;
use mysql::{Opts, OptsBuilder};
use r2d2_mysql::MySqlConnectionManager;
use std::time::Duration;

pub type Pool = r2d2::Pool<MySqlConnectionManager>;

pub fn pool(url: &str) -> Result<Pool, Failure> {
    let opts = OptsBuilder::from_opts(Opts::from_url(url)?).init(vec!["set time_zone = '+00:00'"]);
    let manager = MySqlConnectionManager::new(opts);
    let pool = Pool::builder()
        .max_size(4)
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(60))
        .build(manager)?;
    Ok(pool)
}

pub fn answer(pool: &Pool) -> Result<Option<u8>, Failure> {
    let mut connection = pool.get()?;
    Ok(connection.query_first("select 42")?)
}
