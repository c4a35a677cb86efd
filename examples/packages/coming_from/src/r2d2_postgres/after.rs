//! poolwarden, with `init`, an observer and the snapshot.

use crate::Failure;
use poolwarden::{Observer, Postgres};
use std::time::Duration;

pub type Pool = poolwarden::Pool<Postgres>;

struct Log;

impl Observer for Log {
    fn timed_out(&self, _pool: &str, waited: Duration) {
        eprintln!("no connection within {waited:?}");
    }
}

pub fn pool(url: &str) -> Result<Pool, Failure> {
    let pool = Pool::builder()
        .max_size(4)
        .min_idle(1)
        .checkout_timeout(Duration::from_secs(60))
        .max_lifetime(Duration::from_secs(1800))
        .init(|client| Ok(client.batch_execute("set timezone to 'UTC'")?))
        .observer(Log)
        .build(Postgres::new(url)?)?;
    Ok(pool)
}

pub fn numbers(pool: &Pool) -> Result<Vec<i32>, Failure> {
    let mut client = pool.get()?;
    let rows = client.query("select * from generate_series(1, 3)", &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub fn in_transaction(pool: &Pool) -> Result<i32, Failure> {
    let mut client = pool.get()?;
    let mut transaction = client.transaction()?;
    let row = transaction.query_one("select 42", &[])?;
    transaction.commit()?;
    Ok(row.get(0))
}

pub fn in_use(pool: &Pool) -> u32 {
    pool.snapshot().levels.in_use
}
