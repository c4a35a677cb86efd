//! A statement is cancelled from another thread, and no other statement ever is.

use crate::slow_statement::{Ended, SlowStatement};
use crate::variant::{My, Pg, Variant, shared_my, shared_pg};
use poolwarden::{CancelHandle, CloseReason, ErrorKind, Pool, PooledConnection};
use std::thread;
use std::time::{Duration, Instant};
use support::proxy::Proxy;
use support::wait::{eventually, within};
use support::{mariadb, postgres as pg};

const LONG: Duration = Duration::from_secs(20);
/// The time by which a cancelled statement must have ended.
const SOON: Duration = Duration::from_secs(30);

fn pool<F: Variant>(variant: &F, size: u32) -> Pool<F::Driver> {
    // Not tested here: the computer may be busy.
    let builder = Pool::builder().max_size(size).cancel_timeout(SOON).ping_timeout(SOON);
    builder.build(variant.driver()).expect("the server accepts")
}

/// Cancels a sleeping statement; returns how the handle and the statement ended.
fn cancel_a_sleep<F: SlowStatement>(
    variant: &F,
    guard: &mut PooledConnection<F::Driver>,
) -> (poolwarden::Result<bool>, Result<(), Ended>) {
    let handle = PooledConnection::cancel_handle(guard);
    let session = F::session(guard);
    thread::scope(|scope| {
        let canceller = scope.spawn(move || {
            variant.wait_until_asleep(session);
            handle.cancel()
        });
        let (slept, _) = within(SOON, || F::sleep(guard, LONG));
        (canceller.join().expect("no panic"), slept)
    })
}

/// The connection stays usable for its borrower and for the next one.
fn cancels<F: SlowStatement>(variant: &F, is_kept: bool) {
    let pool = pool(variant, 2);
    let mut guard = pool.get().expect("a connection");
    let id = PooledConnection::id(&guard);
    for _ in 0..3 {
        let (asked, slept) = cancel_a_sleep(variant, &mut guard);
        assert!(asked.expect("the request was sent"));
        assert_eq!(slept, Err(Ended::Cancelled));
        F::ask(&mut guard).expect("it stays usable");
    }
    drop(guard);
    let mut guard = pool.get().expect("a connection");
    assert_eq!(PooledConnection::id(&guard) == id, is_kept, "{}", pool.snapshot());
    F::ask(&mut guard).expect("it is clean");
    drop(guard);
    let empty = || pool.close(Duration::from_millis(100)).levels.closing == 0;
    assert!(eventually(SOON, empty), "{}", pool.snapshot());
}

#[test]
fn a_postgres_statement_is_cancelled_from_another_thread() {
    support::require!(postgres);
    cancels(&shared_pg().expect("the server accepts").0, true);
    let database = pg::shared().fresh_database();
    // Over a unix socket the pool cannot tell when the request was carried out.
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

/// After its guard's check-in, a handle affects no later borrower.
fn has_no_effect<F: SlowStatement>(variant: &F) {
    let pool = pool(variant, 1);
    let handle = PooledConnection::cancel_handle(&pool.get().expect("a connection"));
    assert!(!handle.cancel().expect("nothing to do"));
    let mut next = pool.get().expect("the same connection");
    assert!(!handle.clone().cancel().expect("nothing to do"));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            assert!(!handle.cancel().expect("nothing to do"));
        });
        F::sleep(&mut next, Duration::from_millis(300)).expect("no timeout applies");
    });
    let of_next = PooledConnection::cancel_handle(&next);
    PooledConnection::discard(next);
    assert!(!of_next.cancel().expect("nothing to do"));
}

#[test]
fn a_cancel_handle_has_no_effect_after_its_guards_check_in() {
    support::require!(postgres);
    support::require!(mariadb);
    has_no_effect(&shared_pg().expect("the server accepts").0);
    has_no_effect(&shared_my().expect("the server accepts").0);
}

/// Cancels statements at the very moment of their end, many times: the next borrower
/// of the connection never gets a request for an earlier statement.
fn no_other_statement_is_cancelled<F: SlowStatement>(variant: &F, rounds: u32) {
    // Two are in use at a time, and one permit is for a control connection.
    let pool = pool(variant, 3);
    let (mut cancelled, mut ended) = (0, 0);
    let mut time = Duration::from_millis(2);
    for round in 0..rounds {
        if round % 16 == 15 && cancelled * 16 < ended && time < Duration::from_millis(200) {
            // A loaded computer takes longer to send a request.
            time *= 2;
        }
        let mut guard = pool.get().expect("a connection");
        let handle = PooledConnection::cancel_handle(&guard);
        // From before the statement to after its end.
        let late = time * (round * 3 % 200) / 100;
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(late);
                handle.cancel().expect("the request was sent, or there was nothing to do");
            });
            match F::sleep(&mut guard, time) {
                Ok(()) => ended += 1,
                Err(Ended::Cancelled) => cancelled += 1,
                Err(other) => panic!("{other:?}"),
            }
            drop(guard);
            // While the request may still be running.
            let mut next = pool.get().expect("a connection");
            for _ in 0..3 {
                F::ask(&mut next).expect("this one was not cancelled");
            }
        });
    }
    let books = pool.snapshot();
    println!("cancelled {cancelled}, ended by themselves {ended}: {books}");
    assert!(cancelled > 0 && ended > 0, "cancelled {cancelled}, ended {ended}");
    assert_eq!(books.closed_by(CloseReason::Dirty), 0, "{books}");
}

#[test]
fn a_postgres_cancel_at_the_end_of_a_statement_cancels_no_other_borrowers_statement() {
    support::require!(postgres);
    no_other_statement_is_cancelled(&shared_pg().expect("the server accepts").0, 300);
}

#[test]
fn a_mariadb_cancel_at_the_end_of_a_statement_cancels_no_other_borrowers_statement() {
    support::require!(mariadb);
    no_other_statement_is_cancelled(&shared_my().expect("the server accepts").0, 300);
}

#[test]
fn a_kill_needs_a_permit_and_is_refused_without_one() {
    support::require!(mariadb);
    let (variant, database) = shared_my().expect("the server accepts");
    let pool = hasty(&variant);
    let (mut one, two) = (pool.get().expect("one"), pool.get().expect("two"));
    let handle: CancelHandle = PooledConnection::cancel_handle(&one);
    let (refused, took) = within(SOON, || handle.cancel().expect_err("no permit is left"));
    assert_eq!(refused.kind(), ErrorKind::Cancel, "{refused} after {took:?}");
    let why = std::error::Error::source(&refused).expect("a source").to_string();
    assert!(why.contains("no permit was free"), "{why}");
    drop(two);
    PooledConnection::discard(pool.get().expect("the other"));
    let is_alone = || database.processlist().len() == 1;
    assert!(eventually(SOON, is_alone), "{:?}", database.processlist());
    assert_eq!(cancel_a_sleep(&variant, &mut one).1, Err(Ended::Cancelled));
}

#[test]
fn no_kill_is_sent_behind_a_proxy_that_hides_the_connection_id() {
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

fn hasty<F: Variant>(variant: &F) -> Pool<F::Driver> {
    let builder = Pool::builder().max_size(2).cancel_timeout(Duration::from_millis(1_500));
    builder.build(variant.driver()).expect("the server accepts")
}

/// A cancel request without a reply ends at its deadline, and the connection is not handed
/// out again.
fn is_bounded<F: SlowStatement>(pool: &Pool<F::Driver>, freeze: impl Fn()) {
    let guard = pool.get().expect("a connection");
    let handle = PooledConnection::cancel_handle(&guard);
    freeze();
    let began = Instant::now();
    let refused = handle.cancel().expect_err("nobody has answered");
    assert_eq!(refused.kind(), ErrorKind::Cancel, "{refused}");
    assert!(began.elapsed() < Duration::from_secs(8), "after {:?}", began.elapsed());
    drop(guard);
    let closed = || pool.snapshot().closed_by(CloseReason::Dirty) == 1;
    assert!(eventually(SOON, closed), "{}", pool.snapshot());
}

#[test]
fn a_cancel_request_to_a_frozen_server_ends_at_its_deadline() {
    support::require!(postgres);
    support::require!(mariadb);
    let server = pg::Server::start();
    let variant = Pg::new(server.url("postgres", "postgres"));
    is_bounded::<Pg>(&hasty(&variant), || server.freeze());
    let server = mariadb::Server::start();
    let variant = My::new(server.fresh_database().url());
    is_bounded::<My>(&hasty(&variant), || server.freeze());
}
