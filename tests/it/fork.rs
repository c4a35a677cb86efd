//! A process that forks with a pool: the child leaves the pool's connections alone.

use crate::common::books::books;
use crate::common::fake::{Fake, Transport};
use crate::common::{idle, pool};
use poolwarden::{ErrorKind, Pool, PooledConnection};
use r2d2::ManageConnection;
use std::time::Duration;
use support::forked::succeeds_in_child;
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
            std::thread::sleep(Duration::from_millis(100));
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
