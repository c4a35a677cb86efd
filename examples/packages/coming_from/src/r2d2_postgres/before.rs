//! r2d2_postgres, with a customizer, an event handler and the state.

use crate::Failure;
use postgres::{Client, NoTls};
use r2d2::event::TimeoutEvent;
use r2d2::{CustomizeConnection, HandleEvent};
use r2d2_postgres::PostgresConnectionManager;
use std::time::Duration;

pub type Pool = r2d2::Pool<PostgresConnectionManager<NoTls>>;

#[derive(Debug)]
struct Prepare;

impl CustomizeConnection<Client, postgres::Error> for Prepare {
    fn on_acquire(&self, client: &mut Client) -> Result<(), postgres::Error> {
        client.batch_execute("set timezone to 'UTC'")
    }
}

#[derive(Debug)]
struct Log;

impl HandleEvent for Log {
    fn handle_timeout(&self, event: TimeoutEvent) {
        eprintln!("no connection within {:?}", event.timeout());
    }
}

pub fn pool(url: &str) -> Result<Pool, Failure> {
    let manager = PostgresConnectionManager::new(url.parse()?, NoTls);
    let pool = Pool::builder()
        .max_size(4)
        .min_idle(Some(1))
        .connection_timeout(Duration::from_secs(60))
        .max_lifetime(Some(Duration::from_secs(1800)))
        .test_on_check_out(true)
        .connection_customizer(Box::new(Prepare))
        .event_handler(Box::new(Log))
        .build(manager)?;
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
    let state = pool.state();
    state.connections - state.idle_connections
}
