//! Models of races between callers, dial tasks, the housekeeper and the closing of the pool.

use crate::Model;
use crate::permits::Permits;
use crate::sim::{DialFailure, Joined, Sim, at, never};
use loom::thread;
use std::sync::Arc;

pub(crate) const ALL: &[Model] = &[
    ("a connection handed over to a waiter that leaves is not lost", hand_over_to_a_leaver),
    (
        "two waiters get one connection in order while another caller may overtake them",
        two_waiters_and_an_overtaker,
    ),
    ("two connections checked in serve two waiters", two_checked_in_for_two),
    ("a dial that ends while its caller leaves loses nothing", dial_and_leave),
    ("a dial that ends while the pool closes loses nothing", dial_and_close),
    ("a permit returned while a caller joins the queue is used", permit_and_join),
    ("a permit returned while two callers wait serves both", permit_and_two_waiters),
    ("an attempt that fails for a temporary cause is retried", failed_attempt),
    ("another caller's failed attempt leaves no waiter asleep", failed_attempt_of_another_caller),
    (
        "a health check of an idle connection leaves no caller waiting forever",
        health_check_and_checkout,
    ),
    (
        "a dead connection found by a health check is replaced for the waiting caller",
        dead_connection_and_checkout,
    ),
    (
        "a health check of an idle connection while the pool closes loses nothing",
        health_check_and_close,
    ),
    ("two callers that take and return one connection without a lock lose nothing", by_slot),
    ("a check-in without a lock while the pool closes loses nothing", by_slot_and_close),
    (
        "a check-in without a lock while another caller joins the queue serves that",
        by_slot_and_join,
    ),
    ("a caller that waits for the end of a closed pool sees it", settle),
    ("a caller that waits for a permit gets the one that is returned", wait_for_a_permit),
];

/// Tries every schedule with up to this many preemptions.
pub(crate) fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

pub(crate) fn spawn(sim: &Arc<Sim>, work: impl FnOnce(&Sim) + 'static) -> thread::JoinHandle<()> {
    let sim = Arc::clone(sim);
    thread::spawn(move || work(&sim))
}

pub(crate) fn join_all(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
}

/// Milliseconds for which the first waiter has been waiting: before `OVERTAKE_LIMIT`, when
/// other callers may overtake it, and after, when connections are handed over to it.
const BEFORE_AND_AFTER_THE_OVERTAKE_LIMIT: [u64; 2] = [0, 10];

fn hand_over_to_a_leaver() {
    for millis in BEFORE_AND_AFTER_THE_OVERTAKE_LIMIT {
        model(3, move || {
            let (sim, conns) = Sim::in_use(1);
            let leaver = spawn(&sim, move |sim| match sim.join(at(0)) {
                Joined::Idle(conn) => sim.check_in(conn, at(millis)),
                Joined::Queued(ticket) => sim.leave(&ticket, at(millis)),
                Joined::Refused => unreachable!("the pool is open"),
            });
            conns.into_iter().for_each(|conn| sim.check_in(conn, at(millis)));
            join_all([leaver]);
            sim.assert_idle(1);
        });
    }
}

fn borrow_once(sim: &Sim, millis: u64) {
    let conn = sim.get(at(0)).expect("the waiter is served");
    sim.check_in(conn, at(millis));
}

fn two_waiters_and_an_overtaker() {
    for millis in BEFORE_AND_AFTER_THE_OVERTAKE_LIMIT {
        model(2, move || {
            let (sim, conns) = Sim::in_use(1);
            let waiters = [1, 2].map(|mark| {
                let (ticket, _) = sim.queue_up(at(0));
                spawn(&sim, move |sim| {
                    let mut conn = sim.wait(&ticket, at(0)).expect("the waiter is served");
                    conn.held_by.push(mark);
                    sim.check_in(conn, at(millis));
                })
            });
            let overtaker = spawn(&sim, move |sim| {
                if let Some(conn) = sim.take(at(millis)) {
                    sim.check_in(conn, at(millis));
                }
            });
            conns.into_iter().for_each(|conn| sim.check_in(conn, at(millis)));
            join_all(waiters.into_iter().chain([overtaker]));
            sim.assert_idle(1);
            let conn = sim.take(at(millis)).expect("it is idle");
            assert_eq!(conn.held_by, [1, 2], "served in order");
            sim.check_in(conn, at(millis));
        });
    }
}

/// The first connection is checked in while the first waiter may still be overtaken, the
/// second when it may not; there is no other caller.
fn two_checked_in_for_two() {
    model(2, || {
        let (sim, mut conns) = Sim::in_use(2);
        let waiters = [(); 2].map(|()| {
            let (ticket, _) = sim.queue_up(at(0));
            spawn(&sim, move |sim| {
                let conn = sim.wait(&ticket, at(0)).expect("there is a connection for each waiter");
                sim.discard_and_keep_permit(conn);
            })
        });
        sim.check_in(conns.pop().expect("two are in use"), at(0));
        sim.check_in(conns.pop().expect("two are in use"), at(10));
        join_all(waiters);
    });
}

/// How a dial may end: `None` is success.
const OUTCOMES: [Option<DialFailure>; 3] =
    [None, Some(DialFailure::Refused), Some(DialFailure::Full)];

fn dial_and_leave() {
    for outcome in OUTCOMES {
        model(3, move || {
            let sim = Sim::with_failures(1, outcome.into_iter().collect());
            let (ticket, orders) = sim.queue_up(at(0));
            let dial = spawn(&sim, |sim| sim.start_dials(orders, at(10)));
            sim.leave(&ticket, at(10));
            join_all([dial]);
            sim.assert_idle(u32::from(outcome.is_none()));
        });
    }
}

fn dial_and_close() {
    for outcome in OUTCOMES {
        model(3, move || {
            let sim = Sim::with_failures(1, outcome.into_iter().collect());
            let (ticket, orders) = sim.queue_up(at(0));
            let dial = spawn(&sim, |sim| sim.start_dials(orders, at(10)));
            let close = spawn(&sim, |sim| drop(sim.core.close()));
            if let Some(conn) = sim.wait(&ticket, at(0)) {
                sim.check_in(conn, at(10));
            }
            join_all([dial, close]);
            sim.assert_idle(0);
        });
    }
}

fn permit_and_join() {
    model(3, || {
        let (sim, conns) = Sim::in_use(1);
        let caller = spawn(&sim, |sim| {
            let conn = sim.get(at(0)).expect("a permit becomes free");
            sim.check_in(conn, at(10));
        });
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all([caller]);
        sim.assert_idle(1);
    });
}

fn permit_and_two_waiters() {
    model(2, || {
        let (sim, conns) = Sim::in_use(1);
        let callers = [(); 2].map(|()| spawn(&sim, |sim| borrow_once(sim, 10)));
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all(callers);
        sim.assert_idle(1);
    });
}

fn failed_attempt() {
    model(3, || {
        let (sim, conns) = Sim::in_use_with_failures(1, vec![DialFailure::Full]);
        let caller = spawn(&sim, |sim| {
            let conn = sim.get(at(0)).expect("the second attempt succeeds");
            sim.check_in(conn, at(10));
        });
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all([caller]);
        sim.assert_idle(1);
    });
}

fn failed_attempt_of_another_caller() {
    model(2, || {
        let (sim, mut conns) = Sim::in_use_with_failures(2, vec![DialFailure::Refused]);
        let long = conns.pop().expect("two are in use");
        let callers = [(); 2].map(|()| {
            spawn(&sim, |sim| {
                // One of the two callers may get the error of the failed attempt.
                if let Some(conn) = sim.get(at(0)) {
                    sim.check_in(conn, at(10));
                }
            })
        });
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all(callers);
        sim.check_in(long, at(10));
        let open = sim.core.counts().idle;
        sim.assert_idle(open);
    });
}

/// A pool with one idle connection.
fn one_idle() -> Arc<Sim> {
    let (sim, conns) = Sim::in_use(1);
    conns.into_iter().for_each(|conn| sim.check_in(conn, at(0)));
    sim
}

fn health_check_and_checkout() {
    for millis in BEFORE_AND_AFTER_THE_OVERTAKE_LIMIT {
        model(3, move || {
            let sim = one_idle();
            let housekeeper = spawn(&sim, move |sim| {
                let healthy = sim.core.borrow_idle(0, 16);
                let (late, orders) = sim.core.return_idle(0, healthy, 0, at(millis));
                assert!(late.is_empty());
                sim.start_dials(orders, at(millis));
            });
            borrow_once(&sim, millis);
            join_all([housekeeper]);
            sim.assert_idle(1);
        });
    }
}

fn dead_connection_and_checkout() {
    model(3, || {
        let sim = one_idle();
        let housekeeper = spawn(&sim, |sim| {
            let dead = sim.core.borrow_idle(0, 16);
            let (late, orders) = sim.core.return_idle(0, Vec::new(), dead.len(), at(10));
            assert!(late.is_empty());
            sim.start_dials(orders, at(10));
            drop(dead);
        });
        borrow_once(&sim, 10);
        join_all([housekeeper]);
        let open = sim.core.counts().idle;
        sim.assert_idle(open);
    });
}

fn health_check_and_close() {
    model(3, || {
        let sim = one_idle();
        let housekeeper = spawn(&sim, |sim| {
            let healthy = sim.core.borrow_idle(0, 16);
            let (late, orders) = sim.core.return_idle(0, healthy, 0, at(10));
            sim.start_dials(orders, at(10));
            drop(late);
        });
        let caller = spawn(&sim, |sim| {
            if let Some(conn) = sim.get(at(0)) {
                sim.check_in(conn, at(10));
            }
        });
        drop(sim.core.close());
        join_all([housekeeper, caller]);
        sim.assert_idle(0);
    });
}

/// Takes the connection without joining the queue, if it is there.
fn borrow_if_idle(sim: &Sim) {
    if let Some(conn) = sim.take(at(0)) {
        sim.check_in(conn, at(0));
    }
}

fn by_slot() {
    model(3, || {
        let sim = one_idle();
        let other = spawn(&sim, borrow_if_idle);
        borrow_if_idle(&sim);
        join_all([other]);
        sim.assert_idle(1);
    });
}

fn by_slot_and_close() {
    model(3, || {
        let sim = one_idle();
        let caller = spawn(&sim, borrow_if_idle);
        drop(sim.core.close());
        join_all([caller]);
        sim.assert_idle(0);
    });
}

fn by_slot_and_join() {
    for millis in BEFORE_AND_AFTER_THE_OVERTAKE_LIMIT {
        model(3, move || {
            let sim = one_idle();
            let caller = spawn(&sim, borrow_if_idle);
            borrow_once(&sim, millis);
            join_all([caller]);
            sim.assert_idle(1);
        });
    }
}

fn settle() {
    model(3, || {
        let (sim, conns) = Sim::in_use(2);
        let borrower = spawn(&sim, move |sim| {
            let mut conns = conns.into_iter();
            conns.by_ref().take(1).for_each(|conn| sim.check_in(conn, at(10)));
            conns.for_each(|conn| sim.discard(conn));
        });
        drop(sim.core.close());
        assert!(sim.core.wait_settled(never(), || at(0)));
        sim.assert_idle(0);
        join_all([borrower]);
    });
}

fn wait_for_a_permit() {
    model(3, || {
        let permits = Permits::new(1);
        let held = permits.try_take().expect("a permit is free");
        let takers = [(); 2].map(|()| {
            let permits = Arc::clone(&permits);
            thread::spawn(move || drop(permits.take_until(never()).expect("the waiter is served")))
        });
        drop(held);
        join_all(takers);
        assert_eq!(permits.usage().used, 0);
    });
}
