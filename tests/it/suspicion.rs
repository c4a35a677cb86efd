//! What ended one connection may have ended others: each is asked before its next
//! use, once. What was planned, and a server that is full, cast no doubt.

use crate::common::books::books;
use crate::common::fake::{Act, At, Death, Fake, Script, Wire};
use crate::common::{idle, pool, until};
use poolwarden::{CloseReason, ConnectFault, Pool, PooledConnection};
use std::time::Duration;

/// Checks all out and in again; returns how many pings that took.
fn pings_of_a_round(pool: &Pool<Fake>, script: &Script, connections: usize) -> usize {
    let before = script.calls(At::Ping);
    idle(pool, connections);
    script.calls(At::Ping) - before
}

#[test]
fn one_loss_that_was_not_planned_has_each_sibling_asked_once() {
    for death in [Death::Fin, Death::WordsAndFin, Death::Rst] {
        let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(8));
        let numbers = idle(&pool, 8);
        assert_eq!(pings_of_a_round(&pool, &script, 8), 0);
        script.server().kill(numbers[3], death);
        until(|| {
            drop(pool.get().expect("the others live"));
            pool.snapshot().closed() == 1
        });
        // All were asked but the one that replaced the lost one, and each but once.
        idle(&pool, 8);
        assert_eq!(script.calls(At::Ping), 7, "after one loss");
        assert_eq!(pings_of_a_round(&pool, &script, 8), 0);
        assert_eq!((pool.snapshot().closed(), pool.snapshot().opened), (1, 9));
        books(&pool);
    }
}

#[test]
fn what_was_planned_casts_no_doubt() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(4));
    idle(&pool, 4);
    PooledConnection::discard(pool.get().expect("an idle one"));
    assert_eq!(pings_of_a_round(&pool, &script, 4), 0);
    pool.retire_all();
    assert_eq!(pings_of_a_round(&pool, &script, 4), 0);
    books(&pool);
}

#[test]
fn a_server_that_is_full_casts_no_doubt() {
    let (pool, script) = pool(Wire::Tcp, |knobs| knobs.max_size(4));
    idle(&pool, 2);
    script.once(At::Connect, Act::Fault(ConnectFault::Saturated));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("an idle one")).collect();
    let third = pool.get_timeout(Duration::from_secs(5)).expect("there is room again");
    drop((held, third));
    assert_eq!(pool.snapshot().connect_failures, 1);
    assert_eq!(pings_of_a_round(&pool, &script, 3), 0);
    books(&pool);
}

#[test]
fn a_doubt_ends_in_a_close_only_for_those_that_do_not_answer() {
    let (pool, script) =
        pool(Wire::Tcp, |knobs| knobs.max_size(4).ping_timeout(Duration::from_millis(50)));
    let numbers = idle(&pool, 4);
    script.server().close(numbers[0]);
    until(|| pool.snapshot().closed_by(CloseReason::ServerClosed) == 1);
    script.once(At::Ping, Act::Fault(ConnectFault::Other));
    idle(&pool, 4);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingFailed), 1);
    assert_eq!(pool.snapshot().closed(), 2);
    books(&pool);
}
