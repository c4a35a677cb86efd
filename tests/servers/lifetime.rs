//! Lifetimes hold on a busy pool, as the server sees them.

use crate::variant::{Bare, My, Ours, Pg, Subject, Variant, fresh_name};
use poolwarden::{CloseReason, Pool};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{mariadb, postgres as pg};

const LIFETIME: Duration = Duration::from_secs(2);
const RUN: Duration = Duration::from_millis(4_500);

/// The ages in the server's list while 8 threads worked without a pause.
struct Watched {
    /// The oldest age, in milliseconds.
    oldest: u64,
    errors: Vec<String>,
    /// The longest time that a thread held a connection, which is never closed in use.
    longest: Duration,
}

impl Watched {
    #[track_caller]
    fn assert_none_outlived_its_lifetime(&self) {
        assert_eq!(self.errors, Vec::<String>::new());
        // Its work, its close and reading the list take a moment, longer on a loaded
        // computer.
        let slack = Duration::from_millis(400) + 2 * self.longest;
        let oldest = Duration::from_millis(self.oldest);
        assert!(oldest <= LIFETIME + slack, "{oldest:?} old, with a slack of {slack:?}");
    }
}

fn keep_busy(subject: &impl Subject, oldest: impl Fn() -> u64) -> Watched {
    let stop = AtomicBool::new(false);
    let until = Instant::now() + RUN;
    std::thread::scope(|scope| {
        let work = || {
            let (mut errors, mut longest) = (Vec::new(), Duration::ZERO);
            while !stop.load(SeqCst) {
                let began = Instant::now();
                errors.extend(subject.work().err());
                longest = longest.max(began.elapsed());
            }
            (errors, longest)
        };
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        let mut seen = 0;
        while Instant::now() < until {
            seen = seen.max(oldest());
            std::thread::sleep(Duration::from_millis(50));
        }
        stop.store(true, SeqCst);
        let ends: Vec<_> = workers.into_iter().map(|one| one.join().expect("no panic")).collect();
        let longest = ends.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
        let errors = ends.into_iter().flat_map(|(errors, _)| errors).collect();
        Watched { oldest: seen, errors, longest }
    })
}

fn hot<F: Variant>(variant: &F, oldest: impl Fn() -> u64) {
    let builder = Pool::builder().max_size(8).max_lifetime(LIFETIME).lifetime_jitter(0.25);
    // A reset that takes long on a loaded computer is no other reason for a close.
    let builder = builder.ping_timeout(Duration::from_secs(30));
    let pool = builder.build(variant.driver()).expect("the server accepts");
    let ours: Ours<F> = Ours(pool);
    keep_busy(&ours, oldest).assert_none_outlived_its_lifetime();
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
    let variant = Pg::new(database.url());
    let builder = Pool::builder().max_size(8).max_lifetime(LIFETIME);
    let manager = builder.manager(variant.driver()).expect("options agree");
    let bare: Bare<Pg> = Bare(manager.builder().build(manager).expect("the server accepts"));
    let oldest = || database.backends().iter().map(|one| one.age_ms).max().unwrap_or(0);
    keep_busy(&bare, oldest).assert_none_outlived_its_lifetime();
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
fn expiries_are_spread_and_a_connection_in_use_is_never_closed() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let name = fresh_name("spread");
    let log = support::logs::mark();
    // The housekeeper looks once a second at least, and knows the deadlines from then on.
    let builder = Pool::builder().max_size(12).max_lifetime(Duration::from_secs(3));
    let builder = builder.lifetime_jitter(0.5).name(&name);
    let pool = builder.build(Pg::new(database.url()).driver()).expect("the server accepts");
    crate::variant::fill(&pool);
    let opened = Instant::now();
    let mut held = pool.get().expect("a connection");
    let rest = || pool.snapshot().closed_by(CloseReason::MaxLifetime);
    assert!(support::wait::eventually(Duration::from_secs(5), || rest() >= 11), "{}", rest());
    // By now its own lifetime has ended too, whatever its jitter.
    std::thread::sleep(Duration::from_secs(3).saturating_sub(opened.elapsed()));
    held.execute("select 1", &[]).expect("it is not closed");
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
