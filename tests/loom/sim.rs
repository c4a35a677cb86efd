//! A pool without an engine: the core, its permits, and simulated connections. The thread
//! that receives a dial order carries it out immediately.

use crate::core::{Core, DialOrder, Failure, Handover, Join, Take, Ticket};
use crate::permit_group::{PermitGroup, PermitHolder, Share};
use crate::permits::{Permit, Permits};
use loom::sync::Mutex;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

/// The time at which every model begins.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Returns the time this many milliseconds after the start.
pub(crate) fn at(millis: u64) -> Instant {
    *START + Duration::from_millis(millis)
}

/// Returns a deadline that never passes.
pub(crate) fn never() -> Instant {
    at(3_600_000)
}

/// A connection with its permit, as in the crate.
pub(crate) struct Conn {
    /// The marks of the callers that held it, in order.
    pub(crate) held_by: Vec<u32>,
    permit: Permit,
}

/// How an attempt to open a connection fails.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DialFailure {
    Refused,
    /// The server has too many connections: callers wait and the pool retries.
    Full,
}

pub(crate) struct Sim {
    pub(crate) core: Core<Conn, &'static str>,
    pub(crate) permits: Arc<Permits>,
    /// The failures of the next attempts, the last one first; all later attempts succeed.
    failures: Mutex<Vec<DialFailure>>,
}

impl Sim {
    pub(crate) fn new(max_size: u32) -> Arc<Sim> {
        Sim::with_failures(max_size, Vec::new())
    }

    /// Creates a pool that shares permits.
    pub(crate) fn sharing(group: &Arc<PermitGroup>) -> Arc<Sim> {
        let permits = Permits::new(10);
        let terms = Share { min: 0, weight: 1 };
        permits.share(group.join(terms).unwrap_or_else(|_| unreachable!("nothing is reserved")));
        let sim = Sim::over(permits, Vec::new());
        let holder: Weak<dyn PermitHolder> = Arc::downgrade(&sim) as Weak<dyn PermitHolder>;
        sim.permits.member().expect("it shares permits").attach(holder);
        sim
    }

    pub(crate) fn with_failures(max_size: u32, mut failures: Vec<DialFailure>) -> Arc<Sim> {
        failures.reverse();
        Sim::over(Permits::new(max_size), failures)
    }

    fn over(permits: Arc<Permits>, failures: Vec<DialFailure>) -> Arc<Sim> {
        let core = Core::new(Arc::clone(&permits));
        let sim = Arc::new(Sim { core, permits, failures: Mutex::new(failures) });
        let weak: Weak<Sim> = Arc::downgrade(&sim);
        sim.permits.listen(Arc::new(move || {
            if let Some(sim) = weak.upgrade() {
                sim.start_dials(sim.core.permit_freed(at(10)), at(10));
            }
        }));
        sim
    }

    /// Creates a pool with this many connections, all of them checked out.
    pub(crate) fn in_use(max_size: u32) -> (Arc<Sim>, Vec<Conn>) {
        Sim::in_use_with_failures(max_size, Vec::new())
    }

    pub(crate) fn in_use_with_failures(
        max_size: u32,
        failures: Vec<DialFailure>,
    ) -> (Arc<Sim>, Vec<Conn>) {
        let sim = Sim::new(max_size);
        let open = (0..max_size).map(|_| {
            let order = sim.core.refill(1, at(0)).expect("a permit is free");
            sim.start_dials(vec![order], at(0));
            sim.take(at(0)).expect("it is idle")
        });
        let conns = open.collect();
        *sim.failures.lock().expect("no model panics with it") =
            failures.into_iter().rev().collect();
        (sim, conns)
    }

    pub(crate) fn take(&self, now: Instant) -> Option<Conn> {
        match self.core.take(|| now) {
            Take::Idle(conn) => Some(conn),
            Take::Nothing | Take::Closed => None,
        }
    }

    /// Carries out the dial orders, and the ones that follow from them, and has other pools
    /// give up what this one wants.
    pub(crate) fn start_dials(&self, orders: Vec<DialOrder>, now: Instant) {
        self.carry_out(orders, now);
        self.settle();
    }

    /// As the pool that wants permits does, and after it the housekeeper.
    fn settle(&self) {
        if let Some(member) = self.permits.member() {
            member.group().settle();
        }
    }

    fn carry_out(&self, orders: Vec<DialOrder>, now: Instant) {
        let mut orders = orders;
        while let Some(order) = orders.pop() {
            orders.extend(self.dial(order, now));
        }
    }

    pub(crate) fn dial(&self, order: DialOrder, now: Instant) -> Vec<DialOrder> {
        let DialOrder { mut permit, id } = order;
        let failure = self.failures.lock().expect("no model panics with it").pop();
        match failure {
            None => {
                permit.opened();
                let conn = Conn { held_by: Vec::new(), permit };
                let opened = self.core.dial_succeeded(id, conn, now);
                drop(opened.late);
                opened.orders
            }
            Some(failure) => {
                drop(permit);
                let failure = match failure {
                    DialFailure::Refused => Failure::Refused,
                    DialFailure::Full => Failure::Waits,
                };
                self.core.dial_failed(id, &"the dial failed", failure, now).0
            }
        }
    }

    pub(crate) fn check_in(&self, conn: Conn, now: Instant) {
        drop(self.core.check_in(conn, || now));
    }

    /// Checks a connection in whose permit is shared.
    pub(crate) fn check_in_shared(&self, mut conn: Conn, now: Instant) {
        if self.permits.is_over() && conn.permit.leave_if_given_up(Duration::ZERO) {
            return self.discard(conn);
        }
        self.check_in(conn, now);
        // As if the housekeeper had looked after the connection has been idle for long.
        if self.permits.is_over() {
            self.settle();
        }
    }

    /// Discards a connection that is in use; its permit is returned immediately.
    pub(crate) fn discard(&self, conn: Conn) {
        self.core.removed();
        drop(conn.permit);
    }

    /// Discards a connection that is in use, without returning its permit.
    pub(crate) fn discard_and_keep_permit(&self, conn: Conn) {
        self.core.removed();
        std::mem::forget(conn);
    }

    /// Joins the queue of a pool that has no idle connection, and returns the dial orders
    /// instead of carrying them out.
    pub(crate) fn queue_up(&self, now: Instant) -> (Ticket, Vec<DialOrder>) {
        match self.core.join(None, None, now) {
            Join::Queued(ticket, orders) => (ticket, orders),
            _ => unreachable!("no connection is idle"),
        }
    }

    /// Joins the queue, but does not wait yet.
    pub(crate) fn join(&self, now: Instant) -> Joined {
        match self.core.join(None, None, now) {
            Join::Idle(conn) => Joined::Idle(conn),
            Join::Queued(ticket, orders) => {
                self.start_dials(orders, now);
                Joined::Queued(ticket)
            }
            Join::Failed(_) | Join::Full(_) | Join::Closed => Joined::Refused,
        }
    }

    /// Checks out a connection without a deadline: loom reports a hand-over that never
    /// happens as a deadlock.
    pub(crate) fn get(&self, now: Instant) -> Option<Conn> {
        match self.join(now) {
            Joined::Idle(conn) => Some(conn),
            Joined::Refused => None,
            Joined::Queued(ticket) => self.wait(&ticket, now),
        }
    }

    /// Waits as a caller does: starts the attempts that are due whenever it is woken.
    pub(crate) fn wait(&self, ticket: &Ticket, mut now: Instant) -> Option<Conn> {
        loop {
            match self.core.wait(ticket, never(), never(), now) {
                Some(Handover::Connection(conn)) => return Some(conn),
                Some(Handover::Failed(_) | Handover::Closed) => return None,
                None => {}
            }
            // As if the next attempt had become due in the meantime.
            now += Duration::from_secs(2);
            self.start_dials(self.core.plan(now), now);
        }
    }

    /// Leaves the queue; returns a connection that was handed over in the meantime.
    pub(crate) fn leave_with(&self, ticket: &Ticket) -> Option<Conn> {
        match self.core.leave(ticket) {
            Some(Handover::Connection(conn)) => Some(conn),
            _ => None,
        }
    }

    /// Leaves the queue; a connection that was handed over in the meantime is checked in.
    pub(crate) fn leave(&self, ticket: &Ticket, now: Instant) {
        if let Some(conn) = self.leave_with(ticket) {
            self.check_in(conn, now);
        }
    }

    /// Asserts that this many connections are idle, and that nothing else is going on.
    #[track_caller]
    pub(crate) fn assert_idle(&self, idle: u32) {
        let now = self.core.counts();
        assert_eq!((now.idle, now.in_use, now.pending, now.waiting), (idle, 0, 0, 0));
        assert_eq!(now.used_permits, idle, "only idle connections hold permits, one each");
    }
}

impl PermitHolder for Sim {
    fn plan_again(self: Arc<Self>) {
        self.carry_out(self.core.permit_freed(at(10)), at(10));
    }

    fn longest_idle(&self) -> Option<Duration> {
        let mut longest = None;
        self.core.for_each_idle(|_| longest = Some(LONG));
        longest
    }

    fn give_up_idle(self: Arc<Self>) -> bool {
        let Some(mut conn) = self.core.borrow_idle(0, 1).pop() else { return false };
        let given_up = conn.permit.leave_if_given_up(LONG);
        let (kept, closed) = if given_up { (None, Some(conn)) } else { (Some(conn), None) };
        let kept = kept.into_iter().collect();
        let (late, orders) = self.core.return_idle(0, kept, usize::from(given_up), at(10));
        drop((closed, late));
        self.carry_out(orders, at(10));
        given_up
    }
}

/// How long a connection has been idle, whenever another pool wants its permit.
const LONG: Duration = Duration::from_secs(1);

pub(crate) enum Joined {
    Idle(Conn),
    Queued(Ticket),
    Refused,
}
