//! Callers wait for a saturated server with few attempts, and the timeout names it.

use crate::variant::{My, Ours, Pg, Subject, Variant};
use poolwarden::{ErrorKind, FaultClass, Pool, SizePolicy};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::wait::eventually;
use support::{mariadb, postgres as pg};

/// Two pools of 10 and 64 threads on a server of 8 connections: all work is done,
/// no caller gets an error, and few attempts fail.
fn two_pools<F: Variant>(variant: &F) {
    let pool = || {
        let ours: Ours<F> =
            Ours(Pool::builder().max_size(10).build(variant.driver()).expect("one fits"));
        ours
    };
    let pools = [pool(), pool()];
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (ours, done) = (&pools[thread % 2], &done);
            scope.spawn(move || {
                for _ in 0..50 {
                    ours.work().expect("the work is done");
                    done.fetch_add(1, SeqCst);
                }
            });
        }
    });
    assert_eq!(done.into_inner(), 64 * 50);
    for ours in &pools {
        let books = ours.0.snapshot();
        assert!(books.connect_failures <= 20, "too many attempts: {books}");
        // The housekeeper may have taken one out to check it.
        let rests = || {
            let books = ours.0.snapshot();
            books.levels.open == books.levels.idle
        };
        assert!(eventually(Duration::from_secs(10), rests), "{}", ours.0.snapshot());
    }
}

#[test]
fn two_pools_share_a_postgres_that_is_too_small_for_both() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.set("max_connections", "8").set("superuser_reserved_connections", "0");
    });
    server.sql("postgres", "CREATE ROLE app LOGIN");
    two_pools(&Pg::new(server.url("app", "postgres")));
}

#[test]
fn two_pools_share_a_mariadb_that_is_too_small_for_both() {
    if !mariadb::available() {
        return;
    }
    let server = mariadb::Server::with(|conf| {
        conf.set("max-connections", "10");
    });
    let database = server.fresh_database();
    server.set_global("max_connections", 10);
    two_pools(&My::new(database.url()));
}

#[test]
fn at_the_deadline_the_error_names_saturation_with_its_numbers() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::start();
    server.sql("postgres", "CREATE ROLE few LOGIN CONNECTION LIMIT 3");
    let variant = Pg::new(server.url("few", "postgres"));
    let taken: Vec<_> = (0..2).map(|_| variant.open().expect("a session")).collect();
    // The pool knows the limit of the role, but not that two are taken.
    let pool = Pool::builder().max_size(3).build(variant.driver()).expect("one is left");
    let held = pool.get().expect("the only one");
    let began = Instant::now();
    let error = pool.get_timeout(Duration::from_millis(700)).map(drop).expect_err("full");
    assert!(began.elapsed() >= Duration::from_millis(700));
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    let cause = error.connect_error().expect("the server's message");
    assert_eq!((cause.class(), cause.code()), (FaultClass::Saturated, Some("53300")));
    let text = error.to_string();
    for part in ["too many connections: ", "too many connections for role", "this pool has 1"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    drop((held, taken));
    let three =
        || (0..3).map(|_| pool.get_timeout(Duration::from_secs(5))).collect::<Result<Vec<_>, _>>();
    assert!(three().is_ok(), "the cap has grown back: {}", pool.snapshot());
}

#[test]
fn a_max_size_above_the_server_limits_is_lowered_with_a_calculation_or_refused() {
    if !pg::available() {
        return;
    }
    let server = pg::Server::with(|conf| {
        conf.set("max_connections", "20");
    });
    server.sql("postgres", "CREATE ROLE app LOGIN");
    let variant = Pg::new(server.url("app", "postgres"));
    let name = crate::variant::fresh_name("lowered");
    let log = support::logs::mark();
    let pool = Pool::builder().max_size(50).name(&name).build(variant.driver()).expect("a pool");
    // 20 - 3 reserved for superusers - 3 headroom.
    assert_eq!(pool.snapshot().levels.max_size, 14);
    let warned = log.records_of("pool", &name);
    let text = &warned.iter().find(|one| one.level == log::Level::Warn).expect("a warning").message;
    for part in ["max_size 50", "max_connections 20", "reserved 3", "head room 3", "= 14"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    let strict = Pool::builder().max_size(50).strict_limits(true).build(variant.driver());
    let error = strict.map(drop).expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("max_connections 20"), "{error}");
    let half =
        Pool::builder().size_policy(SizePolicy::Share { of_server: 0.5 }).build(variant.driver());
    assert_eq!(half.expect("a pool").snapshot().levels.max_size, 7);
    let third = Pool::builder()
        .size_policy(SizePolicy::PerInstance { instances: 3 })
        .build(variant.driver());
    assert_eq!(third.expect("a pool").snapshot().levels.max_size, 4);
}
