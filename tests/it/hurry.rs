//! Callers in a hurry: a deadline that is shorter than a ping closes no connection.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{idle, pool, until};
use poolwarden::{CloseReason, ErrorKind, RetryPolicy};
use std::thread;
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_ping_that_outlasts_its_callers_goes_on_and_closes_nothing() {
    for transport in [Transport::Tcp, Transport::Unix, Transport::Hidden] {
        let (pool, script) = pool(transport, |options| {
            options.max_size(8).ping_after(20 * MS).ping_timeout(10_000 * MS)
        });
        idle(&pool, 8);
        thread::sleep(30 * MS);
        script.always(At::Ping, Act::Sleep(60 * MS));
        for _ in 0..11 {
            if let Err(error) = pool.get_timeout(2 * MS) {
                assert_eq!(error.kind(), ErrorKind::CheckoutTimeout, "{error}");
            }
        }
        until!(&pool, pool.snapshot().levels.idle == 8);
        let now = pool.snapshot();
        assert_eq!((now.closed(), now.opened), (0, 8), "{transport:?}: {now}");
        books(&pool);
    }
}

#[test]
fn a_check_out_without_time_has_the_connection_verified_for_the_next_one() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1).ping_after(3000 * MS));
    idle(&pool, 1);
    thread::sleep(3010 * MS);
    assert!(pool.try_get().is_none(), "it must be pinged");
    let error = pool.get_timeout(Duration::ZERO).expect_err("there is no time to ping");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    until!(&pool, pool.try_get().is_some());
    assert_eq!((pool.snapshot().pings, pool.snapshot().closed()), (1, 0));
    books(&pool);
}

#[test]
fn a_retry_policy_without_time_closes_no_connection() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).ping_after(10 * MS).ping_timeout(10_000 * MS)
    });
    idle(&pool, 1);
    thread::sleep(20 * MS);
    script.once(At::Ping, Act::Sleep(60 * MS));
    let policy = RetryPolicy::none().within(5 * MS);
    pool.run(policy, |_, _| Ok(())).expect_err("the ping takes longer");
    until!(&pool, pool.snapshot().levels.idle == 1);
    assert_eq!(pool.snapshot().closed(), 0);
    books(&pool);
}

#[test]
fn a_ping_whose_caller_has_left_is_given_up_after_its_own_timeout() {
    let gate = Gate::shut();
    let (pool, script) = pool(Transport::Hidden, |options| {
        options.max_size(1).ping_after(10 * MS).ping_timeout(3000 * MS)
    });
    idle(&pool, 1);
    thread::sleep(20 * MS);
    script.once(At::Ping, Act::Hang(gate.clone()));
    pool.get_timeout(20 * MS).expect_err("the ping hangs");
    assert_eq!(pool.snapshot().levels.in_use, 1, "the ping goes on");
    until!(&pool, pool.snapshot().levels.in_use == 0);
    gate.open();
    until!(&pool, pool.snapshot().closed_by(CloseReason::PingTimeout) == 1);
    books(&pool);
}

#[test]
fn a_ping_that_fails_after_its_caller_has_left_closes_the_connection() {
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).ping_after(10 * MS).ping_timeout(200 * MS)
    });
    idle(&pool, 1);
    thread::sleep(20 * MS);
    script.server().freeze();
    pool.get_timeout(20 * MS).expect_err("the server is frozen");
    until!(&pool, pool.snapshot().closed_by(CloseReason::PingTimeout) == 1);
    books(&pool);
}
