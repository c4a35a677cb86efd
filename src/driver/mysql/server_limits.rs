//! The limits of a MySQL or MariaDB server, read with statements that any account may
//! run, all in one text: one round trip.
//!
//! Measured with MariaDB 10.11: the session's `max_user_connections` is the limit that
//! applies to the account, its own or else the global one; an account with `CONNECTION
//! ADMIN` may exceed the global one, which only its grants show. Without `PROCESS` the
//! process list shows the account's own rows: exactly those that are counted here.

use crate::config::ServerLimits;
use crate::error::BoxError;
use mysql::prelude::Queryable;
use mysql::{Conn, Error, Row};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// A variable that the product does not have yields no row.
const VARIABLES: &str = "\
show session variables where variable_name in ('version', 'max_connections', \
'max_user_connections', 'wait_timeout', 'idle_transaction_timeout', \
'idle_readonly_transaction_timeout', 'idle_write_transaction_timeout', \
'max_statement_time', 'max_execution_time', 'read_only')";

const STATUS: &str = "\
show session status where variable_name in ('Threads_connected', 'Ssl_cipher')";

const SESSION: &str = "select 'role', current_user() union all select 'process', connection_id()";

/// Not the table of the same name: MySQL logs a warning for that one.
const PROCESS_LIST: &str = "show processlist";

const STATEMENTS: [&str; 4] = [VARIABLES, STATUS, SESSION, PROCESS_LIST];

/// Reads the limits; `one_by_one` is whether each statement needs a text of its own, and is
/// set if that turns out.
///
/// A statement that the server refuses is left out; only a lost connection is an error.
pub(super) fn read(
    connection: &mut Conn,
    one_by_one: &AtomicBool,
) -> Result<ServerLimits, BoxError> {
    let mut answers = Vec::new();
    if !one_by_one.load(Relaxed) {
        answers = ask_together(connection)?;
        if answers.is_empty() {
            let first = ask(connection, STATEMENTS[0])?;
            one_by_one.store(first.is_some(), Relaxed);
            answers.push(first.unwrap_or_default());
        }
    }
    for statement in STATEMENTS.iter().skip(answers.len()) {
        answers.push(ask(connection, statement)?.unwrap_or_default());
    }
    let (values, sessions) = answers.split_at(STATEMENTS.len() - 1);
    let values = Values(values.concat());
    Ok(limits_from(&values, &sessions.concat(), connection.connection_id()))
}

/// Names and values, or connection ids and users.
type Pairs = Vec<(String, String)>;

/// Sends all statements in one text; returns the answers to the first of them, up to the one
/// that the server refuses. There is none if it refuses the first, or the whole text.
fn ask_together(connection: &mut Conn) -> mysql::Result<Vec<Pairs>> {
    let mut answers = Vec::new();
    let mut result = match connection.query_iter(STATEMENTS.join("; ")) {
        Ok(result) => result,
        Err(Error::MySqlError(_refusal)) => return Ok(answers),
        Err(error) => return Err(error),
    };
    while let Some(rows) = result.iter() {
        match rows.collect::<mysql::Result<Vec<Row>>>() {
            Ok(rows) => answers.push(rows.iter().filter_map(pair).collect()),
            // It runs none of those that follow.
            Err(Error::MySqlError(_refusal)) => answers.push(Pairs::new()),
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}

/// Sends one statement; returns `None` if the server refuses it.
fn ask(connection: &mut Conn, statement: &str) -> mysql::Result<Option<Pairs>> {
    match connection.query::<Row, _>(statement) {
        Ok(rows) => Ok(Some(rows.iter().filter_map(pair).collect())),
        Err(Error::MySqlError(_refusal)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the first two columns as text.
fn pair(row: &Row) -> Option<(String, String)> {
    let name: String = row.get_opt(0)?.ok()?;
    let value: String = row.get_opt(1)?.ok()?;
    Some((name.to_ascii_lowercase(), value))
}

/// Names and values, as the statements return them.
#[derive(Default)]
struct Values(Pairs);

impl Values {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// Returns a time in seconds, possibly with a fraction; `None` for zero.
    fn seconds(&self, name: &str) -> Option<Duration> {
        let seconds: f64 = self.number(name)?;
        Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
    }
}

/// `sessions` are connection ids with their users; `greeted` is the id in the server's
/// greeting.
fn limits_from(values: &Values, sessions: &[(String, String)], greeted: u32) -> ServerLimits {
    let in_transaction = [
        "idle_transaction_timeout",
        "idle_readonly_transaction_timeout",
        "idle_write_transaction_timeout",
    ];
    let max_connections = values.number("max_connections");
    let mut limits = ServerLimits {
        product: values.text("version").map(product).unwrap_or_default(),
        role: values.text("role").map(str::to_owned),
        behind_pooler: values.number("process").map(|process: u64| differs(process, greeted)),
        max_connections,
        // MySQL documentation, "Connection Interfaces": the administrative connection
        // does not count against max_connections.
        reserved_connections: max_connections.map(|_: u32| 0),
        role_limit: values.number("max_user_connections").filter(|limit| *limit > 0),
        database_limit: None,
        connections: values.number("threads_connected"),
        role_connections: role_connections(values, sessions),
        database_connections: None,
        idle_timeout: values.seconds("wait_timeout"),
        idle_in_transaction_timeout: in_transaction
            .into_iter()
            .filter_map(|name| values.seconds(name))
            .min(),
        statement_timeout: statement_timeout(values),
        // MariaDB 12 has more values than ON: all but OFF reject writes.
        read_only: values.text("read_only").map(|value| !matches!(value, "OFF" | "0")),
        encrypted: values.text("ssl_cipher").map(|cipher| !cipher.is_empty()),
    };
    limits.hide_poolers_own();
    limits
}

/// The list shows users without their hosts: those of all hosts are counted.
fn role_connections(values: &Values, sessions: &[(String, String)]) -> Option<u32> {
    let process = values.text("process")?;
    let (_, user) = sessions.iter().find(|(number, _)| number == process)?;
    let count = sessions.iter().filter(|(_, other)| other == user).count();
    u32::try_from(count).ok()
}

/// The greeting contains the lower half of the connection id.
fn differs(process: u64, greeted: u32) -> bool {
    process & u64::from(u32::MAX) != u64::from(greeted)
}

/// MariaDB counts seconds, for all statements; MySQL milliseconds, for SELECT.
fn statement_timeout(values: &Values) -> Option<Duration> {
    let in_ms = || values.number("max_execution_time").filter(|ms| *ms > 0);
    values.seconds("max_statement_time").or_else(|| in_ms().map(Duration::from_millis))
}

/// `10.11.19-MariaDB-0+deb12u1` and `8.0.36-28` begin with the version.
fn product(version: &str) -> String {
    let name = if version.contains("MariaDB") { "MariaDB" } else { "MySQL" };
    let number = version.split('-').next().unwrap_or_default();
    format!("{name} {number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn limits(values: &[(&str, &str)]) -> ServerLimits {
        limits_from(&Values(pairs(values)), &[], 7)
    }

    #[test]
    fn all_that_mariadb_reports_is_in_the_limits() {
        let values = [
            ("idle_transaction_timeout", "0"),
            ("idle_write_transaction_timeout", "90"),
            ("max_connections", "151"),
            ("max_statement_time", "2.500000"),
            ("max_user_connections", "4"),
            ("read_only", "OFF"),
            ("version", "10.11.19-MariaDB-0+deb12u1"),
            ("wait_timeout", "28800"),
            ("ssl_cipher", ""),
            ("threads_connected", "9"),
            ("role", "app@%"),
            ("process", "4294967303"),
        ];
        let sessions = [("4294967303", "app"), ("8", "root"), ("9", "app"), ("10", "app")];
        let limits = limits_from(&Values(pairs(&values)), &pairs(&sessions), 7);
        let expected = ServerLimits {
            product: "MariaDB 10.11.19".into(),
            role: Some("app@%".into()),
            behind_pooler: Some(false),
            max_connections: Some(151),
            reserved_connections: Some(0),
            role_limit: Some(4),
            database_limit: None,
            connections: Some(9),
            role_connections: Some(3),
            database_connections: None,
            idle_timeout: Some(Duration::from_secs(28_800)),
            idle_in_transaction_timeout: Some(Duration::from_secs(90)),
            statement_timeout: Some(Duration::from_millis(2_500)),
            read_only: Some(false),
            encrypted: Some(false),
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn values_that_mysql_reports_differently_are_understood() {
        let limits = limits(&[
            ("max_execution_time", "1500"),
            ("max_user_connections", "0"),
            ("read_only", "ON"),
            ("ssl_cipher", "TLS_AES_256_GCM_SHA384"),
            ("version", "8.0.36-28"),
        ]);
        assert_eq!(limits.product, "MySQL 8.0.36");
        assert_eq!(limits.statement_timeout, Some(Duration::from_millis(1_500)));
        assert_eq!((limits.role_limit, limits.reserved_connections), (None, None));
        assert_eq!((limits.read_only, limits.encrypted), (Some(true), Some(true)));
        assert_eq!(limits.behind_pooler, None);
    }

    #[test]
    fn another_id_than_in_the_greeting_means_a_pooler_that_hides_the_servers_counts() {
        let values = [("process", "8"), ("max_connections", "151"), ("wait_timeout", "60")];
        let limits = limits(&values);
        assert_eq!((limits.behind_pooler, limits.max_connections), (Some(true), None));
        assert_eq!(limits.idle_timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn without_values_every_limit_is_unknown() {
        assert_eq!(limits(&[]), ServerLimits::default());
        let nonsense = [("wait_timeout", "soon"), ("max_statement_time", "-1")];
        assert_eq!(limits(&nonsense), ServerLimits::default());
    }

    #[test]
    fn a_product_is_named_with_its_version() {
        assert_eq!(product("11.4.2-MariaDB-ubu2404-log"), "MariaDB 11.4.2");
        assert_eq!(product("9.1.0"), "MySQL 9.1.0");
    }
}
