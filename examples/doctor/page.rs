//! The page: what the server is, who holds it, and what was measured.

use super::databases::Questions;
use super::{advice, trouble};
use poolwarden::{Driver, Error, Pool, PooledConnection, ServerLimits};
use std::time::{Duration, Instant};

/// How long the server may take to let us in.
const PATIENCE: Duration = Duration::from_secs(10);
const PINGS: usize = 101;
const ROUNDS: usize = 21;
const TURNS_A_ROUND: u32 = 500;
/// How many groups of holders are listed.
const LISTED: usize = 12;

/// A label and what it says.
pub(super) type Row = (&'static str, String);

/// Examines the server and writes the page.
pub(super) fn write<D: Driver>(
    driver: Result<D, Error>,
    instances: u32,
    questions: &Questions<D::Connection>,
) -> Result<String, String> {
    let explain = |error| trouble::explain(&error);
    let builder = Pool::builder().max_size(2).connect_timeout(PATIENCE).checkout_timeout(PATIENCE);
    let pool = builder.build(driver.map_err(explain)?).map_err(explain)?;
    let limits = pool.server_limits().unwrap_or_default();
    let mut connection = pool.get().map_err(explain)?;
    let holders = (questions.holders)(&mut connection);
    let ping = median_ping(&mut *connection, questions);
    let mut server = server(&pool, &limits);
    if limits.behind_pooler == Some(true) {
        server.push(("lends sessions", lending(&pool, connection, questions).into()));
    } else {
        drop(connection);
    }
    let share = advice::share(&limits, instances);
    let chapters = [
        chapter("Server", &server),
        chapter("Connections", &share.working),
        chapter("Held now", &held(&limits, &holders)),
        chapter("Time-outs of the server", &advice::timeouts(&limits)),
        chapter("Measured", &measured(&pool, ping).map_err(explain)?),
        chapter("Recommended", &advice::recommended(&limits, &share, instances)),
    ];
    Ok(chapters.concat())
}

fn chapter(title: &str, rows: &[Row]) -> String {
    let line = |(label, text): &Row| format!("  {label:<20}{text}\n");
    format!("\n{title}\n{}", rows.iter().map(line).collect::<String>())
}

fn server<D: Driver>(pool: &Pool<D>, limits: &ServerLimits) -> Vec<Row> {
    let say = |answer, yes: &str, no: &str| match answer {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => "not known".to_owned(),
    };
    let product = if limits.product.is_empty() { "not known" } else { &limits.product };
    vec![
        ("product", product.to_owned()),
        ("reached as", pool.driver().label()),
        ("role", limits.role.clone().unwrap_or_else(|| "not known".into())),
        ("TLS", say(limits.encrypted, "yes", "no: for networks that you trust")),
        ("writes", say(limits.read_only, "refused, it is read-only", "accepted")),
        ("behind a pooler", say(limits.behind_pooler, "yes", "no")),
    ]
}

/// Tells by two clients at a time whether each has a session of its own.
fn lending<D: Driver>(
    pool: &Pool<D>,
    mut one: PooledConnection<D>,
    questions: &Questions<D::Connection>,
) -> &'static str {
    let Ok(mut two) = pool.get() else { return "not known: it let no second client in" };
    if !(questions.ping)(&mut two) {
        PooledConnection::discard(two);
        return "not known: a second client got none within a second";
    }
    if (questions.session)(&mut one) == (questions.session)(&mut two) {
        "by transaction: two clients shared one. SET, LISTEN, session locks and temporary \
         tables do not last; prepared statements need pgbouncer 1.21 and max_prepared_statements"
    } else {
        "by client, it seems: two clients had two"
    }
}

fn held(limits: &ServerLimits, holders: &[(String, u32)]) -> Vec<Row> {
    let row = |count: u32, who: &str| ("", format!("{count:>4}  {who}"));
    let mut rows: Vec<Row> =
        holders.iter().take(LISTED).map(|(who, count)| row(*count, who)).collect();
    let sum = |holders: &[(String, u32)]| holders.iter().map(|(_, count)| count).sum::<u32>();
    let unlisted = sum(&holders[rows.len()..]);
    if unlisted > 0 {
        rows.push(row(unlisted, "in smaller groups"));
    }
    let hidden = limits.connections.unwrap_or(0).saturating_sub(sum(holders));
    if hidden > 0 {
        rows.push(row(hidden, "that this role may not see"));
    }
    if limits.behind_pooler == Some(true) {
        rows.push((
            "",
            "      sessions of the server; the pooler's clients are not in its list".into(),
        ));
    }
    rows
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}

fn median_ping<C>(connection: &mut C, questions: &Questions<C>) -> Duration {
    let ping = |_| {
        let began = Instant::now();
        (questions.ping)(connection);
        began.elapsed()
    };
    median((0..PINGS).map(ping).collect())
}

/// What a check-out costs whose peek found the connection healthy.
fn measured<D: Driver>(pool: &Pool<D>, ping: Duration) -> Result<Vec<Row>, Error> {
    let round = |_| {
        let began = Instant::now();
        for _ in 0..TURNS_A_ROUND {
            drop(pool.get()?);
        }
        Ok(began.elapsed() / TURNS_A_ROUND)
    };
    let turn = median((0..ROUNDS).map(round).collect::<Result<Vec<_>, Error>>()?);
    let times = ping.as_nanos() / turn.as_nanos().max(1);
    let mut rows = vec![
        ("ping", format!("{ping:.1?}, median of {PINGS}: what SELECT 1 before each use costs")),
        ("peek", format!("{turn:.1?} with check-out and check-in: {times} times less")),
    ];
    if cfg!(debug_assertions) {
        rows.push(("", "built without optimisation; with --release the peek costs less".into()));
    }
    Ok(rows)
}
