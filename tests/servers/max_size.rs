//! The server never has more than `max_size` sessions, under churn.

use crate::variant::{Bare, My, Ours, Pg, Subject, Variant, fill};
use poolwarden::{Pool, PooledConnection, Snapshot};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

const SIZE: u32 = 8;
const RUN: Duration = Duration::from_secs(3);
/// The number of closes that a test waits for.
const CHURN: u64 = 50;

/// 64 threads with short lives and random discards, while connections are killed
/// at random and the server's list is counted, until that number were closed. Returns the
/// highest count.
fn churn(
    work: impl Fn() + Sync,
    kill_one: impl Fn(),
    sessions: impl Fn() -> usize,
    closed: impl Fn() -> u64,
) -> usize {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let goes_on = || began.elapsed() < RUN || (closed() <= CHURN && began.elapsed() < 20 * RUN);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    work();
                }
            });
        }
        let mut most = 0;
        while goes_on() {
            most = most.max(sessions());
            if fastrand::u8(..4) == 0 {
                kill_one();
            }
        }
        stop.store(true, SeqCst);
        most
    })
}

fn ours<F: Variant>(variant: &F) -> Ours<F> {
    let builder = Pool::builder().max_size(SIZE).max_lifetime(Duration::from_millis(200));
    Ours(builder.build(variant.driver()).expect("the server accepts"))
}

fn discard_some<F: Variant>(ours: &Ours<F>) {
    match fastrand::u8(..20) {
        0 => PooledConnection::discard(ours.0.get().expect("a connection")),
        // A kill may hit a connection in use: that is an error of its user.
        _ => drop(ours.work()),
    }
}

fn assert_cap<F: Variant>(ours: &Ours<F>, most: usize) {
    assert!(most <= SIZE as usize, "the server showed {most}");
    let books = ours.0.snapshot();
    assert_eq!(books.abandoned, 0, "{books}");
    assert!(books.closed() > CHURN, "hardly any churn: {books}");
    // A connection is counted as opened a moment before it is no longer pending.
    let is_settled = |books: Snapshot| books.levels.closing == 0 && books.levels.pending == 0;
    let settled = eventually(Duration::from_secs(5), || is_settled(ours.0.snapshot()));
    let books = ours.0.snapshot();
    assert!(settled && books.opened - books.closed() == u64::from(books.levels.open), "{books}");
}

const KILL_ONE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = \
                        current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1";

#[test]
fn postgres_never_shows_more_sessions_than_max_size() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let ours = ours(&Pg::new(database.url()));
    let sessions = || database.backends().len();
    let closed = || ours.0.snapshot().closed();
    let most = churn(|| discard_some(&ours), || drop(database.sql(KILL_ONE)), sessions, closed);
    assert_cap(&ours, most);
}

#[test]
fn postgres_never_shows_more_sessions_than_max_size_in_a_bare_r2d2_pool() {
    if !pg::available() {
        return;
    }
    let database = pg::shared().fresh_database();
    let builder = Pool::builder().max_size(SIZE).max_lifetime(Duration::from_millis(200));
    let manager = builder.manager(Pg::new(database.url()).driver()).expect("options agree");
    let bare: Bare<Pg> = Bare(manager.builder().build(manager).expect("the server accepts"));
    let sessions = || database.backends().len();
    // r2d2 does not count its closes.
    let enough = || CHURN + 1;
    let most = churn(|| drop(bare.work()), || drop(database.sql(KILL_ONE)), sessions, enough);
    assert!(most <= SIZE as usize, "the server showed {most}");
}

#[test]
fn mariadb_never_shows_more_sessions_than_max_size() {
    if !mariadb::available() {
        return;
    }
    let database = mariadb::shared().fresh_database();
    let ours = ours(&My::new(database.url()));
    let sessions = || database.processlist().len();
    let kill_one = || {
        let all = database.processlist();
        if let Some(one) = all.get(fastrand::usize(..all.len().max(1))) {
            mariadb::shared().kill(one.id);
        }
    };
    let closed = || ours.0.snapshot().closed();
    let most = churn(|| discard_some(&ours), kill_one, sessions, closed);
    assert_cap(&ours, most);
}

#[test]
fn closes_that_a_frozen_server_does_not_confirm_count_as_abandoned_until_it_thaws() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let builder = Pool::builder().max_size(4).close_grace(Duration::from_millis(300));
    let pool = builder.build(Pg::new(server.url("postgres", "postgres")).driver()).expect("a pool");
    fill(&pool);
    server.freeze();
    let held: Vec<_> = (0..4).map(|_| pool.get().expect("idle")).collect();
    held.into_iter().for_each(PooledConnection::discard);
    assert_eq!(pool.snapshot().levels.closing, 4, "{}", pool.snapshot());
    let grace = eventually(Duration::from_secs(5), || pool.snapshot().abandoned == 4);
    assert!(grace && pool.snapshot().levels.closing == 0, "{}", pool.snapshot());
    server.thaw();
    let thawed = eventually(Duration::from_secs(5), || pool.snapshot().abandoned == 0);
    assert!(thawed, "{}", pool.snapshot());
    fill(&pool);
}
