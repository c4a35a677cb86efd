//! Check-out and check-in: the limits, which connections are handed out, and which
//! are kept.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, ServerClose, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, idle, pool, start_checkout, until};
use poolwarden::{CloseReason, ErrorKind, FaultClass, Pool, PooledConnection, Validation};
use std::thread;
use std::time::Duration;
use support::wait::{eventually, within};

const TRANSPORTS: [Transport; 4] =
    [Transport::InProcess, Transport::Hidden, Transport::Unix, Transport::Tcp];

#[test]
fn the_server_never_sees_more_than_max_size_connections() {
    for transport in TRANSPORTS {
        let (pool, _) = pool(transport, |options| options.max_size(5));
        thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| check_out_and_discard(&pool, 20));
            }
        });
        books(&pool);
    }
}

fn check_out_and_discard(pool: &Pool<Fake>, times: usize) {
    for _ in 0..times {
        let conn = pool.get().expect("a connection becomes available");
        if fastrand::u8(..) < 64 {
            PooledConnection::discard(conn);
        }
    }
}

#[test]
fn the_idle_connection_that_was_used_last_is_reused_first() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3));
    let mut held: Vec<_> = (0..3).map(|_| pool.get().expect("it opens")).collect();
    let second = held.remove(1);
    let (last, _) = (second.number, drop(held));
    drop(second);
    assert_eq!(pool.get().expect("one is idle").number, last);
    assert_eq!(script.calls(At::Connect), 3);
    books(&pool);
}

#[test]
fn try_get_never_waits_and_never_opens() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(2));
    let try_get = || within(Duration::from_secs(5), || pool.try_get()).0;
    assert!(try_get().is_none());
    assert_eq!((script.calls(At::Connect), pool.snapshot().levels.pending), (0, 0));
    let held = pool.get().expect("it opens");
    assert!(try_get().is_none());
    drop(held);
    // For some microseconds the housekeeper may have taken it out to check it.
    until!(pool, try_get().is_some_and(|conn| conn.number == 1));
    assert_eq!(script.calls(At::Connect), 1);
    books(&pool);
}

#[test]
fn try_get_leaves_a_connection_that_needs_a_ping_in_the_pool() {
    let (pool, script) = pool(Transport::Hidden, |options| options);
    idle(&pool, 1);
    assert!((0..10).all(|_| pool.try_get().is_none()));
    assert_eq!((pool.snapshot().levels.idle, script.calls(At::Ping)), (1, 0));
    books(&pool);
}

#[test]
fn try_get_skips_dead_connections() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(3));
    let mut held: Vec<_> = (0..3).map(|_| pool.get().expect("it opens")).collect();
    drop(held.remove(0));
    held.iter().for_each(|conn| script.server().close(conn.number));
    drop(held);
    until!(pool, pool.try_get().is_some_and(|conn| conn.number == 1));
    until!(pool, pool.snapshot().closed_by(CloseReason::ServerClosed) == 2);
    books(&pool);
}

#[test]
fn a_ping_that_blocks_in_one_thread_blocks_no_other() {
    let (pool, script) =
        pool(Transport::Hidden, |options| options.max_size(2).ping_timeout(LONG_TIMEOUT));
    idle(&pool, 2);
    let gate = Gate::shut();
    script.once(At::Ping, Act::Hang(gate.clone()));
    let slow = start_checkout(&pool, LONG_TIMEOUT);
    gate.wait_for_arrivals(1);
    let quick = pool.get().expect("the other one answers");
    assert!(!slow.is_finished());
    gate.open();
    drop((slow.connection(), quick));
    books(&pool);
}

/// How a server may close an idle connection, and the reason that the pool reports.
const SERVER_CLOSES: [(ServerClose, CloseReason); 3] = [
    (ServerClose::Fin, CloseReason::ServerClosed),
    (ServerClose::MessageAndFin, CloseReason::ServerShutdown),
    (ServerClose::Rst, CloseReason::ConnectionReset),
];

#[test]
fn a_connection_that_the_server_ended_is_never_handed_out() {
    for transport in [Transport::Unix, Transport::Tcp] {
        // A unix socket has no RST.
        for (how, reason) in
            SERVER_CLOSES.into_iter().take(if transport == Transport::Tcp { 3 } else { 2 })
        {
            let (pool, script) = pool(transport, |options| options);
            script.server().terminate(idle(&pool, 1)[0], how);
            let conn = pool.get().expect("a new one is opened");
            assert_eq!(conn.number, 2, "{how:?} on {transport:?}");
            drop(conn);
            until!(pool, pool.snapshot().closed_by(reason) == 1);
            books(&pool);
        }
    }
}

#[test]
fn words_that_arrive_before_the_end_they_announce_are_the_reason() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    script.server().write(idle(&pool, 1)[0], b"E57P01terminated by order");
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    until!(pool, pool.snapshot().closed_by(CloseReason::ServerShutdown) == 1);
    books(&pool);
}

#[test]
fn when_all_idle_connections_are_dead_one_check_out_discards_them_and_succeeds() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(8));
    let dead = idle(&pool, 8);
    dead.iter().for_each(|number| script.server().close(*number));
    let (conn, _) = within(Duration::from_secs(2), || pool.get().expect("a new one is opened"));
    assert_eq!(conn.number, 9);
    // For some microseconds the housekeeper may have one in its hands.
    until!(pool, pool.snapshot().closed_by(CloseReason::ServerClosed) == 8);
    assert_eq!(pool.snapshot().levels.open, 1);
    drop(conn);
    books(&pool);
}

#[test]
fn dead_connections_that_nobody_has_used_yet_cost_a_caller_no_pauses() {
    // A loaded computer only ever adds to it: the best of three counts.
    let took = (0..3).map(|_| {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(8).min_idle(8));
        until!(pool, pool.snapshot().levels.idle == 8);
        (1..=8).for_each(|number| script.server().close(number));
        let (conn, took) = within(LONG_TIMEOUT, || pool.get().expect("a new one is opened"));
        assert!(conn.number > 8);
        drop(conn);
        books(&pool);
        took
    });
    let best = took.min().expect("three tries");
    assert!(best < Duration::from_millis(600), "it took {best:?}");
}

#[test]
fn unasked_bytes_are_kept_discarded_or_asked_about_as_the_driver_says() {
    for (bytes, same, pings) in [(b"k", true, 0), (b"d", false, 0), (b"?", true, 1)] {
        let (pool, script) = pool(Transport::Tcp, |options| options);
        let number = idle(&pool, 1)[0];
        script.server().write(number, bytes);
        let conn = pool.get().expect("the same or a new connection");
        assert_eq!((conn.number == number, script.calls(At::Ping)), (same, pings), "{bytes:?}");
        drop(conn);
        until!(pool, pool.snapshot().closed_by(CloseReason::Unsolicited) == u64::from(!same));
        books(&pool);
    }
}

#[test]
fn harmless_bytes_do_not_hide_a_fin_behind_them() {
    for transport in [Transport::Unix, Transport::Tcp] {
        let (pool, script) = pool(transport, |options| options);
        let number = idle(&pool, 1)[0];
        script.server().write(number, b"k");
        script.server().close(number);
        assert_eq!(pool.get().expect("a new one is opened").number, 2, "{transport:?}");
        until!(pool, pool.snapshot().closed_by(CloseReason::ServerClosed) == 1);
        books(&pool);
    }
}

#[test]
fn a_connection_is_pinged_only_after_ping_after_and_never_when_new() {
    let never = Duration::from_secs(3600);
    let soon = Duration::from_millis(150);
    for (after, pings) in [(never, 0), (soon, 1)] {
        let (pool, script) = pool(Transport::Tcp, |options| options.ping_after(after));
        drop(pool.get().expect("it opens"));
        assert_eq!(script.calls(At::Ping), 0);
        thread::sleep(soon);
        drop(pool.get().expect("it is idle"));
        assert_eq!((script.calls(At::Ping), pool.snapshot().pings), (pings, pings as u64));
        books(&pool);
    }
}

#[test]
fn always_ping_pings_at_every_check_out_but_the_first() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.validation(Validation::AlwaysPing));
        (0..4).for_each(|_| drop(pool.get().expect("it answers")));
        assert_eq!(script.calls(At::Ping), 3, "{transport:?}");
        books(&pool);
    }
}

#[test]
fn a_connection_without_a_visible_socket_is_pinged_and_one_in_process_is_not() {
    for (transport, pings) in
        [(Transport::Hidden, 3), (Transport::InProcess, 0), (Transport::Tcp, 0)]
    {
        let (pool, script) = pool(transport, |options| options);
        (0..4).for_each(|_| drop(pool.get().expect("it answers")));
        assert_eq!(script.calls(At::Ping), pings, "{transport:?}");
        books(&pool);
    }
}

#[test]
fn validation_off_checks_only_the_lifetime() {
    let (pool, script) = pool(Transport::Tcp, |options| options.validation(Validation::Off));
    let number = idle(&pool, 1)[0];
    script.server().close(number);
    assert_eq!(pool.get().expect("the dead connection is handed out").number, number);
    let mut conn = pool.get().expect("the same");
    (conn.broken, conn.number) = (true, number);
    drop(conn);
    assert_eq!((script.calls(At::Ping), pool.snapshot().peeks), (0, 0));
    books(&pool);
}

#[test]
fn a_ping_that_fails_costs_that_connection_and_the_caller_gets_another() {
    let (pool, script) = pool(Transport::Hidden, |options| options);
    idle(&pool, 1);
    script.once(At::Ping, Act::Fault(FaultClass::Other));
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingFailed), 1);
    books(&pool);
}

#[test]
fn a_connection_that_broke_in_use_is_closed_at_check_in_and_a_healthy_one_is_kept() {
    let (pool, _) = pool(Transport::Tcp, |options| options);
    drop(pool.get().expect("it opens"));
    let mut conn = pool.get().expect("an error in a query does not end a connection");
    assert_eq!(conn.number, 1);
    conn.broken = true;
    drop(conn);
    let now = pool.snapshot();
    assert_eq!((now.levels.open, now.closed_by(CloseReason::Broken)), (0, 1));
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    books(&pool);
}

#[test]
fn a_discarded_connection_is_closed_and_a_detached_one_no_longer_counts() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    PooledConnection::discard(pool.get().expect("it opens"));
    let detached = PooledConnection::detach(pool.get().expect("it opens"));
    let now = pool.snapshot();
    assert_eq!(now.closed_by(CloseReason::Discarded), 1);
    assert_eq!(
        (now.closed_by(CloseReason::Detached), now.levels.open, now.levels.closing),
        (1, 0, 0)
    );
    drop(pool.get().expect("its permit is released"));
    assert_eq!(script.server().numbers(), [detached.number, 3]);
    drop(detached);
    // The session beyond max_size was that of the detached connection.
    assert!(eventually(LONG_TIMEOUT, || script.server().live() == 1));
    assert_eq!(script.server().most(), 2);
}

#[test]
fn a_nested_check_out_times_out_and_reports_the_possible_self_deadlock() {
    let (pool, _) = pool(Transport::Tcp, |options| options.max_size(1));
    let held = pool.get().expect("it opens");
    let error = pool.get_timeout(Duration::from_millis(30)).expect_err("there is no second one");
    assert_eq!(error.kind(), ErrorKind::CheckoutTimeout);
    let text = error.to_string();
    assert!(text.contains("this thread already holds 1 connection"), "{text}");
    assert!(text.contains("checkout.rs:") && text.contains("(this thread)"), "{text}");
    assert!(text.contains("the only connection is in use"), "{text}");
    let levels = error.levels().expect("a check-out's error has levels");
    assert_eq!((levels.max_size, levels.in_use, levels.open), (1, 1, 1));
    drop(held);
    books(&pool);
}

#[test]
fn a_check_out_in_an_async_context_succeeds_or_fails_because_it_would_block() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    idle(&pool, 1);
    script.always(At::MayBlock, Act::Fault(FaultClass::Other));
    let (mut before, mut held) = (0, None);
    // The housekeeper may have the idle one for a moment.
    until!(pool, {
        before = script.calls(At::MayBlock);
        held = pool.get().ok();
        held.is_some()
    });
    assert_eq!(script.calls(At::MayBlock), before);
    let error = pool.get().expect_err("this check-out would have to wait");
    assert_eq!(error.kind(), ErrorKind::AsyncContext);
    assert!(error.to_string().contains("spawn_blocking"), "{error}");
    drop(held);
    books(&pool);
}

#[test]
fn a_ping_that_was_refused_in_an_async_context_is_still_due_afterwards() {
    let due = Duration::from_millis(300);
    let (pool, script) = pool(Transport::Tcp, |options| options.ping_after(due));
    idle(&pool, 1);
    thread::sleep(due);
    script.once(At::MayBlock, Act::Fault(FaultClass::Other));
    let error = pool.get().expect_err("a ping would block");
    assert_eq!((error.kind(), script.calls(At::Ping)), (ErrorKind::AsyncContext, 0));
    let conn = pool.get().expect("this thread may block");
    assert_eq!((conn.number, script.calls(At::Ping)), (1, 1));
    drop(conn);
    books(&pool);
}

#[test]
fn each_new_connection_reads_the_drivers_current_password_and_old_ones_stay_open() {
    let (pool, script) = pool(Transport::Tcp, |options| options);
    script.set_password("old");
    let first = pool.get().expect("it opens");
    script.set_password("new");
    let second = pool.get().expect("it opens");
    assert_eq!((&*first.password, &*second.password), ("old", "new"));
    drop((first, second));
    books(&pool);
}
