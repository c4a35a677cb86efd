//! One set of permits over pools of different servers, as the servers count their sessions.

use crate::slow_statement::sleep_in_mysql;
use crate::variant::{My, Pg, Variant, shared_my, shared_pg};
use poolwarden::driver::Driver;
use poolwarden::{Builder, CloseReason, ErrorKind, MySql, Pool, SharedPermits};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::wait::{eventually, within};
use support::{mariadb, postgres as pg};

const LONG: Duration = Duration::from_secs(60);
/// Longer than any wait takes on a loaded computer.
const PATIENCE: Duration = Duration::from_secs(120);

fn builder<D: Driver>(permits: &SharedPermits) -> Builder<D> {
    let builder = Pool::builder().permits(permits).checkout_timeout(PATIENCE);
    builder.connect_timeout(LONG).close_grace(LONG).cancel_timeout(LONG).ping_timeout(LONG)
}

fn settled(permits: &SharedPermits) -> bool {
    eventually(PATIENCE, || (permits.used(), permits.wanted(), permits.pools()) == (0, 0, 0))
}

/// Returns how many sessions both servers had at one moment, at least: those of PostgreSQL that
/// lived through the second and the third look, and those of MariaDB that lived through all
/// four.
fn sessions(on_pg: &pg::Database<'_>, on_my: &mariadb::Database<'_>) -> (usize, usize) {
    let pg_now = || on_pg.backends().iter().map(|it| it.pid).collect::<BTreeSet<_>>();
    let my_now = || on_my.processlist().iter().map(|it| it.id).collect::<BTreeSet<_>>();
    let (my_first, pg_first) = (my_now(), pg_now());
    let (pg_second, my_second) = (pg_now(), my_now());
    let both = pg_first.intersection(&pg_second).count();
    (both, my_first.intersection(&my_second).count())
}

/// Three pools take the permits from one another while each has more threads than permits.
#[cfg(feature = "sqlite")]
#[test]
fn pools_of_three_databases_at_once_keep_to_one_cap() {
    const CAP: u32 = 6;
    /// How often each thread checks out.
    const TURNS: usize = 120;
    let (Some((on_pg, pg_database)), Some((on_my, my_database))) = (shared_pg(), shared_my())
    else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let permits = SharedPermits::new(CAP).expect("one or more");
    let of_pg = builder(&permits).build_lazy(on_pg.driver()).expect("a pool");
    let of_my = builder(&permits).build_lazy(on_my.driver()).expect("a pool");
    let sqlite = poolwarden::Sqlite::file(folder.path().join("shared.db"));
    let of_sqlite = builder(&permits).build_lazy(sqlite).expect("a pool");
    let (left, most) = (AtomicUsize::new(9), AtomicUsize::new(0));
    let work = |once: &dyn Fn()| {
        (0..TURNS).for_each(|_| once());
        left.fetch_sub(1, SeqCst);
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| work(&|| Pg::ask(&mut of_pg.get().expect("a turn")).expect("a sum")));
            scope.spawn(|| work(&|| My::ask(&mut of_my.get().expect("a turn")).expect("a sum")));
            scope.spawn(|| {
                work(&|| {
                    let connection = of_sqlite.get().expect("a turn");
                    let sum = connection.query_row("select 20 + 22", [], |row| row.get(0));
                    assert_eq!(sum, Ok(42));
                });
            });
        }
        while left.load(SeqCst) > 0 {
            let (pg_now, my_now) = sessions(&pg_database, &my_database);
            assert!(pg_now + my_now <= CAP as usize, "PostgreSQL {pg_now}, MariaDB {my_now}");
            most.fetch_max(pg_now + my_now, SeqCst);
            assert!(permits.used() <= CAP, "{permits:?}");
        }
    });
    let books = [of_pg.snapshot(), of_my.snapshot(), of_sqlite.snapshot()];
    for now in &books {
        assert_eq!((now.checkouts, now.abandoned), (3 * TURNS as u64, 0), "{now}");
        assert_eq!(now.timeouts + now.connect_failures, 0, "{now}");
    }
    let given_up: u64 = books.iter().map(|now| now.closed_by(CloseReason::GivenUp)).sum();
    assert!(given_up > 0, "the pools had to take permits from one another: {books:?}");
    assert!(most.load(SeqCst) > 0, "no session was seen");
    drop((of_pg, of_my, of_sqlite));
    assert!(settled(&permits), "{permits:?}");
}

/// Runs a statement into the pool's statement timeout; returns the error's kind.
fn end_of_a_sleep(pool: &Pool<MySql>) -> ErrorKind {
    let sleep = || pool.exec::<i64, _>(&sleep_in_mysql("?"), (PATIENCE.as_secs(),));
    let (slept, _) = within(LONG, || sleep().map(drop));
    slept.expect_err("it does not sleep so long").kind()
}

/// Returns how many sessions the server has, without those that are ending.
fn sessions_on(database: &mariadb::Database<'_>) -> usize {
    let all = database.processlist();
    all.iter().filter(|session| session.command != "Quit").count()
}

/// Every thread runs into the statement timeout, again and again: the sessions by which the
/// statements are cancelled are within the cap as well.
#[test]
fn kill_query_on_mariadb_keeps_to_the_shared_cap_and_comes_through() {
    const CAP: u32 = 4;
    let Some((variant, database)) = shared_my() else { return };
    let permits = SharedPermits::new(CAP).expect("one or more");
    let build = || {
        let builder = builder(&permits).max_size(CAP).statement_timeout(Duration::from_millis(200));
        builder.build_lazy(variant.driver()).expect("a pool")
    };
    let pools = [build(), build()];
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !done.load(SeqCst) {
                most = most.max(sessions_on(&database));
                assert!(permits.used() <= CAP, "{permits:?}");
            }
            most
        });
        let workers: Vec<_> = (0..8)
            .map(|thread| {
                let pool = &pools[thread % 2];
                scope.spawn(move || {
                    let end = || assert_eq!(end_of_a_sleep(pool), ErrorKind::StatementTimeout);
                    (0..4).for_each(|_| end());
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, SeqCst);
        let most = sampler.join().expect("it counts");
        assert!(ended.iter().all(Result::is_ok), "every statement was cancelled");
        assert!((1..=CAP as usize).contains(&most), "{most} sessions at a time");
    });
    for pool in &pools {
        let now = pool.snapshot();
        assert_eq!(now.closed_by(CloseReason::StatementTimeout), 0, "{now}");
        assert_eq!((now.checkouts, now.abandoned), (16, 0), "{now}");
    }
    drop(pools);
    assert!(settled(&permits), "{permits:?}");
}

/// A pool of another server wants every permit while a statement must be cancelled.
#[test]
fn the_permit_for_kill_query_is_left_by_pools_of_other_servers() {
    let (Some((on_pg, _pg_database)), Some((on_my, _my_database))) = (shared_pg(), shared_my())
    else {
        return;
    };
    // On a loaded computer a connection is idle between two uses for so long that the other
    // pool takes its permit over: one of several tries counts.
    assert!((0..20).any(|_| cancels_while_the_other_pool_waits(&on_pg, &on_my)));
}

/// Returns `false` if the waiting pool has taken over the permit of an idle connection.
fn cancels_while_the_other_pool_waits(on_pg: &Pg, on_my: &My) -> bool {
    let permits = SharedPermits::new(3).expect("one or more");
    let of_my = builder(&permits).statement_timeout(Duration::from_millis(200));
    let of_my = of_my.build_lazy(on_my.driver()).expect("a pool");
    let of_pg = builder(&permits).build_lazy(on_pg.driver()).expect("a pool");
    let not_idle = of_my.get().expect("the first of three");
    let held = of_pg.get().expect("the second of three");
    let is_kept = thread::scope(|scope| {
        let waiter = scope.spawn(|| of_pg.get().map(drop));
        assert!(eventually(LONG, || permits.wanted() == 1), "{permits:?}");
        assert_eq!(permits.used(), 2, "the third is for KILL QUERY");
        drop(not_idle);
        let end = || assert_eq!(end_of_a_sleep(&of_my), ErrorKind::StatementTimeout);
        (0..3).for_each(|_| end());
        let open = of_pg.snapshot().levels.open;
        let is_kept = of_my.snapshot().closed_by(CloseReason::GivenUp) == 0;
        assert!(open == 1 || !is_kept, "{open} connections with {permits:?}");
        drop(held);
        waiter.join().expect("no panic").expect("the connection that came back");
        is_kept
    });
    let now = of_my.snapshot();
    assert_eq!(now.closed_by(CloseReason::StatementTimeout), 0, "{now}");
    drop((of_my, of_pg));
    assert!(settled(&permits), "{permits:?}");
    is_kept
}

/// With one permit there is none for a control connection: the statement's connection is shut
/// down, and nobody waits for ever.
#[test]
fn a_single_shared_permit_leaves_no_statement_without_an_end() {
    let Some((variant, database)) = shared_my() else { return };
    let permits = SharedPermits::new(1).expect("one or more");
    let short = Duration::from_millis(300);
    let pool = builder(&permits).statement_timeout(short).cancel_timeout(short).close_grace(short);
    let pool = pool.build_lazy(variant.driver()).expect("a pool");
    for _ in 0..2 {
        assert_eq!(end_of_a_sleep(&pool), ErrorKind::StatementAbandoned);
        My::ask(&mut pool.get().expect("the permit comes back")).expect("it answers");
    }
    let now = pool.snapshot();
    assert_eq!(now.closed_by(CloseReason::StatementTimeout), 2, "{now}");
    assert!(permits.used() <= 1, "{permits:?}");
    for session in database.processlist() {
        database.server().kill(session.id);
    }
}
