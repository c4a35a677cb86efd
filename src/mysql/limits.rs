//! What a MySQL or MariaDB server allows this session, asked in plain
//! statements that any account may send.
//!
//! Measured with MariaDB 10.11: the session's `max_user_connections` is the limit
//! that applies to the account, its own or else the global one; an account with
//! `CONNECTION ADMIN` may go beyond the global one, which nothing short of its
//! grants tells. Without `PROCESS` the process list shows the account's own rows:
//! just those that are counted here.

use crate::error::BoxError;
use crate::limits::ServerLimits;
use mysql::prelude::Queryable;
use mysql::{Conn, Error, Row};
use std::time::Duration;

/// A variable that this product does not have is no row.
const VARIABLES: &str = "\
show session variables where variable_name in ('version', 'max_connections', \
'max_user_connections', 'wait_timeout', 'idle_transaction_timeout', \
'idle_readonly_transaction_timeout', 'idle_write_transaction_timeout', \
'max_statement_time', 'max_execution_time', 'read_only')";

const STATUS: &str = "\
show session status where variable_name in ('Threads_connected', 'Ssl_cipher')";

const SESSION: &str = "select 'role', current_user() union all select 'process', connection_id()";

/// Not the table of the same name: MySQL writes a warning to its log for that one.
const HOLDERS: &str = "show processlist";

/// Reads the limits.
///
/// What the server refuses to tell is left out; only a lost connection is an error.
pub(super) fn read(connection: &mut Conn) -> Result<ServerLimits, BoxError> {
    let mut told = Told::default();
    for statement in [VARIABLES, STATUS, SESSION] {
        told.0.extend(ask(connection, statement)?.iter().filter_map(pair));
    }
    let holders: Vec<(String, String)> =
        ask(connection, HOLDERS)?.iter().filter_map(pair).collect();
    Ok(understand(&told, &holders, connection.connection_id()))
}

/// Sends a statement; a server that answers with an error tells nothing.
fn ask(connection: &mut Conn, statement: &str) -> Result<Vec<Row>, BoxError> {
    match connection.query(statement) {
        Ok(rows) => Ok(rows),
        Err(Error::MySqlError(_refusal)) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// The first two columns, as texts.
fn pair(row: &Row) -> Option<(String, String)> {
    let name: String = row.get_opt(0)?.ok()?;
    let value: String = row.get_opt(1)?.ok()?;
    Some((name.to_ascii_lowercase(), value))
}

/// Names and values, as the statements return them.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(told, _)| told == name).map(|(_, value)| &**value)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// A time in seconds, perhaps with a fraction; zero is none.
    fn seconds(&self, name: &str) -> Option<Duration> {
        let seconds: f64 = self.number(name)?;
        Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
    }
}

/// `holders` are connections, by their number, and whose they are; `named` is the
/// number in the server's greeting.
fn understand(told: &Told, holders: &[(String, String)], named: u32) -> ServerLimits {
    let in_transaction = [
        "idle_transaction_timeout",
        "idle_readonly_transaction_timeout",
        "idle_write_transaction_timeout",
    ];
    let max_connections = told.number("max_connections");
    let mut limits = ServerLimits {
        product: told.text("version").map(product).unwrap_or_default(),
        role: told.text("role").map(str::to_owned),
        behind_pooler: told.number("process").map(|process: u64| differs(process, named)),
        max_connections,
        // MySQL documentation, "Connection Interfaces": the one for administrators
        // comes on top of max_connections.
        reserved_connections: max_connections.map(|_: u32| 0),
        role_limit: told.number("max_user_connections").filter(|limit| *limit > 0),
        database_limit: None,
        connections: told.number("threads_connected"),
        role_connections: of_role(told, holders),
        database_connections: None,
        idle_timeout: told.seconds("wait_timeout"),
        idle_in_transaction_timeout: in_transaction
            .into_iter()
            .filter_map(|name| told.seconds(name))
            .min(),
        statement_timeout: statement_timeout(told),
        // MariaDB 12 has more values than ON: all but OFF refuse writes.
        read_only: told.text("read_only").map(|value| !matches!(value, "OFF" | "0")),
        encrypted: told.text("ssl_cipher").map(|cipher| !cipher.is_empty()),
    };
    limits.hide_poolers_own();
    limits
}

/// The list names users without their hosts: those of all hosts are counted.
fn of_role(told: &Told, holders: &[(String, String)]) -> Option<u32> {
    let process = told.text("process")?;
    let (_, user) = holders.iter().find(|(number, _)| number == process)?;
    let count = holders.iter().filter(|(_, other)| other == user).count();
    u32::try_from(count).ok()
}

/// The greeting holds the lower half of the connection's number.
fn differs(process: u64, named: u32) -> bool {
    process & u64::from(u32::MAX) != u64::from(named)
}

/// MariaDB counts seconds, for all statements; MySQL milliseconds, for SELECT.
fn statement_timeout(told: &Told) -> Option<Duration> {
    let in_ms = || told.number("max_execution_time").filter(|ms| *ms > 0);
    told.seconds("max_statement_time").or_else(|| in_ms().map(Duration::from_millis))
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

    fn limits(told: &[(&str, &str)]) -> ServerLimits {
        understand(&Told(pairs(told)), &[], 7)
    }

    #[test]
    fn all_that_mariadb_tells_has_its_place() {
        let told = [
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
        let holders = [("4294967303", "app"), ("8", "root"), ("9", "app"), ("10", "app")];
        let limits = understand(&Told(pairs(&told)), &pairs(&holders), 7);
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
    fn what_mysql_says_otherwise_is_understood() {
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
    fn another_connection_than_the_greeted_one_is_a_pooler_that_hides_the_servers_counts() {
        let told = [("process", "8"), ("max_connections", "151"), ("wait_timeout", "60")];
        let limits = limits(&told);
        assert_eq!((limits.behind_pooler, limits.max_connections), (Some(true), None));
        assert_eq!(limits.idle_timeout, Some(Duration::from_secs(60)));
    }

    #[test]
    fn nothing_told_is_nothing_known() {
        assert_eq!(limits(&[]), ServerLimits::default());
        let nonsense = [("wait_timeout", "soon"), ("max_statement_time", "-1")];
        assert_eq!(limits(&nonsense), ServerLimits::default());
    }

    #[test]
    fn a_product_is_named_with_its_number() {
        assert_eq!(product("11.4.2-MariaDB-ubu2404-log"), "MariaDB 11.4.2");
        assert_eq!(product("9.1.0"), "MySQL 9.1.0");
    }
}
