//! A request that connects to PostgreSQL.

use crate::Failure;
use poolwarden::dropin::postgres::{Client, NoTls};

/// Returns how many orders there are.
pub fn request(url: &str) -> Result<i64, Failure> {
    let mut client = Client::connect(url, NoTls)?;
    let orders = count(&mut client)?;
    client.close()?;
    Ok(orders)
}

fn count(client: &mut postgres::Client) -> Result<i64, postgres::Error> {
    let row = client.query_one("select count(*) from generate_series(1, 42)", &[])?;
    Ok(row.get(0))
}
