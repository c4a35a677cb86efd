//! A pool without an engine: the core, its permits, and connections that are
//! numbers. Orders are carried out on the spot, by whoever got them.

use crate::budget::{Budget, Permit};
use crate::core::{Core, Delivery, Join, Order, Place, Take};
use loom::sync::Mutex;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

/// When every model begins.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// So many milliseconds after the start.
pub(crate) fn at(millis: u64) -> Instant {
    *START + Duration::from_millis(millis)
}

/// A deadline that does not come.
pub(crate) fn never() -> Instant {
    at(3_600_000)
}

/// A connection: with its permit, as the crate's are.
pub(crate) struct Conn {
    /// The marks of those who had it, in order.
    pub(crate) held_by: Vec<u32>,
    permit: Permit,
}

/// What becomes of attempts to open a connection, the first one first; all
/// later ones succeed.
type Fates = Vec<Fate>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Refused,
    /// For a cause that is waited for.
    Full,
}

pub(crate) struct Sim {
    pub(crate) core: Core<Conn, &'static str>,
    pub(crate) budget: Arc<Budget>,
    fates: Mutex<Fates>,
}

impl Sim {
    pub(crate) fn new(max_size: u32) -> Arc<Sim> {
        Sim::with_fates(max_size, Vec::new())
    }

    pub(crate) fn with_fates(max_size: u32, mut fates: Fates) -> Arc<Sim> {
        fates.reverse();
        let budget = Budget::new(max_size);
        let core = Core::new(Arc::clone(&budget));
        let sim = Arc::new(Sim { core, budget, fates: Mutex::new(fates) });
        let weak: Weak<Sim> = Arc::downgrade(&sim);
        sim.budget.listen(Arc::new(move || {
            if let Some(sim) = weak.upgrade() {
                sim.carry_out(sim.core.permit_freed(at(10)), at(10));
            }
        }));
        sim
    }

    /// A pool with this many connections, all of them taken out.
    pub(crate) fn in_use(max_size: u32) -> (Arc<Sim>, Vec<Conn>) {
        Sim::in_use_with_fates(max_size, Vec::new())
    }

    pub(crate) fn in_use_with_fates(max_size: u32, fates: Fates) -> (Arc<Sim>, Vec<Conn>) {
        let sim = Sim::new(max_size);
        let open = (0..max_size).map(|_| {
            let order = sim.core.refill(1, at(0)).expect("a permit is free");
            sim.carry_out(vec![order], at(0));
            sim.take(at(0)).expect("it is idle")
        });
        let conns = open.collect();
        *sim.fates.lock().expect("no model panics with it") = fates.into_iter().rev().collect();
        (sim, conns)
    }

    pub(crate) fn take(&self, now: Instant) -> Option<Conn> {
        match self.core.take(now) {
            Take::Idle(conn) => Some(conn),
            Take::Nothing | Take::Closed => None,
        }
    }

    /// Carries orders out, and those that follow from them.
    pub(crate) fn carry_out(&self, orders: Vec<Order>, now: Instant) {
        let mut orders = orders;
        while let Some(order) = orders.pop() {
            orders.extend(self.dial(order, now));
        }
    }

    pub(crate) fn dial(&self, order: Order, now: Instant) -> Vec<Order> {
        let Order { permit, ticket } = order;
        let fate = self.fates.lock().expect("no model panics with it").pop();
        match fate {
            None => {
                let conn = Conn { held_by: Vec::new(), permit };
                let (late, orders) = self.core.dial_succeeded(ticket, conn, now);
                drop(late);
                orders
            }
            Some(fate) => {
                drop(permit);
                self.core.dial_failed(ticket, &"it failed", fate == Fate::Full, now)
            }
        }
    }

    pub(crate) fn check_in(&self, conn: Conn, now: Instant) {
        drop(self.core.check_in(conn, now));
    }

    /// Closes a connection that is in use; the server lets go of it at once.
    pub(crate) fn discard(&self, conn: Conn) {
        self.core.removed();
        drop(conn.permit);
    }

    /// The same, with a server that does not let go: no permit comes back.
    pub(crate) fn discard_quietly(&self, conn: Conn) {
        self.core.removed();
        std::mem::forget(conn);
    }

    /// Joins the queue of a pool that has nothing idle, and leaves the orders to
    /// the caller.
    pub(crate) fn queue_up(&self, now: Instant) -> (Place, Vec<Order>) {
        match self.core.join(None, None, now) {
            Join::Queued(place, orders) => (place, orders),
            _ => unreachable!("nothing is idle"),
        }
    }

    /// Joins the queue without waiting yet.
    pub(crate) fn join(&self, now: Instant) -> Joined {
        match self.core.join(None, None, now) {
            Join::Idle(conn) => Joined::Got(conn),
            Join::Queued(place, orders) => {
                self.carry_out(orders, now);
                Joined::Waits(place)
            }
            Join::Failed(_) | Join::Full(_) | Join::Closed => Joined::Refused,
        }
    }

    /// Checks out, however long it takes: a delivery that never comes is found
    /// by loom.
    pub(crate) fn get(&self, now: Instant) -> Option<Conn> {
        match self.join(now) {
            Joined::Got(conn) => Some(conn),
            Joined::Refused => None,
            Joined::Waits(place) => self.wait(&place, now),
        }
    }

    /// Waits as a caller does: sees to the next attempt whenever it is woken.
    pub(crate) fn wait(&self, place: &Place, mut now: Instant) -> Option<Conn> {
        loop {
            match self.core.wait(place, never(), now) {
                Some(Delivery::Connection(conn)) => return Some(conn),
                Some(Delivery::Failed(_) | Delivery::Closed) => return None,
                None => {}
            }
            // As if the next attempt had become due meanwhile.
            now += Duration::from_secs(2);
            self.carry_out(self.core.plan(now), now);
        }
    }

    /// Gives up at once; what comes at the last moment is given back.
    pub(crate) fn leave(&self, place: &Place, now: Instant) {
        if let Some(Delivery::Connection(conn)) = self.core.leave(place) {
            self.check_in(conn, now);
        }
    }

    /// All is at rest, and so many connections are idle.
    #[track_caller]
    pub(crate) fn rests_with(&self, idle: u32) {
        let now = self.core.counts();
        assert_eq!((now.idle, now.in_use, now.pending, now.waiting), (idle, 0, 0, 0));
        assert_eq!(now.used_permits, idle, "each idle connection has a permit, and nothing else");
    }
}

pub(crate) enum Joined {
    Got(Conn),
    Waits(Place),
    Refused,
}
