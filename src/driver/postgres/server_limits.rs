//! The limits that a PostgreSQL server sets for this session, read in one round trip by
//! simple queries that any role may send and that work behind a pooler.
//!
//! Measured with PostgreSQL 15: `pg_stat_activity` shows the rows of all users to every
//! role, with `usename`, `datname` and `application_name`; `state` and `backend_type` of
//! other roles are NULL.

use crate::config::ServerLimits;
use postgres::error::Severity;
use postgres::{Client, Error, SimpleQueryMessage, SimpleQueryRow};
use std::time::Duration;

/// Functions only: reads no catalog and waits for no lock. A setting that the server's
/// version does not have is NULL.
const SETTINGS: &str = "\
select version() as version, session_user as role, pg_backend_pid() as pid,
  current_setting('max_connections', true) as max_connections,
  current_setting('superuser_reserved_connections', true) as for_superusers,
  current_setting('reserved_connections', true) as for_members,
  current_setting('idle_session_timeout', true) as idle,
  current_setting('idle_in_transaction_session_timeout', true) as idle_in_transaction,
  current_setting('statement_timeout', true) as statement,
  pg_is_in_recovery()
    or current_setting('default_transaction_read_only', true) = 'on' as read_only";

/// The query for a server that does not know all functions of the first one.
const VERSION: &str = "select version() as version";

/// Limits and counts by role and database. A backend without a database, such as a
/// replication sender, does not count against `max_connections`.
const HOLDERS: &str = "\
with clients as (
  select usename, datname from pg_stat_activity
  where usename is not null and datname is not null
    and coalesce(backend_type, 'client backend') = 'client backend')
select (select count(*) from clients) as all_clients,
  (select count(*) from clients where usename = session_user) as of_role,
  (select count(*) from clients where datname = current_database()) as of_database,
  role.rolsuper as superuser, role.rolconnlimit as role_limit,
  (select datconnlimit from pg_database where datname = current_database()) as database_limit,
  (select pg_has_role(session_user, oid, 'usage') from pg_roles
    where rolname = 'pg_use_reserved_connections') as member,
  (select ssl from pg_stat_ssl where pid = pg_backend_pid()) as ssl
from pg_roles as role where role.rolname = session_user";

/// Reads the limits; `announced` is the process id that the server sent at start-up.
///
/// What the server refuses to report stays `None`; only a lost connection is an error.
pub(super) fn read(client: &mut Client, announced: Option<i32>) -> Result<ServerLimits, Error> {
    let both = format!("{SETTINGS}; {HOLDERS}");
    let (settings, holders) = match rows(client, &both)? {
        Some(rows) => {
            let mut rows = rows.into_iter();
            (rows.next(), rows.next())
        }
        // The server refuses one of them, and with it the whole text.
        None => {
            let settings = match ask(client, SETTINGS)? {
                None => ask(client, VERSION)?,
                settings => settings,
            };
            (settings, ask(client, HOLDERS)?)
        }
    };
    Ok(understand(&Answer(settings.as_ref()), &Answer(holders.as_ref()), announced))
}

/// Sends a query of one row; returns `None` if the server answers with an error.
pub(super) fn ask(client: &mut Client, query: &str) -> Result<Option<SimpleQueryRow>, Error> {
    Ok(rows(client, query)?.and_then(|rows| rows.into_iter().next()))
}

/// Sends a query, or several in one text; returns `None` if the server answers with an error.
fn rows(client: &mut Client, query: &str) -> Result<Option<Vec<SimpleQueryRow>>, Error> {
    match client.simple_query(query) {
        Ok(messages) => {
            let rows = messages.into_iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            Ok(Some(rows.collect()))
        }
        Err(error) if is_refusal(&error) && !client.is_closed() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns `true` for an error that ends the query and not the session. The parsed
/// severity is not localized; pgbouncer sends none, and never localizes.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.as_db_error().is_some_and(|server| match server.parsed_severity() {
        Some(severity) => severity == Severity::Error,
        None => server.severity() == "ERROR",
    })
}

/// One row of texts, by the names of its columns.
trait Columns {
    fn text(&self, name: &str) -> Option<&str>;

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "t")
    }
}

/// The row of a reply, if there was one.
struct Answer<'a>(Option<&'a SimpleQueryRow>);

impl Columns for Answer<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.0?.try_get(name).ok().flatten()
    }
}

fn understand(
    settings: &impl Columns,
    holders: &impl Columns,
    announced: Option<i32>,
) -> ServerLimits {
    let process: Option<i32> = settings.number("pid");
    let superuser = holders.flag("superuser") == Some(true);
    // PostgreSQL documentation, "Role Attributes": superusers have no limit; −1 is none.
    let limit = |name| holders.number(name).filter(|_| !superuser);
    let time = |name| settings.text(name).and_then(duration);
    let mut limits = ServerLimits {
        product: settings.text("version").map(product).unwrap_or_default(),
        role: settings.text("role").map(str::to_owned),
        behind_pooler: announced.zip(process).map(|(announced, process)| announced != process),
        max_connections: settings.number("max_connections"),
        reserved_connections: reserved(settings, holders),
        role_limit: limit("role_limit"),
        database_limit: limit("database_limit"),
        connections: holders.number("all_clients"),
        role_connections: holders.number("of_role"),
        database_connections: holders.number("of_database"),
        idle_timeout: time("idle"),
        idle_in_transaction_timeout: time("idle_in_transaction"),
        statement_timeout: time("statement"),
        read_only: settings.flag("read_only"),
        encrypted: holders.flag("ssl"),
    };
    limits.hide_poolers_own();
    limits
}

/// PostgreSQL documentation, "Connection Settings": `reserved_connections` are for
/// members of `pg_use_reserved_connections`, the rest for superusers.
fn reserved(settings: &impl Columns, holders: &impl Columns) -> Option<u32> {
    let for_superusers: u32 = settings.number("for_superusers")?;
    let for_members: u32 = settings.number("for_members").unwrap_or(0);
    Some(if holders.flag("superuser") == Some(true) {
        0
    } else if holders.flag("member") == Some(true) {
        for_superusers
    } else {
        for_superusers + for_members
    })
}

/// Returns the first two words of `PostgreSQL 15.18 (Debian …) on …`.
fn product(version: &str) -> String {
    let words: Vec<&str> = version.split_whitespace().take(2).collect();
    words.join(" ").trim_end_matches(',').to_owned()
}

/// PostgreSQL documentation, "Setting Parameters": a number and a unit; zero, which has
/// no unit, is no timeout.
fn duration(setting: &str) -> Option<Duration> {
    let digits = setting.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(setting.len());
    let (number, unit) = setting.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let seconds = |each: u64| number.checked_mul(each).map(Duration::from_secs);
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => seconds(1),
        "min" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(24 * 3600),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Columns for &[(&str, &'static str)] {
        fn text(&self, name: &str) -> Option<&str> {
            self.iter().find(|(column, _)| *column == name).map(|(_, text)| *text)
        }
    }

    const NONE: &[(&str, &str)] = &[];

    /// What PostgreSQL 16 reports to an unprivileged role.
    const SETTINGS: &[(&str, &str)] = &[
        ("version", "PostgreSQL 16.4 (Debian 16.4-1.pgdg120+1) on x86_64-pc-linux-gnu"),
        ("role", "app"),
        ("pid", "4711"),
        ("max_connections", "100"),
        ("for_superusers", "3"),
        ("for_members", "5"),
        ("idle", "5min"),
        ("idle_in_transaction", "0"),
        ("statement", "1500ms"),
        ("read_only", "f"),
    ];

    const HOLDERS: &[(&str, &str)] = &[
        ("all_clients", "12"),
        ("of_role", "4"),
        ("of_database", "6"),
        ("superuser", "f"),
        ("role_limit", "20"),
        ("database_limit", "-1"),
        ("member", "f"),
        ("ssl", "t"),
    ];

    fn with(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
        let change = |(column, text)| (column, if column == name { value } else { text });
        HOLDERS.iter().copied().map(change).collect()
    }

    #[test]
    fn every_reported_value_has_its_field() {
        let limits = understand(&SETTINGS, &HOLDERS, Some(4711));
        let expected = ServerLimits {
            product: "PostgreSQL 16.4".into(),
            role: Some("app".into()),
            behind_pooler: Some(false),
            max_connections: Some(100),
            reserved_connections: Some(8),
            role_limit: Some(20),
            database_limit: None,
            connections: Some(12),
            role_connections: Some(4),
            database_connections: Some(6),
            idle_timeout: Some(Duration::from_secs(300)),
            idle_in_transaction_timeout: None,
            statement_timeout: Some(Duration::from_millis(1500)),
            read_only: Some(false),
            encrypted: Some(true),
        };
        assert_eq!(limits, expected);
    }

    #[test]
    fn a_superuser_has_no_limits_and_a_member_only_the_superusers_reserve() {
        let holders = with("superuser", "t");
        let limits = understand(&SETTINGS, &&holders[..], None);
        assert_eq!((limits.reserved_connections, limits.role_limit), (Some(0), None));
        let holders = with("member", "t");
        assert_eq!(understand(&SETTINGS, &&holders[..], None).reserved_connections, Some(3));
    }

    #[test]
    fn another_process_than_the_announced_one_is_a_pooler_that_hides_the_servers_counts() {
        let limits = understand(&SETTINGS, &HOLDERS, Some(99));
        assert_eq!(limits.behind_pooler, Some(true));
        assert_eq!((limits.max_connections, limits.connections), (None, None));
        assert_eq!((limits.role_limit, limits.encrypted), (None, None));
        assert_eq!(limits.idle_timeout, Some(Duration::from_secs(300)));
        assert_eq!(understand(&SETTINGS, &HOLDERS, None).behind_pooler, None);
    }

    #[test]
    fn what_is_not_reported_is_unknown() {
        assert_eq!(understand(&NONE, &NONE, Some(1)), ServerLimits::default());
        let limits = understand(&SETTINGS, &NONE, None);
        assert_eq!((limits.reserved_connections, limits.connections), (Some(8), None));
    }

    #[test]
    fn each_unit_is_understood_and_nonsense_is_no_timeout() {
        let table = [
            ("0", None),
            ("", None),
            ("7", None),
            ("7 parsecs", None),
            ("-1", None),
            ("99999999999999999999d", None),
            ("18446744073709551615d", None),
            ("500us", Some(Duration::from_micros(500))),
            ("300ms", Some(Duration::from_millis(300))),
            ("3s", Some(Duration::from_secs(3))),
            ("2min", Some(Duration::from_secs(120))),
            ("1h", Some(Duration::from_secs(3600))),
            ("2d", Some(Duration::from_secs(172_800))),
        ];
        for (setting, time) in table {
            assert_eq!(duration(setting), time, "{setting}");
        }
    }

    #[test]
    fn the_product_is_the_first_two_words() {
        assert_eq!(product("PostgreSQL 15.18 (Debian 15.18-0) on x86_64"), "PostgreSQL 15.18");
        assert_eq!(product("PostgreSQL 17devel, compiled by"), "PostgreSQL 17devel");
        assert_eq!(product(""), "");
    }
}
