//! The pool of the mysql crate.

use crate::Failure;
use mysql::prelude::Queryable;
use mysql::{Opts, OptsBuilder, PoolConstraints, PoolOpts, TxOpts};
use std::time::Duration;

pub type Pool = mysql::Pool;

pub fn pool(url: &str) -> Result<Pool, Failure> {
    let constraints = PoolConstraints::new(1, 4).ok_or("1 is not above 4")?;
    let opts = PoolOpts::default().with_constraints(constraints);
    Ok(Pool::new(OptsBuilder::from_opts(Opts::from_url(url)?).pool_opts(opts))?)
}

pub fn answer(pool: &Pool) -> Result<Option<u8>, Failure> {
    let mut connection = pool.try_get_conn(Duration::from_secs(60))?;
    Ok(connection.query_first("select 42")?)
}

pub fn in_transaction(pool: &Pool) -> Result<Option<u8>, Failure> {
    let mut transaction = pool.start_transaction(TxOpts::default())?;
    let answer = transaction.query_first("select 42")?;
    transaction.commit()?;
    Ok(answer)
}
