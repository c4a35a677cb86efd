//! Pools by key, over scripted drivers.

use crate::common::fake::{Fake, Scripted, Transport};
use crate::common::{LONG_TIMEOUT, until};
use poolwarden::{ErrorKind, Pool, SharedPermits, Tenants};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Creates tenants on one server under this cap; returns how often a driver was made.
fn tenants(limit: u32) -> (Tenants<String, Fake>, Arc<AtomicUsize>, Fake) {
    let (driver, _) = Fake::new(Transport::Tcp);
    let (made, server) = (Arc::new(AtomicUsize::new(0)), driver.beside());
    let count = Arc::clone(&made);
    let permits = SharedPermits::new(limit).expect("one or more");
    let tenants = Tenants::new(&permits, move |key: &String| {
        if key == "unknown" {
            return Err("no such tenant".into());
        }
        count.fetch_add(1, Relaxed);
        let builder = Pool::builder().name(key).checkout_timeout(LONG_TIMEOUT);
        Ok((builder.close_grace(LONG_TIMEOUT), driver.beside()))
    });
    (tenants, made, server)
}

#[test]
fn each_key_has_one_pool_made_at_its_first_use() {
    let (tenants, made, _) = tenants(4);
    assert!(tenants.is_empty());
    let first = tenants.get("a").expect("it opens").number;
    assert_eq!(tenants.get("a").expect("it is idle").number, first);
    assert_ne!(tenants.get("b").expect("it opens").number, first);
    assert_eq!((made.load(Relaxed), tenants.len()), (2, 2));
    let error = tenants.get("unknown").map(drop).expect_err("it is none");
    assert!(error.to_string().contains("no such tenant"), "{error}");
    let mut names: Vec<_> =
        tenants.snapshots().into_iter().map(|(key, now)| (key, now.name, now.checkouts)).collect();
    names.sort();
    let expected = [("a", 2), ("b", 1)];
    assert_eq!(names, expected.map(|(key, uses)| (key.to_owned(), key.to_owned(), uses)));
    until!(tenants.snapshot().levels.open == 2 && tenants.snapshot().levels.idle == 2);
    assert_eq!(tenants.snapshot().levels.max_size, 4);
}

#[test]
fn many_tenants_under_load_keep_to_the_cap() {
    let (tenants, _, server) = tenants(6);
    thread::scope(|scope| {
        for thread in 0..8 {
            let tenants = &tenants;
            scope.spawn(move || {
                for turn in 0..60 {
                    let key = format!("tenant {}", (turn * 7 + thread * 11) % 40);
                    drop(tenants.get(&key).expect("its turn comes"));
                }
            });
        }
    });

    let most = server.script().server().most();
    assert!(most <= 6, "{most} at a time");
    assert_eq!(tenants.len(), 40);
    tenants.close(LONG_TIMEOUT);
    let error = tenants.get("tenant 1").map(drop).expect_err("they are closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
    until!((tenants.permits().used(), tenants.permits().pools()) == (0, 0));
}

#[test]
fn a_tenant_that_is_not_used_vanishes_and_comes_back() {
    let (tenants, made, _) = tenants(4);
    let tenants = tenants.with_idle_timeout(Duration::from_millis(50));
    let held = tenants.get("busy").expect("it opens");
    drop(tenants.get("idle").expect("it opens"));
    until!(tenants.len() == 1 && tenants.permits().pools() == 1);
    assert_eq!(tenants.permits().used(), 1, "a pool with a connection in use stays");
    drop(tenants.get("idle").expect("it opens again"));
    assert_eq!(made.load(Relaxed), 3);
    drop(held);
    until!(tenants.is_empty() && tenants.permits().pools() == 0);
    until!(tenants.permits().used() == 0);
}

#[test]
fn a_removed_tenant_gets_a_new_pool() {
    let (tenants, made, _) = tenants(2);
    drop(tenants.get("a").expect("it opens"));
    tenants.remove("a");
    until!(tenants.permits().used() == 0);
    drop(tenants.get("a").expect("it opens"));
    assert_eq!(made.load(Relaxed), 2);
}
