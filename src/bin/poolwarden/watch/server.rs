//! What the load asks of each kind of server.

use poolwarden::driver::FromSettings;
use poolwarden::mysql::Conn;
use poolwarden::mysql::prelude::Queryable;
use poolwarden::postgres::{Client, SimpleQueryMessage};
use poolwarden::{MySql, Postgres};

/// A server that can be watched.
pub(super) trait Server: FromSettings {
    /// Runs a query that only reads; returns the number of the server's session.
    fn ask(connection: &mut Self::Connection) -> Result<u64, String>;

    /// Ends a session.
    fn terminate(connection: &mut Self::Connection, session: u64) -> Result<(), String>;
}

impl Server for Postgres {
    fn ask(client: &mut Client) -> Result<u64, String> {
        // A simple query: it works behind every pooler.
        let messages = client.simple_query("select pg_backend_pid()").map_err(text)?;
        let number = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
            _ => None,
        });
        number.ok_or_else(|| "the server returned no session number".into())
    }

    fn terminate(client: &mut Client, session: u64) -> Result<(), String> {
        client.simple_query(&format!("select pg_terminate_backend({session})")).map_err(text)?;
        Ok(())
    }
}

impl Server for MySql {
    fn ask(connection: &mut Conn) -> Result<u64, String> {
        let number = connection.query_first("select connection_id()").map_err(text)?;
        number.ok_or_else(|| "the server returned no session number".into())
    }

    fn terminate(connection: &mut Conn, session: u64) -> Result<(), String> {
        connection.query_drop(format!("kill {session}")).map_err(text)
    }
}

fn text(error: impl std::error::Error) -> String {
    error.to_string()
}
