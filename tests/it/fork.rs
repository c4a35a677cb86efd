//! A process that forks with a pool: the child leaves the pool's connections alone.

use crate::common::books::books;
use crate::common::fake::{Fake, Transport};
use crate::common::{idle, pool};
use poolwarden::{ErrorKind, Pool, PooledConnection, SharedPermits, Tenants};
use r2d2::ManageConnection;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;
use support::forked::succeeds_in_child;
#[cfg(feature = "sqlite")]
use support::forked::succeeds_in_child_at_once;
use support::shortage;

#[test]
fn a_forked_child_gets_errors_and_does_nothing_to_the_parents_connections() {
    for transport in [Transport::Tcp, Transport::Unix, Transport::Hidden] {
        shortage::in_child(|_| {
            let (pool, script) = pool(transport, |options| options.max_size(3).min_idle(1));
            idle(&pool, 2);
            let held = pool.get().expect("it is idle");
            let mine = script.server().numbers();
            let (child_pool, other) = (pool.clone(), pool.clone());
            let is_well = succeeds_in_child(move || {
                let error = child_pool.get().expect_err("it is the parent's");
                assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
                assert!(child_pool.try_get().is_none());
                assert_eq!(child_pool.snapshot().levels.open, 0);
                let error = child_pool.set_max_size(2).expect_err("it is the parent's");
                assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
                child_pool.retire_all();
                child_pool.close(Duration::from_secs(10));
                PooledConnection::discard(held);
                drop((child_pool, other));
            });
            assert!(is_well);
            thread::sleep(Duration::from_millis(100));
            assert!(mine.iter().all(|number| script.server().numbers().contains(number)));
            drop(pool.get().expect("the parent's pool works"));
        });
    }
}

#[test]
fn a_pool_is_refused_in_a_child_of_a_process_that_has_used_the_crate() {
    shortage::in_child(|_| {
        let (pool, _) = pool(Transport::Tcp, |options| options.max_size(2).min_idle(2));
        idle(&pool, 2);
        let (driver, _) = Fake::new(Transport::Tcp);
        let is_well = succeeds_in_child(|| {
            let error = Pool::builder().build_lazy(driver).map(drop).expect_err("a child");
            assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
        });
        assert!(is_well);
        books(&pool);
    });
}

#[test]
fn a_manager_of_the_parent_opens_and_validates_nothing_in_a_forked_child() {
    shortage::in_child(|_| {
        let (driver, script) = Fake::new(Transport::Tcp);
        let manager = Pool::builder().manager(driver).expect("the options agree");
        let mut conn = manager.connect().expect("it opens");
        let is_well = succeeds_in_child(|| {
            let error = manager.connect().expect_err("it is the parent's");
            assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
            let error = manager.is_valid(&mut conn).expect_err("it is the parent's");
            assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
            assert!(manager.has_broken(&mut conn));
        });
        assert!(is_well);
        assert_eq!(script.server().live(), 1);
    });
}

#[test]
fn the_methods_of_an_inherited_guard_do_nothing_to_the_parents_connection() {
    shortage::in_child(|_| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
        let (mut one, two) = (pool.get().expect("it opens"), pool.get().expect("it opens"));
        let handle = PooledConnection::cancel_handle(&one);
        let mine = script.server().numbers();
        let is_well = succeeds_in_child(move || {
            PooledConnection::set_statement_timeout(&mut one, Duration::from_millis(1));
            assert_eq!(PooledConnection::stopped(&one), None);
            assert!(handle.cancel().is_err(), "the statement is the parent's");
            assert!(matches!(PooledConnection::cancel_handle(&two).cancel(), Ok(false) | Err(_)));
            std::mem::forget(PooledConnection::detach(two));
            drop(one);
        });
        assert!(is_well);
        assert_eq!(script.server().numbers(), mine);
        drop(pool.get().expect("the parent's pool works"));
    });
}

/// A key whose comparison lasts while this is set: it is compared under the lock of its tenants.
static COMPARES: AtomicBool = AtomicBool::new(false);
/// A comparison is under way.
static COMPARING: AtomicBool = AtomicBool::new(false);

#[derive(Clone)]
struct SlowKey;

impl PartialEq for SlowKey {
    fn eq(&self, _: &SlowKey) -> bool {
        while COMPARES.load(SeqCst) {
            COMPARING.store(true, SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Eq for SlowKey {}

impl Hash for SlowKey {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[test]
fn tenants_of_the_parent_are_refused_in_a_child_though_a_thread_holds_their_lock() {
    shortage::in_child(|_| {
        let (driver, script) = Fake::new(Transport::Tcp);
        let permits = SharedPermits::new(3).expect("one or more");
        let make = move |_: &SlowKey| Ok((Pool::builder(), driver.beside()));
        let tenants = Tenants::new(&permits, make);
        drop(tenants.get(&SlowKey).expect("it opens"));
        COMPARES.store(true, SeqCst);
        thread::scope(|scope| {
            let holder = scope.spawn(|| drop(tenants.get(&SlowKey).expect("it is idle")));
            while !COMPARING.load(SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
            let is_well = succeeds_in_child(|| {
                let error = tenants.get(&SlowKey).map(drop).expect_err("they are the parent's");
                assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
                assert_eq!((tenants.len(), tenants.snapshots().len()), (0, 0));
                assert_eq!((tenants.snapshot().opened, permits.used()), (0, 0));
                let error = permits.set_limit(9).expect_err("they are the parent's");
                assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
                tenants.remove(&SlowKey);
                tenants.close(Duration::from_secs(10));
                assert!(format!("{tenants:?} {permits:?}").contains("Tenants"));
                assert!(poolwarden::observe::status::prometheus().is_empty());
            });
            assert!(is_well);
            COMPARES.store(false, SeqCst);
            holder.join().expect("the parent goes on");
        });
        assert_eq!((script.server().live(), tenants.len(), permits.limit()), (1, 1, 3));
    });
}

/// The registry has no key of the test's own: here threads hold its locks most of the time, since
/// they look for the last of many pools.
#[cfg(feature = "sqlite")]
#[test]
fn the_registry_of_drop_in_connections_refuses_a_child_though_threads_hold_its_locks() {
    use poolwarden::dropin::{registry, sqlite::Connection};
    /// Just less than from which on pools without a connection are dropped.
    const POOLS: usize = 250;
    shortage::in_child(|_| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |number: usize| folder.path().join(format!("{number}.db"));
        for number in 0..POOLS {
            drop(Connection::open(path(number)).expect("it opens"));
        }
        let last = path(POOLS - 1);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        drop(Connection::open(&last).expect("it is idle"));
                    }
                });
            }
            for _ in 0..10 {
                let is_well = succeeds_in_child_at_once(|| {
                    let error = Connection::open(&last).map(drop).expect_err("a child");
                    assert_eq!(error.kind(), ErrorKind::Forked, "{error}");
                    assert_eq!(registry().report().pools.len(), 0);
                    assert_eq!(registry().close(Duration::from_secs(10)).open(), 0);
                });
                assert!(is_well);
            }
            done.store(true, SeqCst);
        });
        assert_eq!(registry().report().pools.len(), POOLS);
    });
}
