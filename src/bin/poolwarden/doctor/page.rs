//! The page: the server, the sessions open on it, and what was measured.

use super::queries::Queries;
use super::section::{Row, Section};
use super::{advice, explanation};
use poolwarden::config::ServerLimits;
use poolwarden::driver::Driver;
use poolwarden::{Error, Pool, PooledConnection};
use std::time::{Duration, Instant};

/// Timeout for connecting and for checking out.
const TIMEOUT: Duration = Duration::from_secs(10);
const PINGS: usize = 101;
const ROUNDS: usize = 21;
const CHECKOUTS_PER_ROUND: u32 = 500;
/// How many groups of sessions are listed.
const LISTED: usize = 12;

/// Examines the server and returns the sections of the page, and the server's limits.
pub(super) fn write<D: Driver>(
    driver: Result<D, Error>,
    instances: u32,
    queries: &Queries<D::Connection>,
) -> Result<(Vec<Section>, ServerLimits), String> {
    let explain = |error| explanation::explain(&error);
    let builder = Pool::builder().max_size(2).connect_timeout(TIMEOUT).checkout_timeout(TIMEOUT);
    let pool = builder.build(driver.map_err(explain)?).map_err(explain)?;
    let limits = pool.server_limits().unwrap_or_default();
    let mut connection = pool.get().map_err(explain)?;
    let holders = (queries.holders)(&mut connection);
    let ping = median_ping(&mut *connection, queries);
    let mut server = server(&pool, &limits);
    if limits.behind_pooler == Some(true) {
        server.push(("pooling mode", pooling_mode(&pool, connection, queries).into()));
    } else {
        drop(connection);
    }
    let share = advice::share(&limits, instances);
    let section = |title, rows| Section { title, rows };
    let sections = vec![
        section("Server", server),
        section("Connections", share.arithmetic.clone()),
        section("Held now", held(&limits, &holders)),
        section("Server timeouts", advice::timeouts(&limits)),
        section("Measured", measured(&pool, ping).map_err(explain)?),
        section("Recommended", advice::recommended(&limits, &share, instances)),
    ];
    Ok((sections, limits))
}

fn server<D: Driver>(pool: &Pool<D>, limits: &ServerLimits) -> Vec<Row> {
    let describe = |answer, yes: &str, no: &str| match answer {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "not known".to_owned(),
    };
    let product = if limits.product.is_empty() { "not known" } else { &limits.product };
    vec![
        ("product", product.to_owned()),
        ("reached as", pool.driver().label()),
        ("role", limits.role.clone().unwrap_or_else(|| "not known".into())),
        ("TLS", describe(limits.encrypted, "yes", "no: for networks that you trust")),
        ("writes", describe(limits.read_only, "refused, it is read-only", "accepted")),
        ("behind a pooler", describe(limits.behind_pooler, "yes", "no")),
    ]
}

/// Returns the pooling mode, found with two simultaneous clients: it shows whether they share a
/// session.
fn pooling_mode<D: Driver>(
    pool: &Pool<D>,
    mut one: PooledConnection<D>,
    queries: &Queries<D::Connection>,
) -> &'static str {
    let Ok(mut two) = pool.get() else { return "not known: a second client was refused" };
    if !(queries.ping)(&mut two) {
        PooledConnection::discard(two);
        return "not known: a second client got no session within a second";
    }
    if (queries.session)(&mut one) == (queries.session)(&mut two) {
        "transaction: two clients shared one session. SET, LISTEN, session locks and temporary \
         tables do not last; prepared statements need pgbouncer 1.21 and max_prepared_statements"
    } else {
        "session, probably: two clients had a session each"
    }
}

fn held(limits: &ServerLimits, holders: &[(String, u32)]) -> Vec<Row> {
    let row = |count: u32, holder: &str| ("", format!("{count:>4}  {holder}"));
    let mut rows: Vec<Row> =
        holders.iter().take(LISTED).map(|(holder, count)| row(*count, holder)).collect();
    let sum = |holders: &[(String, u32)]| holders.iter().map(|(_, count)| count).sum::<u32>();
    let unlisted = sum(&holders[rows.len()..]);
    if unlisted > 0 {
        rows.push(row(unlisted, "in smaller groups"));
    }
    let hidden = limits.connections.unwrap_or(0).saturating_sub(sum(holders));
    if hidden > 0 {
        rows.push(row(hidden, "not visible to this role"));
    }
    if limits.behind_pooler == Some(true) {
        rows.push(("", "      sessions of the server; the pooler's clients are not listed".into()));
    }
    rows
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

fn median_ping<C>(connection: &mut C, queries: &Queries<C>) -> Duration {
    let ping = |_| {
        let started = Instant::now();
        (queries.ping)(connection);
        started.elapsed()
    };
    median((0..PINGS).map(ping).collect())
}

/// Measures a check-out whose peek finds the connection healthy.
fn measured<D: Driver>(pool: &Pool<D>, ping: Duration) -> Result<Vec<Row>, Error> {
    let round = |_| {
        let started = Instant::now();
        for _ in 0..CHECKOUTS_PER_ROUND {
            drop(pool.get()?);
        }
        Ok(started.elapsed() / CHECKOUTS_PER_ROUND)
    };
    let cycle = median((0..ROUNDS).map(round).collect::<Result<Vec<_>, Error>>()?);
    let times = ping.as_nanos() / cycle.as_nanos().max(1);
    let mut rows = vec![
        ("ping", format!("{ping:.1?}, median of {PINGS}: what SELECT 1 before each use costs")),
        ("peek", format!("{cycle:.1?} with check-out and check-in: {times} times faster")),
    ];
    if cfg!(debug_assertions) {
        rows.push(("", "built without optimisation; with --release the peek costs less".into()));
    }
    Ok(rows)
}
