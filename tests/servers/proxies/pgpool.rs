//! pgpool-II, with and without a failover.

use super::{SOON, assert_all_places};
use crate::dead_connections::IDLE;
use crate::patience::patient_web;
use crate::variant::{Ours, Pg, Variant, fill, run_threads};
use poolwarden::{ErrorKind, FaultClass, Pool, Postgres, RetryPolicy, RetrySafety};
use std::error::Error as _;
use std::thread;
use std::time::Duration;
use support::pgpool::{Conf, Pgpool};
use support::postgres as pg;
use support::wait::eventually;

/// pgpool-II restarts its processes after each of these errors, which takes its time on a
/// loaded computer.
const PATIENCE: Duration = Duration::from_secs(60);

/// By default pgpool-II gives its only server up after the first error, until an administrator
/// attaches it.
fn without_failover(conf: &mut Conf) {
    conf.set("failover_on_backend_error", "off");
}

fn variant(pgpool: &Pgpool, server: &pg::Server) -> Pg {
    Pg::new(server.url_via(pgpool.port(), "postgres", "postgres"))
}

fn pool(pgpool: &Pgpool, server: &pg::Server, size: u32) -> Pool<Postgres> {
    let builder = Pool::builder().max_size(size).checkout_timeout(SOON);
    builder.build(variant(pgpool, server).driver()).expect("the server accepts")
}

#[test]
fn a_server_that_is_away_behind_pgpool_is_reported_as_away() {
    support::require!(pgpool);
    for failover in ["on", "off"] {
        let server = pg::Server::start();
        let pgpool = Pgpool::with(&server, |conf| {
            conf.set("failover_on_backend_error", failover);
        });
        let pool = pool(&pgpool, &server, 2);
        server.stop_fast();
        // With a failover the first error differs from those after it.
        let mut codes = Vec::new();
        let is_given_up = || {
            let error = pool.get().map(drop).expect_err("the server is down");
            let cause = error.connect_error().expect("a failed connect");
            // While it restarts its processes, a client is closed without a message, or waits.
            if matches!(cause.class(), FaultClass::Hangup | FaultClass::TimedOut) {
                return false;
            }
            assert_eq!(error.kind(), ErrorKind::Connect, "{error}");
            assert_eq!(cause.class(), FaultClass::NoServer, "{error}");
            codes.push(cause.code().map(str::to_owned));
            let fault = error.fault();
            assert_eq!(fault.class(), FaultClass::NoServer, "{error}");
            assert_eq!(fault.retry_safety(), RetrySafety::NothingSent, "{error}");
            failover == "off" || error.to_string().contains("all backend nodes are down")
        };
        assert!(eventually(PATIENCE, is_given_up), "{}", pgpool.log_text());
        assert!(!codes.is_empty() && codes.iter().all(Option::is_some), "{codes:?}");
    }
}

#[test]
fn work_outlasts_a_restart_of_the_server_behind_pgpool_and_is_done_once() {
    support::require!(pgpool);
    let server = pg::Server::start();
    let pgpool = Pgpool::with(&server, without_failover);
    let pool = pool(&pgpool, &server, 2);
    server.sql("postgres", "create table t (n int)");
    server.stop_fast();
    let insert = |policy| {
        pool.transaction_with(policy, |tx, _| Ok(tx.execute("insert into t values (1)", &[])?))
    };
    let error = insert(patient_web()).expect_err("the server is down");
    let class = error.fault().class();
    assert!(class.is_unreachable() || class == FaultClass::TimedOut, "{class:?}, {error}");
    let short = insert(RetryPolicy::script(Duration::from_secs(3)));
    let error = short.expect_err("the server is still down");
    assert_eq!(error.kind(), ErrorKind::RetriesExhausted, "{error}");
    assert!(error.attempts() > 1 && error.source().is_some(), "{error}");
    thread::scope(|scope| {
        let script = scope.spawn(|| insert(RetryPolicy::script(Duration::from_secs(60))));
        thread::sleep(Duration::from_millis(500));
        server.start_again();
        assert_eq!(script.join().expect("no panic").expect("it waits and goes on"), 1);
    });
    assert_eq!(server.sql("postgres", "select n from t"), [["1"]]);
    assert_all_places(&pool);
}

#[test]
fn no_caller_gets_a_connection_whose_server_was_restarted_behind_pgpool() {
    support::require!(pgpool);
    let server = pg::Server::start();
    let pgpool = Pgpool::with(&server, without_failover);
    let ours: Ours<Pg> = Ours(pool(&pgpool, &server, IDLE));
    fill(&ours.0);
    server.restart_fast();
    // pgpool-II tells its clients of the end a moment later.
    let all_ended = || {
        ours.0.snapshot().closed() >= u64::from(IDLE) || {
            drop(ours.0.get());
            false
        }
    };
    assert!(eventually(PATIENCE, all_ended), "{}", ours.0.snapshot());
    assert_eq!(run_threads(&ours, 4, 20), Vec::<String>::new());
    assert_all_places(&ours.0);
}

/// In its mode `raw` version 4.3 leaves a transaction open after the first prepared write of
/// a session.
#[test]
fn each_write_that_is_reported_as_done_behind_pgpool_stands() {
    support::require!(pgpool);
    let server = pg::Server::start();
    server.sql("postgres", "create table t (n int)");
    let pgpool = Pgpool::start(&server);
    let pool = pool(&pgpool, &server, 4);
    let insert = |n: i32| pool.execute("insert into t values ($1)", &[&n]);
    let mut done = Vec::new();
    for n in 0..40 {
        // Each connection's first write may be one that pgpool-II leaves open.
        if n % 10 == 0 {
            pool.retire_all();
        }
        match insert(n) {
            Ok(count) => done.push((n, count)),
            Err(error) => {
                let fault = error.fault();
                assert_eq!(fault.retry_safety(), RetrySafety::RolledBack, "{error}");
                assert!(error.to_string().contains("inside a transaction"), "{error}");
            }
        }
    }
    let rows = server.sql("postgres", "select n from t order by n");
    let stands: Vec<i32> = rows.iter().map(|row| row[0].parse().expect("a number")).collect();
    assert_eq!(done, stands.iter().map(|n| (*n, 1)).collect::<Vec<_>>());
    assert!(done.len() >= 20, "{done:?}");
    println!("{} of 40 writes are done", done.len());
    // A transaction of the pool's is committed, and a repeated write stands once.
    pool.retire_all();
    pool.transaction(|tx| Ok(tx.execute("insert into t values (100)", &[])?)).expect("a commit");
    pool.retire_all();
    let policy = patient_web();
    pool.transaction_with(policy, |tx, _| Ok(tx.execute("insert into t values (101)", &[])?))
        .expect("a commit");
    assert_eq!(server.sql("postgres", "select n from t where n >= 100"), [["100"], ["101"]]);
}
