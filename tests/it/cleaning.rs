//! The session state that a borrower leaves never reaches the next one.

use crate::common::books::books;
use crate::common::fake::{Act, At, Transport};
use crate::common::gate::Gate;
use crate::common::{LONG_TIMEOUT, pool, start_checkout, until, until_waiting};
use poolwarden::driver::SessionState;
use poolwarden::query::Stopped;
use poolwarden::{CloseReason, FaultClass, PooledConnection};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};
use support::logs;

const TRANSPORTS: [Transport; 4] =
    [Transport::InProcess, Transport::Hidden, Transport::Unix, Transport::Tcp];

#[test]
fn leftover_session_state_is_reset_before_the_next_check_out() {
    for transport in TRANSPORTS {
        let (pool, script) = pool(transport, |options| options.max_size(1));
        pool.get().expect("it opens").left = SessionState::Dirty;
        let conn = pool.get().expect("it is clean");
        assert_eq!((conn.number, conn.left), (1, SessionState::Clean), "{transport:?}");
        drop(conn);
        assert_eq!(script.calls(At::Reset), 1, "a clean connection is not reset");
        books(&pool);
    }
}

#[test]
fn a_waiter_gets_the_connection_only_after_its_reset() {
    let (pool, script) = pool(Transport::Hidden, |options| options.max_size(1));
    let mut held = pool.get().expect("it opens");
    let waiter = start_checkout(&pool, LONG_TIMEOUT);
    until_waiting(&pool, 1);
    let gate = Gate::shut();
    script.once(At::Reset, Act::Hang(gate.clone()));
    held.left = SessionState::Dirty;
    drop(held);
    gate.wait_for_arrivals(1);
    assert_eq!((pool.snapshot().levels.in_use, pool.snapshot().levels.idle), (1, 0));
    assert!(!waiter.is_finished());
    gate.open();
    assert_eq!(waiter.connection().left, SessionState::Clean);
    books(&pool);
}

#[test]
fn a_connection_whose_reset_fails_is_closed_and_replaced() {
    for act in [Act::Fault(FaultClass::Other), Act::Panic, Act::Unprintable] {
        for transport in TRANSPORTS {
            // After our shutdown a unix socket does not show the server's FIN.
            let grace = Duration::from_millis(50);
            let (pool, script) = pool(transport, |options| options.max_size(1).close_grace(grace));
            script.once(At::Reset, act.clone());
            pool.get().expect("it opens").left = SessionState::Dirty;
            assert_eq!(pool.get().expect("a new one is opened").number, 2, "{act:?} {transport:?}");
            // Reported after its permit was released, by the thread that reset it.
            until!(pool, pool.snapshot().closed_by(CloseReason::Dirty) == 1);
            books(&pool);
        }
    }
}

#[test]
fn a_connection_with_an_outstanding_reply_is_closed_instead_of_reset() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    pool.get().expect("it opens").left = SessionState::OutOfSync;
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    assert_eq!(script.calls(At::Reset), 0);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1);
    books(&pool);
}

#[test]
fn a_reset_without_a_reply_ends_at_its_deadline_and_closes_the_connection() {
    let bound = Duration::from_millis(80);
    for transport in [Transport::Unix, Transport::Tcp] {
        let (pool, script) =
            pool(transport, |options| options.max_size(2).ping_timeout(bound).close_grace(bound));
        let mut conn = pool.get().expect("it opens");
        script.server().mute();
        conn.left = SessionState::Dirty;
        let began = Instant::now();
        drop(conn);
        let took = began.elapsed();
        assert!(took >= bound && took < bound + Duration::from_secs(2), "{took:?}");
        assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1);
        books(&pool);
    }
}

#[test]
fn after_a_late_reset_the_permit_is_held_until_the_server_has_closed() {
    // Enough for the reply on a loaded computer.
    let bound = Duration::from_millis(500);
    let (pool, script) = pool(Transport::Tcp, |options| {
        options.max_size(1).ping_timeout(bound).close_grace(LONG_TIMEOUT)
    });
    let mut conn = pool.get().expect("it opens");
    conn.left = SessionState::Dirty;
    script.once(At::Reset, Act::FreezeAfterReply);
    let began = Instant::now();
    drop(conn);
    assert!(began.elapsed() >= bound);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1);
    // Longer than one interval in which the pool looks for the server's FIN.
    thread::sleep(Duration::from_millis(50));
    assert_eq!((pool.snapshot().levels.closing, script.server().live()), (1, 1));
    books(&pool);
}

#[test]
fn the_connection_of_a_borrower_that_panicked_is_closed_without_a_reset() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let unwind = || {
        pool.get().expect("it opens").left = SessionState::Dirty;
        let mut conn = pool.get().expect("it is clean");
        conn.left = SessionState::Dirty;
        panic!("scripted: the borrower panics");
    };
    catch_unwind(AssertUnwindSafe(unwind)).map(|()| 0).expect_err("it panics");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 1);
    assert_eq!(script.calls(At::Reset), 1, "only for the first borrower");
    books(&pool);
}

#[test]
fn a_thread_that_may_not_block_leaves_the_reset_to_another_thread() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(1));
    let mut conn = pool.get().expect("it opens");
    script.always(At::MayBlock, Act::Fault(FaultClass::Other));
    conn.left = SessionState::Dirty;
    drop(conn);
    until!(pool, pool.snapshot().levels.idle == 1);
    assert_eq!(script.threads(At::Reset), ["poolwarden-reset"]);
    books(&pool);
}

#[test]
fn a_connection_whose_reset_runs_when_the_pool_closes_is_closed() {
    let (pool, script) = pool(Transport::Hidden, |options| options.max_size(1));
    let gate = Gate::shut();
    script.once(At::Reset, Act::Hang(gate.clone()));
    pool.get().expect("it opens").left = SessionState::Dirty;
    gate.wait_for_arrivals(1);
    assert_eq!(pool.close(Duration::from_millis(10)).levels.in_use, 1);
    gate.open();
    assert_eq!(pool.close(LONG_TIMEOUT).closed_by(CloseReason::PoolClosed), 1);
    crate::common::books::closed_books(&pool);
}

#[test]
fn the_warning_about_a_rolled_back_transaction_names_the_check_outs_source_line() {
    let log = logs::mark();
    let (pool, _) = pool(Transport::Tcp, |options| options.name("a forgotten commit"));
    pool.get().expect("it opens").left = SessionState::Dirty;
    until!(pool, pool.snapshot().levels.idle == 1);
    let lines = log.records_of("pool", "a forgotten commit");
    let warning = lines.iter().find(|line| line.level == log::Level::Warn).expect("a warning");
    assert!(warning.message.contains("cleaning.rs:"), "{}", warning.message);
    books(&pool);
}

#[test]
fn check_in_waits_for_a_running_cancel_request_and_closes_the_connection_if_it_does_not_end() {
    for ends_in_time in [true, false] {
        let timeout = if ends_in_time { LONG_TIMEOUT } else { Duration::from_millis(50) };
        let (pool, script) =
            pool(Transport::Tcp, |options| options.max_size(1).ping_timeout(timeout));
        script.set_cancellable();
        let gate = Gate::shut();
        script.once(At::Cancel, Act::Hang(gate.clone()));
        let conn = pool.get().expect("it opens");
        let handle = PooledConnection::cancel_handle(&conn);
        thread::scope(|scope| {
            scope.spawn(move || handle.cancel());
            gate.wait_for_arrivals(1);
            if ends_in_time {
                scope.spawn(|| gate.open());
            }
            // The request could cancel the next borrower's statement.
            drop(conn);
            gate.open();
        });
        until!(pool, pool.snapshot().levels.in_use == 0);
        let end = pool.snapshot();
        let discarded = u64::from(!ends_in_time);
        assert_eq!(end.closed_by(CloseReason::Dirty), discarded, "{end}");
        assert_eq!((end.closed(), script.calls(At::Ping)), (discarded, usize::from(ends_in_time)));
        books(&pool);
    }
}

#[test]
fn a_new_timeout_waits_for_a_cancel_request_under_way() {
    let (pool, script) =
        pool(Transport::Tcp, |options| options.max_size(1).cancel_timeout(LONG_TIMEOUT));
    script.set_cancellable();
    let gate = Gate::shut();
    script.once(At::Cancel, Act::Hang(gate.clone()));
    let mut conn = pool.get().expect("it opens");
    PooledConnection::set_statement_timeout(&mut conn, Duration::from_millis(10));
    gate.wait_for_arrivals(1);
    let has_opened = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            has_opened.store(true, Relaxed);
            gate.open();
        });
        // The request could cancel the statement that follows.
        PooledConnection::set_statement_timeout(&mut conn, None);
        assert!(has_opened.load(Relaxed));
    });
    drop(conn);
    books(&pool);
}

#[test]
fn a_cancel_that_met_no_statement_is_repeated_until_the_check_in_and_never_after_it() {
    for transport in [Transport::Hidden, Transport::Tcp] {
        let (pool, script) =
            pool(transport, |options| options.max_size(1).cancel_timeout(LONG_TIMEOUT));
        script.set_cancellable();
        let mut conn = pool.get().expect("it opens");
        PooledConnection::set_statement_timeout(&mut conn, Duration::from_millis(10));
        // One that hangs delays the next ones, and is counted once.
        let gate = Gate::shut();
        script.once(At::Cancel, Act::Hang(gate.clone()));
        gate.wait_for_arrivals(1);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(script.calls(At::Cancel), 1, "{transport:?}");
        gate.open();
        until!(pool, script.calls(At::Cancel) >= 5);
        assert!(matches!(PooledConnection::stopped(&conn), Some(Stopped::Cancelled(_))));
        drop(conn);
        let next = pool.get().expect("it is clean");
        let sent = script.calls(At::Cancel);
        thread::sleep(Duration::from_millis(100));
        assert_eq!((script.calls(At::Cancel), next.number), (sent, 1), "{transport:?}");
        drop(next);
        books(&pool);
    }
}
