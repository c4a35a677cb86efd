//! The examination of each kind of database.

#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::queries::Queries;
use super::section::Section;

#[cfg(feature = "postgres")]
pub(super) fn postgres(url: &str, instances: u32) -> Result<Vec<Section>, String> {
    use postgres::{Client, SimpleQueryMessage};
    const HOLDERS: &str = "select count(*), concat_ws(', ', usename, nullif(application_name, ''), \
        coalesce(state, 'state not visible')) from pg_stat_activity where datname is not null \
        and usename is not null and coalesce(backend_type, 'client backend') = 'client backend' \
        group by 2 order by 1 desc, 2";
    // Simple queries only: they work behind every pooler.
    fn fetch(client: &mut Client, query: &str) -> Vec<(String, String)> {
        let fields = |message| match message {
            SimpleQueryMessage::Row(row) => Some((row.get(0)?.into(), row.get(1)?.into())),
            _ => None,
        };
        client.simple_query(query).unwrap_or_default().into_iter().filter_map(fields).collect()
    }
    let queries = Queries {
        ping: |client: &mut Client| client.is_valid(std::time::Duration::from_secs(1)).is_ok(),
        session: |client| Some(fetch(client, "select pg_backend_pid(), ''").pop()?.0),
        holders: |client| {
            let rows = fetch(client, HOLDERS).into_iter();
            rows.filter_map(|(count, holder)| Some((holder, count.parse().ok()?))).collect()
        },
    };
    let (mut sections, limits) = super::page::write(named(url), instances, &queries)?;
    if limits.behind_pooler == Some(true) {
        let rows = super::pgbouncer::rows(&console(url), instances);
        sections.push(Section { title: "Pooler", rows });
    }
    Ok(sections)
}

/// How long pgbouncer's console may take: some versions never answer whom it does not know.
#[cfg(feature = "postgres")]
const CONSOLE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Returns what pgbouncer's console says about its settings; nothing if this role may not ask.
#[cfg(feature = "postgres")]
fn console(url: &str) -> super::pgbouncer::Settings {
    use poolwarden::config::Pooler;
    use postgres::SimpleQueryMessage;
    let ask = || {
        let url = super::url::with_database(url, "pgbouncer")?;
        let driver = poolwarden::Postgres::new(&url).ok()?.with_pooler(Pooler::Session).ok()?;
        let builder = poolwarden::Pool::builder().max_size(1).read_server_limits(false);
        let builder = builder.connect_timeout(CONSOLE_TIMEOUT).checkout_timeout(CONSOLE_TIMEOUT);
        let pool = builder.build(driver).ok()?;
        pool.get().ok()?.simple_query("SHOW CONFIG").ok()
    };
    let setting = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
        _ => None,
    };
    ask().unwrap_or_default().into_iter().filter_map(setting).collect()
}

/// Returns a driver whose application_name is visible in pg_stat_activity.
#[cfg(feature = "postgres")]
fn named(url: &str) -> Result<poolwarden::Postgres, poolwarden::Error> {
    let Ok(mut config) = url.parse::<postgres::Config>() else {
        return poolwarden::Postgres::new(url);
    };
    if config.get_application_name().is_none() {
        config.application_name("poolwarden doctor");
    }
    poolwarden::Postgres::from_config(config)
}

#[cfg(feature = "mysql")]
pub(super) fn mysql(url: &str, instances: u32) -> Result<Vec<Section>, String> {
    use mysql::{Conn, Row, prelude::Queryable};
    // The first columns are Id, User, Host, db and Command, in MySQL and MariaDB.
    fn holder(row: &Row) -> String {
        let fields = [1, 3, 4].map(|index| row.get_opt::<String, usize>(index));
        fields.into_iter().flatten().flatten().collect::<Vec<_>>().join(", ")
    }
    let queries = Queries {
        ping: |connection: &mut Conn| connection.ping().is_ok(),
        session: |connection| connection.query_first("select connection_id()").ok()?,
        holders: |connection| {
            let rows: Vec<Row> = connection.query("show processlist").unwrap_or_default();
            let mut counts = std::collections::BTreeMap::new();
            rows.iter().for_each(|row| *counts.entry(holder(row)).or_insert(0) += 1);
            counts.into_iter().collect()
        },
    };
    Ok(super::page::write(poolwarden::MySql::new(url), instances, &queries)?.0)
}

#[cfg(not(feature = "postgres"))]
pub(super) fn postgres(_: &str, _: u32) -> Result<Vec<Section>, String> {
    Err("This doctor was built without PostgreSQL: add --features postgres.".into())
}

#[cfg(not(feature = "mysql"))]
pub(super) fn mysql(_: &str, _: u32) -> Result<Vec<Section>, String> {
    Err("This doctor was built without MySQL: add --features mysql.".into())
}
