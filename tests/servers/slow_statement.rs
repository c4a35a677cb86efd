//! Slow statements, for every way to reach a server.

use crate::variant::{My, Pg, Variant};
use mysql::prelude::Queryable;
use std::time::Duration;
use support::wait::eventually;

/// A variant whose server can be made to sleep.
pub trait SlowStatement: Variant {
    /// Sleeps in the server; returns how a cancelled statement failed.
    fn sleep(connection: &mut Self::Connection, time: Duration) -> Result<(), Ended>;
    /// Returns the server's number of this session.
    fn session(connection: &mut Self::Connection) -> u64;
    /// Returns whether the session with this number sleeps in a statement.
    fn is_asleep(watcher: &mut Self::Connection, session: u64) -> bool;

    /// Waits until the session with this number sleeps in a statement.
    #[track_caller]
    fn wait_until_asleep(&self, session: u64) {
        let mut watcher = self.open().expect("a session");
        let asleep = || Self::is_asleep(&mut watcher, session);
        assert!(eventually(Duration::from_secs(20), asleep), "session {session} does not sleep");
    }
}

/// How a statement failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server reported that it was cancelled.
    Cancelled,
    /// Anything else.
    Otherwise(String),
}

impl SlowStatement for Pg {
    fn sleep(client: &mut postgres::Client, time: Duration) -> Result<(), Ended> {
        let slept = client.batch_execute(&format!("select pg_sleep({})", time.as_secs_f64()));
        slept.map_err(|error| match error.code().map(|code| code.code().to_owned()) {
            Some(code) if code == "57014" => Ended::Cancelled,
            _ => Ended::Otherwise(error.to_string()),
        })
    }

    fn session(client: &mut postgres::Client) -> u64 {
        let pid: i32 = client.query_one("select pg_backend_pid()", &[]).expect("an answer").get(0);
        pid.unsigned_abs().into()
    }

    fn is_asleep(watcher: &mut postgres::Client, session: u64) -> bool {
        // PostgreSQL documentation, "Wait Events of Type Timeout".
        let asleep = "select 1 from pg_stat_activity where wait_event = 'PgSleep' and pid = $1";
        let pid = i32::try_from(session).expect("a process id");
        watcher.query_opt(asleep, &[&pid]).expect("an answer").is_some()
    }
}

impl SlowStatement for My {
    fn sleep(connection: &mut mysql::Conn, time: Duration) -> Result<(), Ended> {
        // `query_drop` would ignore the error, which comes behind the columns.
        let slept = connection.query(sleep_in_mysql(time.as_secs_f64()));
        slept.map(|_: Vec<i64>| ()).map_err(|error| match error {
            mysql::Error::MySqlError(error) if error.code == 1317 => Ended::Cancelled,
            error => Ended::Otherwise(error.to_string()),
        })
    }

    fn session(connection: &mut mysql::Conn) -> u64 {
        connection.connection_id().into()
    }

    fn is_asleep(watcher: &mut mysql::Conn, session: u64) -> bool {
        // MariaDB documentation, "General Thread States".
        let asleep = "select 1 from information_schema.processlist
                      where state = 'User sleep' and id = ?";
        watcher.exec_first::<i64, _, _>(asleep, (session,)).expect("an answer").is_some()
    }
}

/// Sleeps, and fails when it is cancelled: MySQL answers a cancelled `select sleep(1)` with a
/// row, as if it had been done.
pub fn sleep_in_mysql(seconds: impl std::fmt::Display) -> String {
    format!("select sleep({seconds}) union all select 0")
}
