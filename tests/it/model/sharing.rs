//! Pools that share permits, in a simulation with one thread and a simulated clock: a random
//! schedule, and pools that compete.
//!
//! Cores, permits and groups are the crate's own files. What the simulation counts by simpler
//! means must agree with them after every step, and in the end every caller must have been
//! served.

mod competition;
mod schedule;

use super::sync::set_now;
use crate::core::{Core, DialOrder, Failure, Handover, Join, Take, Ticket};
use crate::permit_group::{PermitGroup, PermitHolder, Share};
use crate::permits::{Permit, Permits};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

const NO_TIME: Duration = Duration::ZERO;

/// A connection with its permit.
struct Conn {
    permit: Permit,
    idle_since: Instant,
}

/// The time of a simulation, which its pools read too.
struct Clock {
    start: Instant,
    passed: AtomicU64,
}

impl Clock {
    fn new() -> Arc<Clock> {
        let clock = Clock { start: Instant::now(), passed: AtomicU64::new(0) };
        set_now(clock.start);
        Arc::new(clock)
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.passed.load(Relaxed))
    }

    fn pass(&self, micros: u64) {
        self.passed.fetch_add(micros, Relaxed);
        set_now(self.now());
    }
}

/// A pool without an engine.
struct SimPool {
    core: Core<Conn, u32>,
    permits: Arc<Permits>,
    group: Arc<PermitGroup>,
    clock: Arc<Clock>,
    terms: Share,
    /// The attempts under way.
    dials: Mutex<Vec<DialOrder>>,
    /// What is being closed, failed attempts included.
    closing: Mutex<Vec<Permit>>,
}

impl SimPool {
    fn new(group: &Arc<PermitGroup>, clock: &Arc<Clock>, max: u32, terms: Share) -> Arc<SimPool> {
        let permits = Permits::new(max);
        let member = group.join(terms).unwrap_or_else(|sum| panic!("{sum} would be reserved"));
        permits.share(member);
        let pool = Arc::new(SimPool {
            core: Core::new(Arc::clone(&permits)),
            permits,
            group: Arc::clone(group),
            clock: Arc::clone(clock),
            terms,
            dials: Mutex::default(),
            closing: Mutex::default(),
        });
        let weak = Arc::downgrade(&pool);
        pool.permits.listen(Arc::new(move || {
            weak.upgrade().into_iter().for_each(PermitHolder::plan_again);
        }));
        let weak: Weak<dyn PermitHolder> = Arc::downgrade(&pool) as Weak<dyn PermitHolder>;
        pool.permits.member().expect("it shares permits").attach(weak);
        pool
    }

    /// Begins the attempts, and sees to the permits that the pool still wants.
    fn start_dials(&self, orders: Vec<DialOrder>) {
        self.dials.lock().expect("not poisoned").extend(orders);
        self.group.settle();
    }

    fn take(&self) -> Option<Conn> {
        match self.core.take(|| self.clock.now()) {
            Take::Idle(conn) => Some(conn),
            Take::Nothing | Take::Closed => None,
        }
    }

    /// Takes a connection or joins the queue; neither, if the pool reports a failure.
    fn get(&self) -> (Option<Conn>, Option<Ticket>) {
        if let Some(conn) = self.take() {
            return (Some(conn), None);
        }
        match self.core.join(None, None, self.clock.now()) {
            Join::Idle(conn) => (Some(conn), None),
            Join::Queued(ticket, orders) => {
                self.start_dials(orders);
                (None, Some(ticket))
            }
            Join::Failed(_) | Join::Full(_) | Join::Closed => (None, None),
        }
    }

    /// Looks, as a waiter that wakes: `Ok` if it is served, with nothing if it failed.
    fn look(&self, ticket: &Ticket) -> Result<Option<Conn>, ()> {
        let now = self.clock.now();
        self.core.wait(ticket, now, now, now).map(connection).ok_or(())
    }

    /// Plans, as the waiter does that wakes for the next attempt.
    fn plan(&self) {
        let orders = self.core.plan(self.clock.now());
        self.start_dials(orders);
    }

    fn leave(&self, ticket: &Ticket) {
        if let Some(conn) = self.core.leave(ticket).and_then(connection) {
            self.check_in(conn);
        }
    }

    /// As a guard's drop: closes the connection if it is surplus or to be given up.
    fn check_in(&self, mut conn: Conn) {
        let leaves =
            |permit: &mut Permit| permit.leave_if_surplus() || permit.leave_if_given_up(NO_TIME);
        if self.permits.is_over() && leaves(&mut conn.permit) {
            return self.discard(conn);
        }
        conn.idle_since = self.clock.now();
        let late = self.core.check_in(conn, || self.clock.now()).unwrap_or_default();
        self.close(late);
    }

    fn discard(&self, conn: Conn) {
        self.core.removed();
        self.close(vec![conn]);
    }

    fn close(&self, conns: Vec<Conn>) {
        for Conn { mut permit, .. } in conns {
            permit.leave();
            self.closing.lock().expect("not poisoned").push(permit);
        }
    }

    fn dial_succeeds(&self, order: DialOrder) {
        let DialOrder { mut permit, id } = order;
        permit.opened();
        let conn = Conn { permit, idle_since: self.clock.now() };
        let opened = self.core.dial_succeeded(id, conn, self.clock.now());
        self.close(opened.late.into_iter().collect());
        self.start_dials(opened.orders);
    }

    fn dial_fails(&self, order: DialOrder, failure: Failure) {
        let DialOrder { mut permit, id } = order;
        permit.leave();
        self.closing.lock().expect("not poisoned").push(permit);
        let (orders, _) = self.core.dial_failed(id, &7, failure, self.clock.now());
        self.start_dials(orders);
    }

    /// Takes out one of the attempts under way.
    fn a_dial(&self, choose: impl FnOnce(usize) -> usize) -> Option<DialOrder> {
        let mut dials = self.dials.lock().expect("not poisoned");
        (!dials.is_empty()).then(|| {
            let count = dials.len();
            dials.swap_remove(choose(count))
        })
    }

    /// The server confirms one close.
    fn finish_closing(&self) {
        let permit = self.closing.lock().expect("not poisoned").pop();
        drop(permit);
    }
}

fn connection(handover: Handover<Conn, u32>) -> Option<Conn> {
    match handover {
        Handover::Connection(conn) => Some(conn),
        Handover::Failed(_) | Handover::Closed => None,
    }
}

impl PermitHolder for SimPool {
    fn plan_again(self: Arc<Self>) {
        let orders = self.core.permit_freed(self.clock.now());
        self.dials.lock().expect("not poisoned").extend(orders);
    }

    fn longest_idle(&self) -> Option<Duration> {
        let (now, mut longest) = (self.clock.now(), None);
        self.core.for_each_idle(|conn| longest = longest.max(Some(now - conn.idle_since)));
        longest
    }

    fn give_up_idle(self: Arc<Self>) -> bool {
        let now = self.clock.now();
        let Some(mut conn) = self.core.borrow_idle(0, 1).pop() else { return false };
        let given_up = conn.permit.leave_if_given_up(now - conn.idle_since);
        let (kept, closed) = if given_up { (None, Some(conn)) } else { (Some(conn), None) };
        let kept = kept.into_iter().collect();
        let (late, orders) = self.core.return_idle(0, kept, usize::from(given_up), now);
        self.close(closed.into_iter().chain(late).collect());
        self.dials.lock().expect("not poisoned").extend(orders);
        given_up
    }
}
