//! What a borrower leaves behind never reaches the next one.

use crate::common::books::books;
use crate::common::fake::{Act, At, Wire};
use crate::common::gate::Gate;
use crate::common::{PATIENCE, ask, pool, until, until_waiting};
use poolwarden::{CloseReason, ConnectFault, Leftovers};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};
use support::logs;

const WIRES: [Wire; 4] = [Wire::InProcess, Wire::Hidden, Wire::Unix, Wire::Tcp];

#[test]
fn what_was_left_behind_is_cleaned_before_the_next_borrower_comes() {
    for wire in WIRES {
        let (pool, script) = pool(wire, |knobs| knobs.max_size(1));
        pool.get().expect("it opens").left = Leftovers::Some;
        let conn = pool.get().expect("it is clean");
        assert_eq!((conn.number, conn.left), (1, Leftovers::None), "{wire:?}");
        drop(conn);
        assert_eq!(script.calls(At::Reset), 1, "one that is clean is not reset");
        books(&pool);
    }
}

#[test]
fn a_waiter_gets_it_when_it_is_clean_and_not_before() {
    let (pool, script) = pool(Wire::Hidden, |knobs| knobs.max_size(1));
    let mut held = pool.get().expect("it opens");
    let waiter = ask(&pool, PATIENCE);
    until_waiting(&pool, 1);
    let gate = Gate::shut();
    script.once(At::Reset, Act::Hang(gate.clone()));
    held.left = Leftovers::Some;
    drop(held);
    gate.until_came(1);
    assert_eq!((pool.snapshot().in_use, pool.snapshot().idle), (1, 0));
    assert!(!waiter.is_finished());
    gate.open();
    assert_eq!(waiter.connection().left, Leftovers::None);
    books(&pool);
}

#[test]
fn what_cannot_be_cleaned_is_closed_and_replaced() {
    for act in [Act::Fault(ConnectFault::Other), Act::Panic, Act::Unreadable] {
        for wire in WIRES {
            // After our cut a unix socket cannot tell when the server has let go.
            let grace = Duration::from_millis(50);
            let (pool, script) = pool(wire, |knobs| knobs.max_size(1).close_grace(grace));
            script.once(At::Reset, act.clone());
            pool.get().expect("it opens").left = Leftovers::Some;
            assert_eq!(pool.get().expect("a new one is opened").number, 2, "{act:?} {wire:?}");
            assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1, "{act:?} {wire:?}");
            books(&pool);
        }
    }
}

#[test]
fn an_unanswered_question_is_not_cleaned_but_closed() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    pool.get().expect("it opens").left = Leftovers::Unanswered;
    assert_eq!(pool.get().expect("a new one is opened").number, 2);
    assert_eq!(script.calls(At::Reset), 0);
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1);
    books(&pool);
}

#[test]
fn a_reset_that_is_not_answered_in_time_costs_the_connection_and_no_more_time() {
    let bound = Duration::from_millis(80);
    for wire in [Wire::Unix, Wire::Tcp] {
        let (pool, script) =
            pool(wire, |knobs| knobs.max_size(2).ping_timeout(bound).close_grace(bound));
        let mut conn = pool.get().expect("it opens");
        script.server().mute();
        conn.left = Leftovers::Some;
        let began = Instant::now();
        drop(conn);
        let took = began.elapsed();
        assert!(took >= bound && took < bound + Duration::from_secs(2), "{took:?}");
        assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1);
        books(&pool);
    }
}

#[test]
fn a_reset_answered_too_late_keeps_its_place_until_the_server_lets_go() {
    let bound = Duration::from_millis(50);
    let (pool, script) =
        pool(Wire::Tcp, |knobs| knobs.max_size(1).ping_timeout(bound).close_grace(PATIENCE));
    let mut conn = pool.get().expect("it opens");
    conn.left = Leftovers::Some;
    script.once(At::Reset, Act::Dawdle(4 * bound));
    thread::scope(|scope| {
        scope.spawn(|| {
            until(|| script.calls(At::Reset) == 1);
            // It has answered, and then stops.
            thread::sleep(bound / 2);
            script.server().freeze();
        });
        drop(conn);
    });
    assert_eq!(pool.snapshot().closed_by(CloseReason::Dirty), 1);
    thread::sleep(bound);
    assert_eq!((pool.snapshot().closing, script.server().live()), (1, 1));
    books(&pool);
}

#[test]
fn a_borrower_that_panics_leaves_nothing_that_is_worth_cleaning() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let unwind = || {
        pool.get().expect("it opens").left = Leftovers::Some;
        let mut conn = pool.get().expect("it is clean");
        conn.left = Leftovers::Some;
        panic!("scripted: the borrower panics");
    };
    catch_unwind(AssertUnwindSafe(unwind)).map(|()| 0).expect_err("it panics");
    assert_eq!(pool.snapshot().closed_by(CloseReason::Panicked), 1);
    assert_eq!(script.calls(At::Reset), 1, "the first one's only");
    books(&pool);
}

#[test]
fn a_thread_that_may_not_block_leaves_the_cleaning_to_another() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(1));
    let mut conn = pool.get().expect("it opens");
    script.always(At::MayBlock, Act::Fault(ConnectFault::Other));
    conn.left = Leftovers::Some;
    drop(conn);
    until(|| pool.snapshot().idle == 1);
    assert_eq!(script.threads(At::Reset), ["poolwarden-clean"]);
    books(&pool);
}

#[test]
fn a_connection_that_is_being_cleaned_when_the_pool_closes_is_closed() {
    let (pool, script) = pool(Wire::Hidden, |knobs| knobs.max_size(1));
    let gate = Gate::shut();
    script.once(At::Reset, Act::Hang(gate.clone()));
    pool.get().expect("it opens").left = Leftovers::Some;
    gate.until_came(1);
    assert_eq!(pool.close(Duration::from_millis(10)).in_use, 1);
    gate.open();
    assert_eq!(pool.close(PATIENCE).closed_by(CloseReason::PoolClosed), 1);
    crate::common::books::closed_books(&pool);
}

#[test]
fn a_transaction_that_was_rolled_back_is_told_with_its_borrowers_place() {
    let log = logs::mark();
    let (pool, _) = pool(Wire::Tcp, |knobs| knobs.name("a forgotten commit"));
    pool.get().expect("it opens").left = Leftovers::Some;
    until(|| pool.snapshot().idle == 1);
    let lines = log.records_of("pool", "a forgotten commit");
    let told = lines.iter().find(|line| line.level == log::Level::Warn).expect("a warning");
    assert!(told.message.contains("cleaning.rs:"), "{}", told.message);
    books(&pool);
}
