//! After an unexpected loss every other idle connection is pinged once before its
//! next use. Planned closes and a saturated server trigger no such pings.

use crate::common::books::books;
use crate::common::fake::{Act, At, Fake, Script, ServerClose, Transport};
use crate::common::{idle, pool, until};
use poolwarden::{CloseReason, FaultClass, Pool, PooledConnection};
use std::time::Duration;

/// Checks all connections out and in; returns the number of pings.
fn pings_of_a_round(pool: &Pool<Fake>, script: &Script, connections: usize) -> usize {
    let before = script.calls(At::Ping);
    idle(pool, connections);
    script.calls(At::Ping) - before
}

#[test]
fn after_an_unexpected_loss_every_other_idle_connection_is_pinged_once() {
    for how in [ServerClose::Fin, ServerClose::MessageAndFin, ServerClose::Rst] {
        let (pool, script) = pool(Transport::Tcp, |options| options.max_size(8));
        let numbers = idle(&pool, 8);
        assert_eq!(pings_of_a_round(&pool, &script, 8), 0);
        script.server().terminate(numbers[3], how);
        until!(pool, {
            drop(pool.get().expect("the others are open"));
            pool.snapshot().closed() == 1
        });
        // All were pinged once, except for the one that replaced the lost one.
        idle(&pool, 8);
        assert_eq!(script.calls(At::Ping), 7, "after one loss");
        assert_eq!(pings_of_a_round(&pool, &script, 8), 0);
        assert_eq!((pool.snapshot().closed(), pool.snapshot().opened), (1, 9));
        books(&pool);
    }
}

#[test]
fn a_planned_close_triggers_no_pings() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
    idle(&pool, 4);
    PooledConnection::discard(pool.get().expect("an idle one"));
    assert_eq!(pings_of_a_round(&pool, &script, 4), 0);
    pool.retire_all();
    assert_eq!(pings_of_a_round(&pool, &script, 4), 0);
    books(&pool);
}

#[test]
fn a_saturated_server_triggers_no_pings() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
    idle(&pool, 2);
    script.once(At::Connect, Act::Fault(FaultClass::Saturated));
    let held: Vec<_> = (0..2).map(|_| pool.get().expect("an idle one")).collect();
    let third = pool.get_timeout(Duration::from_secs(5)).expect("the server has room again");
    drop((held, third));
    assert_eq!(pool.snapshot().connect_failures, 1);
    assert_eq!(pings_of_a_round(&pool, &script, 3), 0);
    books(&pool);
}

#[test]
fn only_connections_that_do_not_answer_that_ping_are_closed() {
    let (pool, script) = pool(Transport::Tcp, |options| options.max_size(4));
    let numbers = idle(&pool, 4);
    script.server().close(numbers[0]);
    until!(pool, pool.snapshot().closed_by(CloseReason::ServerClosed) == 1);
    script.once(At::Ping, Act::Fault(FaultClass::Other));
    idle(&pool, 4);
    assert_eq!(pool.snapshot().closed_by(CloseReason::PingFailed), 1);
    assert_eq!(pool.snapshot().closed(), 2);
    books(&pool);
}
