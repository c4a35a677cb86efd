//! Many tenants under one cap, as the server counts their sessions.

use poolwarden::driver::Driver;
use poolwarden::{Builder, MySql, Pool, PooledConnection, Postgres, SharedPermits, Tenants};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use support::wait::{eventually, threads_named};
use support::{mariadb, postgres as pg};

const CAP: u32 = 40;
const KEYS: usize = 2_000;
const THREADS: usize = 16;
/// How many connections each thread checks out.
const TURNS: usize = 40;
/// How many databases there are, each with a role of its own.
const DATABASES: usize = 50;
/// The client that counts must leave time to the others.
const BETWEEN_COUNTS: Duration = Duration::from_millis(20);
/// Longer than any wait takes on a loaded computer.
const LONG: Duration = Duration::from_secs(120);

/// Returns a tenant by a distribution like Zipf's: few are asked for often.
fn tenant() -> usize {
    let exponent = fastrand::f64() * (KEYS as f64).ln();
    (exponent.exp() as usize).min(KEYS) - 1
}

fn options<D: Driver>(key: usize) -> Builder<D> {
    let builder = Pool::builder().name(format!("tenant {key}")).read_server_limits(false);
    builder.checkout_timeout(LONG).connect_timeout(LONG).close_grace(LONG)
}

/// Lets all threads use tenants while the sessions are counted; returns the highest count.
fn load<D: Driver>(
    tenants: &Tenants<usize, D>,
    work: impl Fn(PooledConnection<D>) + Sync,
    sessions: impl Fn() -> usize + Sync,
) -> usize {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !done.load(SeqCst) {
                most = most.max(sessions());
                std::thread::sleep(BETWEEN_COUNTS);
            }
            most
        });
        let run = || {
            for _ in 0..TURNS {
                work(tenants.get(&tenant()).expect("its turn comes"));
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        done.store(true, SeqCst);
        assert!(ended.iter().all(Result::is_ok), "no call fails");
        sampler.join().expect("it counts")
    })
}

fn assert_bounds<D: Driver>(tenants: &Tenants<usize, D>, most: usize) {
    assert!(most <= CAP as usize, "the server showed {most}");
    assert!(tenants.len() > 2 * CAP as usize, "only {} tenants were used", tenants.len());
    let threads = threads_named("poolwarden");
    assert!(threads.len() < tenants.len(), "{} threads", threads.len());
    let abandoned = |(_, now): &(usize, poolwarden::Snapshot)| now.abandoned == 0;
    assert!(tenants.snapshots().iter().all(abandoned));
    tenants.close(LONG);
    let settled = || (tenants.permits().used(), tenants.permits().pools()) == (0, 0);
    assert!(eventually(LONG, settled), "{tenants:?}");
}

#[test]
fn tenants_with_roles_and_databases_of_their_own_keep_to_the_cap_on_postgres() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    let databases: Vec<_> = (0..DATABASES).map(|_| server.fresh_database()).collect();
    let urls: Vec<String> = databases.iter().map(pg::Database::url).collect();
    let permits = SharedPermits::new(CAP).expect("one or more");
    let tenants = Tenants::new(&permits, move |key: &usize| {
        Ok((options(*key), Postgres::new(&urls[key % urls.len()])?))
    });
    let work = |mut conn: PooledConnection<Postgres>| {
        conn.simple_query("select 1").expect("it answers");
    };
    let count = "select count(*) from pg_stat_activity where usename <> 'postgres'";
    let sessions = || server.sql("postgres", count)[0][0].parse().expect("a number");
    let most = load(&tenants, work, sessions);
    assert_bounds(&tenants, most);
}

#[test]
fn tenants_with_accounts_of_their_own_keep_to_the_cap_on_mariadb() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::start();
    let databases: Vec<_> = (0..DATABASES).map(|_| server.fresh_database()).collect();
    let urls: Vec<String> = databases.iter().map(mariadb::Database::url).collect();
    let names: Vec<String> = databases.iter().map(|it| it.name().to_owned()).collect();
    let permits = SharedPermits::new(CAP).expect("one or more");
    let tenants = Tenants::new(&permits, move |key: &usize| {
        Ok((options(*key), MySql::new(&urls[key % urls.len()])?))
    });
    let work = |mut conn: PooledConnection<MySql>| {
        use poolwarden::mysql::prelude::Queryable;
        conn.query_drop("select 1").expect("it answers");
    };
    let sessions = || {
        let all = server.processlist();
        all.iter().filter(|session| names.contains(&session.user)).count()
    };
    let most = load(&tenants, work, sessions);
    assert_bounds(&tenants, most);
}
