//! The races that the core must win.

use crate::Model;
use crate::budget::Budget;
use crate::sim::{Fate, Joined, Sim, at, never};
use loom::thread;
use std::sync::Arc;

pub(crate) const ALL: &[Model] = &[
    ("a connection given back to one who leaves is not lost", give_back_to_a_leaver),
    ("two waiters and a newcomer share one connection in order", two_waiters_and_a_newcomer),
    ("two connections given back serve two waiters", two_given_back_to_two),
    ("a dial that ends while its caller leaves loses nothing", dial_and_leave),
    ("a dial that ends while the pool closes loses nothing", dial_and_close),
    ("a permit that comes back while somebody joins is used", permit_and_join),
    ("a permit that comes back while two wait serves both", permit_and_two_waiters),
    ("an attempt that fails for a passing cause is followed by another", failed_attempt),
    ("a failed attempt of another leaves no waiter asleep", failed_attempt_of_another),
    ("a look at an idle connection keeps nobody waiting for ever", look_and_take),
    ("a dead connection found by a look is replaced for who waits", dead_look_and_take),
    ("a look at an idle connection while the pool closes loses nothing", look_and_close),
    ("who waits for the end of a closed pool sees it", settle),
    ("who waits for a permit gets the one that comes back", wait_for_a_permit),
];

/// Tries every schedule with so many forced changes of thread.
fn model(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(body);
}

fn spawn(sim: &Arc<Sim>, work: impl FnOnce(&Sim) + 'static) -> thread::JoinHandle<()> {
    let sim = Arc::clone(sim);
    thread::spawn(move || work(&sim))
}

fn join_all(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("no thread panics"));
}

/// Young: the head may be overtaken; patient: it is served by hand-over.
const YOUNG_AND_PATIENT: [u64; 2] = [0, 10];

fn give_back_to_a_leaver() {
    for millis in YOUNG_AND_PATIENT {
        model(3, move || {
            let (sim, conns) = Sim::in_use(1);
            let leaver = spawn(&sim, move |sim| match sim.join(at(0)) {
                Joined::Got(conn) => sim.check_in(conn, at(millis)),
                Joined::Waits(place) => sim.leave(&place, at(millis)),
                Joined::Refused => unreachable!("the pool is open"),
            });
            conns.into_iter().for_each(|conn| sim.check_in(conn, at(millis)));
            join_all([leaver]);
            sim.rests_with(1);
        });
    }
}

fn borrow_once(sim: &Sim, millis: u64) {
    let conn = sim.get(at(0)).expect("its turn comes");
    sim.check_in(conn, at(millis));
}

fn two_waiters_and_a_newcomer() {
    for millis in YOUNG_AND_PATIENT {
        model(2, move || {
            let (sim, conns) = Sim::in_use(1);
            let waiters = [1, 2].map(|mark| {
                let (place, _) = sim.queue_up(at(0));
                spawn(&sim, move |sim| {
                    let mut conn = sim.wait(&place, at(0)).expect("its turn comes");
                    conn.held_by.push(mark);
                    sim.check_in(conn, at(millis));
                })
            });
            let newcomer = spawn(&sim, move |sim| {
                if let Some(conn) = sim.take(at(millis)) {
                    sim.check_in(conn, at(millis));
                }
            });
            conns.into_iter().for_each(|conn| sim.check_in(conn, at(millis)));
            join_all(waiters.into_iter().chain([newcomer]));
            sim.rests_with(1);
            let conn = sim.take(at(millis)).expect("it is idle");
            assert_eq!(conn.held_by, [1, 2], "served in order");
            sim.check_in(conn, at(millis));
        });
    }
}

/// The first comes back while the head may still be overtaken, the second when
/// it may not; nobody else comes by.
fn two_given_back_to_two() {
    model(2, || {
        let (sim, mut conns) = Sim::in_use(2);
        let waiters = [(); 2].map(|()| {
            let (place, _) = sim.queue_up(at(0));
            spawn(&sim, move |sim| {
                let conn = sim.wait(&place, at(0)).expect("there is one for each");
                sim.discard_quietly(conn);
            })
        });
        sim.check_in(conns.pop().expect("two are in use"), at(0));
        sim.check_in(conns.pop().expect("two are in use"), at(10));
        join_all(waiters);
    });
}

/// How a dial may end.
const OUTCOMES: [Option<Fate>; 3] = [None, Some(Fate::Refused), Some(Fate::Full)];

fn dial_and_leave() {
    for outcome in OUTCOMES {
        model(3, move || {
            let sim = Sim::with_fates(1, outcome.into_iter().collect());
            let (place, orders) = sim.queue_up(at(0));
            let dial = spawn(&sim, |sim| sim.carry_out(orders, at(10)));
            sim.leave(&place, at(10));
            join_all([dial]);
            sim.rests_with(u32::from(outcome.is_none()));
        });
    }
}

fn dial_and_close() {
    for outcome in OUTCOMES {
        model(3, move || {
            let sim = Sim::with_fates(1, outcome.into_iter().collect());
            let (place, orders) = sim.queue_up(at(0));
            let dial = spawn(&sim, |sim| sim.carry_out(orders, at(10)));
            let close = spawn(&sim, |sim| drop(sim.core.close()));
            if let Some(conn) = sim.wait(&place, at(0)) {
                sim.check_in(conn, at(10));
            }
            join_all([dial, close]);
            sim.rests_with(0);
        });
    }
}

fn permit_and_join() {
    model(3, || {
        let (sim, conns) = Sim::in_use(1);
        let caller = spawn(&sim, |sim| {
            let conn = sim.get(at(0)).expect("a place becomes free");
            sim.check_in(conn, at(10));
        });
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all([caller]);
        sim.rests_with(1);
    });
}

fn permit_and_two_waiters() {
    model(2, || {
        let (sim, conns) = Sim::in_use(1);
        let callers = [(); 2].map(|()| spawn(&sim, |sim| borrow_once(sim, 10)));
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all(callers);
        sim.rests_with(1);
    });
}

fn failed_attempt() {
    model(3, || {
        let (sim, conns) = Sim::in_use_with_fates(1, vec![Fate::Full]);
        let caller = spawn(&sim, |sim| {
            let conn = sim.get(at(0)).expect("the second attempt succeeds");
            sim.check_in(conn, at(10));
        });
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all([caller]);
        sim.rests_with(1);
    });
}

fn failed_attempt_of_another() {
    model(2, || {
        let (sim, mut conns) = Sim::in_use_with_fates(2, vec![Fate::Refused]);
        let long = conns.pop().expect("two are in use");
        let callers = [(); 2].map(|()| {
            spawn(&sim, |sim| {
                // One of the two may be told of the failure.
                if let Some(conn) = sim.get(at(0)) {
                    sim.check_in(conn, at(10));
                }
            })
        });
        conns.into_iter().for_each(|conn| sim.discard(conn));
        join_all(callers);
        sim.check_in(long, at(10));
        let open = sim.core.counts().idle;
        sim.rests_with(open);
    });
}

/// A pool with one idle connection.
fn one_idle() -> Arc<Sim> {
    let (sim, conns) = Sim::in_use(1);
    conns.into_iter().for_each(|conn| sim.check_in(conn, at(0)));
    sim
}

fn look_and_take() {
    for millis in YOUNG_AND_PATIENT {
        model(3, move || {
            let sim = one_idle();
            let keeper = spawn(&sim, move |sim| {
                let healthy = sim.core.borrow_idle(0, 16);
                let (late, orders) = sim.core.return_idle(0, healthy, 0, at(millis));
                assert!(late.is_empty());
                sim.carry_out(orders, at(millis));
            });
            borrow_once(&sim, millis);
            join_all([keeper]);
            sim.rests_with(1);
        });
    }
}

fn dead_look_and_take() {
    model(3, || {
        let sim = one_idle();
        let keeper = spawn(&sim, |sim| {
            let dead = sim.core.borrow_idle(0, 16);
            let (late, orders) = sim.core.return_idle(0, Vec::new(), dead.len(), at(10));
            assert!(late.is_empty());
            sim.carry_out(orders, at(10));
            drop(dead);
        });
        borrow_once(&sim, 10);
        join_all([keeper]);
        let open = sim.core.counts().idle;
        sim.rests_with(open);
    });
}

fn look_and_close() {
    model(3, || {
        let sim = one_idle();
        let keeper = spawn(&sim, |sim| {
            let healthy = sim.core.borrow_idle(0, 16);
            let (late, orders) = sim.core.return_idle(0, healthy, 0, at(10));
            sim.carry_out(orders, at(10));
            drop(late);
        });
        let caller = spawn(&sim, |sim| {
            if let Some(conn) = sim.get(at(0)) {
                sim.check_in(conn, at(10));
            }
        });
        drop(sim.core.close());
        join_all([keeper, caller]);
        sim.rests_with(0);
    });
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
        sim.rests_with(0);
        join_all([borrower]);
    });
}

fn wait_for_a_permit() {
    model(3, || {
        let budget = Budget::new(1);
        let held = budget.try_take().expect("a permit is free");
        let takers = [(); 2].map(|()| {
            let budget = Arc::clone(&budget);
            thread::spawn(move || drop(budget.take_until(never()).expect("its turn comes")))
        });
        drop(held);
        join_all(takers);
        assert_eq!(budget.usage().used, 0);
    });
}
