//! Lifetimes hold on a hot pool, as the server sees them.

use crate::flavour::{Bare, Flavour, My, Ours, Pg, Subject, fresh_name};
use poolwarden::{CloseReason, Pool};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{mariadb, postgres as pg};

const LIFETIME: Duration = Duration::from_secs(2);
const RUN: Duration = Duration::from_millis(4_500);

/// 8 threads without a pause; meanwhile the server's list is watched. Returns the
/// oldest age that it showed, in milliseconds, and the errors callers saw.
fn keep_busy(subject: &impl Subject, oldest: impl Fn() -> u64) -> (u64, Vec<String>) {
    let stop = AtomicBool::new(false);
    let until = Instant::now() + RUN;
    std::thread::scope(|scope| {
        let work = || {
            let mut errors = Vec::new();
            while !stop.load(SeqCst) {
                errors.extend(subject.work().err());
            }
            errors
        };
        let herd: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        let mut seen = 0;
        while Instant::now() < until {
            seen = seen.max(oldest());
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, SeqCst);
        let errors = herd.into_iter().flat_map(|one| one.join().expect("no panic"));
        (seen, errors.collect())
    })
}

/// A look at the server's list takes a moment in which a connection grows older.
const SLACK_MS: u64 = 400;

fn hot<F: Flavour>(flavour: &F, oldest: impl Fn() -> u64) {
    let builder = Pool::builder().max_size(8).max_lifetime(LIFETIME).lifetime_jitter(0.25);
    let pool = builder.build(flavour.driver()).expect("the server is there");
    let ours: Ours<F> = Ours(pool);
    let (oldest, errors) = keep_busy(&ours, oldest);
    assert_eq!(errors, Vec::<String>::new());
    assert!(oldest <= 2_000 + SLACK_MS, "a connection was {oldest} ms old");
    let books = ours.0.snapshot();
    assert!(books.closed_by(CloseReason::MaxLifetime) >= 8, "{books}");
    assert_eq!(books.closed(), books.closed_by(CloseReason::MaxLifetime), "{books}");
}

#[test]
fn no_postgres_session_outlives_its_lifetime_on_a_hot_pool() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let oldest = || database.backends().iter().map(|one| one.age_ms).max().unwrap_or(0);
    hot(&Pg::new(database.url()), oldest);
}

#[test]
fn no_postgres_session_outlives_its_lifetime_in_a_bare_r2d2_pool() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let flavour = Pg::new(database.url());
    let builder = Pool::builder().max_size(8).max_lifetime(LIFETIME);
    let manager = builder.manager(flavour.driver()).expect("knobs agree");
    let bare: Bare<Pg> = Bare(manager.builder().build(manager).expect("the server is there"));
    let oldest = || database.backends().iter().map(|one| one.age_ms).max().unwrap_or(0);
    let (oldest, errors) = keep_busy(&bare, oldest);
    assert_eq!(errors, Vec::<String>::new());
    assert!(oldest <= 2_000 + SLACK_MS, "a connection was {oldest} ms old");
}

#[test]
fn no_mariadb_session_outlives_its_lifetime_on_a_hot_pool() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    // The process list shows no age of a session, but its number: first seen is
    // as good, for they are looked for every 50 ms.
    let first_seen = parking_lot::Mutex::new(std::collections::HashMap::<u64, Instant>::new());
    let oldest = || {
        let now = Instant::now();
        let mut known = first_seen.lock();
        let ages = database.processlist().into_iter().map(|one| {
            let since = *known.entry(one.id).or_insert(now);
            u64::try_from(now.duration_since(since).as_millis()).expect("a short age")
        });
        ages.max().unwrap_or(0)
    };
    hot(&My::new(database.url()), oldest);
}

#[test]
fn expiries_are_spread_and_a_connection_in_use_is_never_cut() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let name = fresh_name("spread");
    let log = support::logs::mark();
    // The keeper looks once a second at least, and knows the deadlines from then on.
    let builder = Pool::builder().max_size(12).max_lifetime(Duration::from_secs(3));
    let builder = builder.lifetime_jitter(0.5).name(&name);
    let pool = builder.build(Pg::new(database.url()).driver()).expect("the server is there");
    crate::flavour::fill(&pool);
    let opened = Instant::now();
    let mut held = pool.get().expect("a connection");
    let rest = || pool.snapshot().closed_by(CloseReason::MaxLifetime);
    assert!(support::wait::eventually(Duration::from_secs(5), || rest() >= 11), "{}", rest());
    // By now its own life is over too, whatever its share of the jitter.
    std::thread::sleep(Duration::from_secs(3).saturating_sub(opened.elapsed()));
    held.execute("select 1", &[]).expect("it is not cut");
    drop(held);
    assert_eq!(rest(), 12);
    let times: Vec<Instant> = log
        .records_of("pool", &name)
        .iter()
        .filter(|record| record.field("reason") == Some("max_lifetime"))
        .map(|record| record.at)
        .collect();
    let spread = times[10].duration_since(times[0]);
    assert!(spread >= Duration::from_millis(150), "all within {spread:?}");
}
