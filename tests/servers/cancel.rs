//! A statement is cancelled from another thread, and nobody else's ever is.

use crate::flavour::{Flavour, My, Pg, shared_my, shared_pg};
use crate::sleeper::{Ended, Sleeper};
use poolwarden::{CancelHandle, CloseReason, ErrorKind, Pool, PooledConnection};
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::wait::{eventually, within};
use support::{mariadb, postgres as pg};

const LONG: Duration = Duration::from_secs(20);
/// When a statement that was cancelled must have ended at the latest.
const SOON: Duration = Duration::from_secs(10);

fn pool<F: Flavour>(flavour: &F, size: u32) -> Pool<F::Driver> {
    // Not for what is tested here: this computer may be busy with other things.
    let builder = Pool::builder().max_size(size).cancel_timeout(SOON).ping_timeout(SOON);
    builder.build(flavour.driver()).expect("the server is there")
}

/// Cancels a sleeping statement; returns how the handle and the statement ended.
fn cancel_a_sleep<F: Sleeper>(
    guard: &mut PooledConnection<F::Driver>,
) -> (poolwarden::Result<bool>, Result<(), Ended>) {
    let handle = PooledConnection::cancel_handle(guard);
    thread::scope(|scope| {
        let canceller = scope.spawn(move || {
            thread::sleep(Duration::from_millis(200));
            handle.cancel()
        });
        let (slept, _) = within(SOON, || F::sleep(guard, LONG));
        (canceller.join().expect("no panic"), slept)
    })
}

/// The connection works on for its borrower and for the next one.
fn cancels<F: Sleeper>(flavour: &F, is_kept: bool) {
    let pool = pool(flavour, 2);
    let mut guard = pool.get().expect("a connection");
    let id = PooledConnection::id(&guard);
    for _ in 0..3 {
        let (asked, slept) = cancel_a_sleep::<F>(&mut guard);
        assert!(asked.expect("the request was sent"));
        assert_eq!(slept, Err(Ended::Cancelled));
        F::ask(&mut guard).expect("it works on");
    }
    drop(guard);
    let mut guard = pool.get().expect("a connection");
    assert_eq!(PooledConnection::id(&guard) == id, is_kept, "{}", pool.snapshot());
    F::ask(&mut guard).expect("it is clean");
    drop(guard);
    let empty = || pool.close(Duration::from_millis(100)).closing == 0;
    assert!(eventually(SOON, empty), "{}", pool.snapshot());
}

#[test]
fn a_postgres_statement_is_cancelled_from_another_thread() {
    support::require!(postgres);
    cancels(&shared_pg().expect("it is there").0, true);
    let database = pg::shared().fresh_database();
    // There, nobody can tell when the request was carried out.
    cancels(&Pg::new(database.unix_url()), false);
}

#[test]
fn a_mariadb_statement_is_cancelled_from_another_thread() {
    support::require!(mariadb);
    let database = mariadb::shared().fresh_database();
    cancels(&My::new(database.url()), true);
    cancels(&My::new(database.unix_url()), true);
}

#[cfg(feature = "native-tls")]
#[test]
fn a_statement_of_an_encrypted_connection_is_cancelled_from_another_thread() {
    use crate::tls;
    if tls::available() {
        cancels(&tls::tls_pg_as("must_tls").with_tls(tls::full()), true);
        cancels(&tls::tls_my_as("must_tls").with_tls(tls::full()), true);
    }
}

/// A handle whose guard is back does nothing, whoever has the connection now.
fn is_void<F: Sleeper>(flavour: &F) {
    let pool = pool(flavour, 1);
    let handle = PooledConnection::cancel_handle(&pool.get().expect("a connection"));
    assert!(!handle.cancel().expect("nothing to do"));
    let mut next = pool.get().expect("the same connection");
    assert!(!handle.clone().cancel().expect("nothing to do"));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            assert!(!handle.cancel().expect("nothing to do"));
        });
        F::sleep(&mut next, Duration::from_millis(300)).expect("nobody stops it");
    });
    let of_next = PooledConnection::cancel_handle(&next);
    PooledConnection::discard(next);
    assert!(!of_next.cancel().expect("nothing to do"));
}

#[test]
fn a_handle_is_void_once_its_guard_is_back() {
    support::require!(postgres);
    support::require!(mariadb);
    is_void(&shared_pg().expect("it is there").0);
    is_void(&shared_my().expect("it is there").0);
}

/// Cancels statements at the very moment of their end, over and over: whoever gets
/// the connection next never sees a request that was meant for somebody before.
fn nobody_else_is_hit<F: Sleeper>(flavour: &F, rounds: u32) {
    // Two are in use at a time, and one place is for a control connection.
    let pool = pool(flavour, 3);
    let (mut cancelled, mut ended) = (0, 0);
    for round in 0..rounds {
        let mut guard = pool.get().expect("a connection");
        let handle = PooledConnection::cancel_handle(&guard);
        let time = Duration::from_millis(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                // From before the statement to after its end.
                let late = u64::from(round * 60 % 4_000);
                thread::sleep(Duration::from_micros(late));
                handle.cancel().expect("the request was sent, or there was nothing to do");
            });
            match F::sleep(&mut guard, time) {
                Ok(()) => ended += 1,
                Err(Ended::Cancelled) => cancelled += 1,
                Err(other) => panic!("{other:?}"),
            }
            drop(guard);
            // While the request may still be under way.
            let mut next = pool.get().expect("a connection");
            for _ in 0..3 {
                F::ask(&mut next).expect("nobody has cancelled this one");
            }
        });
    }
    let books = pool.snapshot();
    println!("cancelled {cancelled}, ended by themselves {ended}: {books}");
    assert!(cancelled > 0 && ended > 0, "cancelled {cancelled}, ended {ended}");
    assert_eq!(books.closed_by(CloseReason::Dirty), 0, "{books}");
}

#[test]
fn a_postgres_cancel_at_the_end_of_a_statement_hits_no_other_borrower() {
    support::require!(postgres);
    nobody_else_is_hit(&shared_pg().expect("it is there").0, 300);
}

#[test]
fn a_mariadb_cancel_at_the_end_of_a_statement_hits_no_other_borrower() {
    support::require!(mariadb);
    nobody_else_is_hit(&shared_my().expect("it is there").0, 300);
}

#[test]
fn a_kill_takes_a_place_of_the_cap_and_is_refused_when_there_is_none() {
    support::require!(mariadb);
    let (flavour, database) = shared_my().expect("it is there");
    let pool = hasty(&flavour);
    let (mut one, two) = (pool.get().expect("one"), pool.get().expect("two"));
    let handle: CancelHandle = PooledConnection::cancel_handle(&one);
    let (refused, took) = within(SOON, || handle.cancel().expect_err("no place is left"));
    assert_eq!(refused.kind(), ErrorKind::Cancel, "{refused} after {took:?}");
    let why = std::error::Error::source(&refused).expect("a source").to_string();
    assert!(why.contains("no connection left"), "{why}");
    drop(two);
    PooledConnection::discard(pool.get().expect("the other"));
    let is_alone = || database.processlist().len() == 1;
    assert!(eventually(SOON, is_alone), "{:?}", database.processlist());
    assert_eq!(cancel_a_sleep::<My>(&mut one).1, Err(Ended::Cancelled));
}

#[test]
fn a_kill_is_not_sent_where_a_proxy_hides_whose_connection_it_is() {
    support::require!(mariadb);
    let server = mariadb::shared();
    let database = server.fresh_database();
    let proxy = Proxy::to_port(server.port());
    let pool = pool(&My::new(database.url_via(proxy.port())), 3);
    let guard = pool.get().expect("a connection");
    let refused = PooledConnection::cancel_handle(&guard).cancel().expect_err("not sent");
    let why = std::error::Error::source(&refused).expect("a source").to_string();
    assert!(why.contains("proxy"), "{why}");
}

fn hasty<F: Flavour>(flavour: &F) -> Pool<F::Driver> {
    let builder = Pool::builder().max_size(2).cancel_timeout(Duration::from_millis(500));
    builder.build(flavour.driver()).expect("the server is there")
}

/// A server that does not answer holds no canceller, and the connection is not given
/// to anybody else.
fn is_bounded<F: Sleeper>(pool: &Pool<F::Driver>, freeze: impl Fn()) {
    let guard = pool.get().expect("a connection");
    let handle = PooledConnection::cancel_handle(&guard);
    freeze();
    let began = Instant::now();
    let refused = handle.cancel().expect_err("nobody has answered");
    assert_eq!(refused.kind(), ErrorKind::Cancel, "{refused}");
    assert!(began.elapsed() < Duration::from_secs(3), "after {:?}", began.elapsed());
    drop(guard);
    let closed = || pool.snapshot().closed_by(CloseReason::Dirty) == 1;
    assert!(eventually(SOON, closed), "{}", pool.snapshot());
}

#[test]
fn a_frozen_server_holds_no_canceller() {
    support::require!(postgres);
    support::require!(mariadb);
    let server = pg::Server::start();
    let flavour = Pg::new(server.url("postgres", "postgres"));
    is_bounded::<Pg>(&hasty(&flavour), || server.freeze());
    let server = mariadb::Server::start();
    let flavour = My::new(server.fresh_database().url());
    is_bounded::<My>(&hasty(&flavour), || server.freeze());
}
