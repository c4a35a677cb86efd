//! Statements that take a while, for every way to reach a server.

use crate::flavour::{Flavour, My, Pg};
use mysql::prelude::Queryable;
use std::time::Duration;

/// A flavour whose server can be made to sleep.
pub trait Sleeper: Flavour {
    /// Sleeps in the server; tells how a statement that was stopped had failed.
    fn sleep(connection: &mut Self::Connection, time: Duration) -> Result<(), Ended>;
}

/// How a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server says that it was cancelled.
    Cancelled,
    /// Anything else.
    Otherwise(String),
}

impl Sleeper for Pg {
    fn sleep(client: &mut postgres::Client, time: Duration) -> Result<(), Ended> {
        let slept = client.batch_execute(&format!("select pg_sleep({})", time.as_secs_f64()));
        slept.map_err(|error| match error.code().map(|code| code.code().to_owned()) {
            Some(code) if code == "57014" => Ended::Cancelled,
            _ => Ended::Otherwise(error.to_string()),
        })
    }
}

impl Sleeper for My {
    fn sleep(connection: &mut mysql::Conn, time: Duration) -> Result<(), Ended> {
        // `query_drop` would overlook the error, which comes behind the columns.
        let slept = connection.query(format!("select sleep({})", time.as_secs_f64()));
        slept.map(|_: Vec<i64>| ()).map_err(|error| match error {
            mysql::Error::MySqlError(error) if error.code == 1317 => Ended::Cancelled,
            error => Ended::Otherwise(error.to_string()),
        })
    }
}
