//! A simulation around a core: callers, dials, a housekeeper, a closer.

mod idle_checks;

use super::sync::{Arc, SLOTS, Signal, last_wait, set_slot};
use crate::core::{Core, DialOrder, Failure, Handover, Join, Take, Ticket};
use crate::permits::{Permit, Permits};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long newcomers may overtake the head of the queue.
const OVERTAKE_LIMIT: Duration = Duration::from_millis(1);

/// How long the waiter that plans attempts sleeps at most.
const POLL: Duration = Duration::from_millis(100);

/// A connection with its number and its permit.
struct Conn {
    number: u64,
    permit: Permit,
}

/// A caller in the queue.
struct Waiter {
    core_ticket: Ticket,
    /// The order of tickets is the order of joining for the first time.
    ticket: u64,
    arrived: Instant,
    deadline: Instant,
    until: Instant,
    signal: Signal,
    /// What the core has handed over and the waiter has not fetched yet.
    delivered: Option<Delivered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    Connection,
    Failure,
    End,
}

pub(super) struct Simulation {
    chance: Rng,
    now: Instant,
    core: Core<Conn, u32>,
    permits: Arc<Permits>,
    /// Released permits that the core has not been notified of yet.
    freed: Arc<AtomicU32>,
    /// By ticket.
    queue: Vec<Waiter>,
    tickets: u64,
    held: Vec<Conn>,
    /// The connections that are being checked, and their position.
    borrowed: Vec<(usize, Vec<Conn>)>,
    dials: Vec<DialOrder>,
    closing: Vec<Conn>,
    opened: u64,
    /// The numbers of the connections that the server still has.
    live: BTreeSet<u64>,
    limit: u32,
    closed: bool,
    steps: usize,
}

const NO_TIME: Duration = Duration::ZERO;

impl Simulation {
    pub(super) fn new(seed: u64) -> Simulation {
        let mut chance = Rng::with_seed(seed);
        let limit = chance.u32(1..6);
        let permits = Permits::new(limit);
        let freed = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&freed);
        permits.listen(Arc::new(move || {
            count.fetch_add(1, Relaxed);
        }));
        Simulation {
            chance,
            now: Instant::now(),
            core: Core::new(Arc::clone(&permits)),
            permits,
            freed,
            queue: Vec::new(),
            tickets: 0,
            held: Vec::new(),
            borrowed: Vec::new(),
            dials: Vec::new(),
            closing: Vec::new(),
            opened: 0,
            live: BTreeSet::new(),
            limit,
            closed: false,
            steps: 0,
        }
    }

    /// Does one random step, then checks all invariants.
    pub(super) fn step(&mut self) {
        self.steps += 1;
        set_slot(self.chance.usize(..SLOTS));
        match self.chance.u32(..100) {
            0..12 => self.newcomer(),
            12..27 => self.caller(),
            27..47 => self.check_in(),
            47..51 => self.discard(),
            51..58 => self.finish_closing(),
            58..71 => self.finish_dial(),
            71..80 => self.wake_one(),
            80..83 => self.leave(),
            83..88 => self.check_idle(),
            88..90 => self.retire(),
            90..92 => self.refill(),
            92..93 => self.change_limit(),
            93..94 => self.lose_trust(),
            _ => self.pass_time(),
        }
        self.notify_of_permits();
        // To look at the levels empties the slots, which are shut while a caller waits.
        if self.waiting() > 0 || self.chance.u8(..4) == 0 {
            self.check();
        }
    }

    fn waiting(&self) -> usize {
        self.queue.iter().filter(|waiter| waiter.delivered.is_none()).count()
    }

    fn pass_time(&mut self) {
        let micros = if self.chance.u8(..8) == 0 { 150_000 } else { 1_500 };
        self.now += Duration::from_micros(self.chance.u64(..micros));
    }

    /// Returns `true` if newcomers must not overtake the head of the queue now.
    fn head_has_priority(&self) -> bool {
        let head = self.queue.iter().find(|waiter| waiter.delivered.is_none());
        head.is_some_and(|head| self.now - head.arrived >= OVERTAKE_LIMIT)
    }

    fn newcomer(&mut self) {
        let found = self.core.take(|| self.now);
        self.note_deliveries(Delivered::Connection);
        match found {
            Take::Idle(conn) => {
                assert!(!self.head_has_priority(), "a newcomer overtook a waiter past the limit");
                self.hold(conn);
            }
            Take::Nothing => {
                assert!(!self.closed);
                let mut idle = 0;
                self.core.for_each_idle(|_| idle += 1);
                assert!(idle == 0 || self.head_has_priority(), "{idle} idle ones were not found");
            }
            Take::Closed => assert!(self.closed),
        }
    }

    fn hold(&mut self, conn: Conn) {
        let number = conn.number;
        assert!(self.live.contains(&number), "connection {number} was gone");
        assert!(self.held.iter().all(|held| held.number != number), "{number} twice");
        self.held.push(conn);
    }

    fn caller(&mut self) {
        let timeout = Duration::from_micros(self.chance.u64(..300_000));
        self.join(None, self.now + timeout);
    }

    fn join(&mut self, rejoin: Option<(Ticket, u64, Instant)>, deadline: Instant) {
        let limit = (self.chance.u8(..4) == 0).then_some(3);
        let waiting = self.waiting();
        let kept = rejoin.as_ref().map(|(core_ticket, ..)| core_ticket);
        let outcome = self.core.join(kept, limit, self.now);
        if !matches!(outcome, Join::Queued(..)) {
            self.note_deliveries(Delivered::Connection);
        }
        match outcome {
            Join::Idle(conn) => {
                assert!(!self.head_has_priority(), "a newcomer overtook a waiter past the limit");
                self.hold(conn);
            }
            Join::Queued(core_ticket, orders) => {
                let (ticket, arrived) = rejoin.map_or_else(
                    || (self.next_ticket(), self.now),
                    |(_, ticket, arrived)| (ticket, arrived),
                );
                self.enqueue(core_ticket, ticket, arrived, deadline);
                self.dials.extend(orders);
                self.wait(ticket);
            }
            Join::Failed(_) => assert_eq!(self.core.counts().idle + self.core.counts().in_use, 0),
            Join::Full(most) => {
                assert!(rejoin.is_none(), "a waiter that kept its position was refused");
                assert!(waiting >= most as usize && Some(most) == limit);
            }
            Join::Closed => assert!(self.closed),
        }
    }

    fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets - 1
    }

    fn enqueue(&mut self, core_ticket: Ticket, ticket: u64, arrived: Instant, deadline: Instant) {
        // The core may have served others before it queued this one.
        self.note_all_but(self.core.counts().waiting as usize - 1, Delivered::Connection);
        let behind = self.queue.iter().position(|other| other.ticket > ticket);
        let (until, signal, delivered) = (self.now, Signal::default(), None);
        let waiter = Waiter { core_ticket, ticket, arrived, deadline, until, signal, delivered };
        self.queue.insert(behind.unwrap_or(self.queue.len()), waiter);
    }

    /// Fetches what was handed over, or records the wait; returns `true` if the waiter left.
    fn wait(&mut self, ticket: u64) -> bool {
        let place = self.position(ticket);
        let waiter = &self.queue[place];
        let is_head = self.queue[..place].iter().all(|other| other.delivered.is_some());
        let expected = waiter.delivered;
        let got = self.core.wait(&waiter.core_ticket, waiter.deadline, self.now + POLL, self.now);
        let Some(delivery) = got else {
            assert_eq!(expected, None, "what was handed over could not be fetched");
            let (signal, until) = last_wait();
            let waiter = &mut self.queue[place];
            (waiter.signal, waiter.until) = (signal, until);
            return false;
        };
        let waiter = self.queue.remove(place);
        assert!(expected.is_some() || is_head, "ticket {ticket} overtook another");
        match delivery {
            Handover::Connection(conn) => {
                assert!(matches!(expected, None | Some(Delivered::Connection)));
                self.use_or_find_dead(conn, waiter);
            }
            Handover::Failed(_) => assert_eq!(expected, Some(Delivered::Failure)),
            Handover::Closed => assert_eq!(expected, Some(Delivered::End)),
        }
        true
    }

    /// Most connections are healthy; a waiter that gets a dead one keeps its position.
    fn use_or_find_dead(&mut self, conn: Conn, waiter: Waiter) {
        self.hold(conn);
        if self.chance.u8(..8) == 0 && !self.closed {
            let dead = self.held.pop().expect("just held");
            self.core.removed();
            self.closing.push(dead);
            let rejoin = (waiter.core_ticket, waiter.ticket, waiter.arrived);
            self.join(Some(rejoin), waiter.deadline);
        }
    }

    fn position(&self, ticket: u64) -> usize {
        let found = self.queue.iter().position(|waiter| waiter.ticket == ticket);
        found.expect("it is in the queue")
    }

    /// Records that the core has served the waiters that are missing from its queue:
    /// the first ones.
    fn note_deliveries(&mut self, what: Delivered) {
        if self.waiting() > 0 {
            self.note_all_but(self.core.counts().waiting as usize, what);
        }
    }

    fn note_all_but(&mut self, waiting: usize, what: Delivered) {
        let served = self.waiting().checked_sub(waiting).expect("the core has no unknown waiter");
        let undelivered = self.queue.iter_mut().filter(|waiter| waiter.delivered.is_none());
        for waiter in undelivered.take(served) {
            waiter.delivered = Some(what);
        }
    }

    fn check_in(&mut self) {
        let Some(conn) = self.any_held() else { return };
        let returned = self.core.check_in(conn, || self.now).unwrap_or_default();
        assert_eq!(returned.len(), usize::from(self.closed));
        self.closing.extend(returned);
        self.note_deliveries(Delivered::Connection);
    }

    fn discard(&mut self) {
        let Some(conn) = self.any_held() else { return };
        self.core.removed();
        self.closing.push(conn);
    }

    fn any_held(&mut self) -> Option<Conn> {
        let place = self.chance.usize(..self.held.len().max(1));
        (place < self.held.len()).then(|| self.held.swap_remove(place))
    }

    /// The server closes a connection.
    fn finish_closing(&mut self) {
        if self.closing.is_empty() {
            return;
        }
        let place = self.chance.usize(..self.closing.len());
        let gone = self.closing.swap_remove(place);
        assert!(self.live.remove(&gone.number), "connection {} was gone", gone.number);
        drop(gone.permit);
    }

    fn notify_of_permits(&mut self) {
        while self.freed.load(Relaxed) > 0 {
            self.freed.fetch_sub(1, Relaxed);
            let orders = self.core.permit_freed(self.now);
            self.dials.extend(orders);
        }
    }

    fn finish_dial(&mut self) {
        if self.dials.is_empty() {
            return;
        }
        let place = self.chance.usize(..self.dials.len());
        let order = self.dials.swap_remove(place);
        match self.chance.u8(..10) {
            0..7 => self.dial_succeeds(order),
            7 => self.dial_fails(order, Failure::Fails),
            8 => self.dial_fails(order, Failure::Refused),
            9 if self.chance.bool() => self.dial_fails(order, Failure::Starting),
            _ => self.dial_fails(order, Failure::Waits),
        }
    }

    fn dial_succeeds(&mut self, order: DialOrder) {
        self.opened += 1;
        self.live.insert(self.opened);
        let conn = Conn { number: self.opened, permit: order.permit };
        let opened = self.core.dial_succeeded(order.id, conn, self.now);
        assert_eq!(opened.late.is_some(), self.closed);
        self.closing.extend(opened.late);
        self.dials.extend(opened.orders);
        self.note_deliveries(Delivered::Connection);
    }

    fn dial_fails(&mut self, order: DialOrder, failure: Failure) {
        drop(order.permit);
        let before = self.core.counts();
        let (orders, _) = self.core.dial_failed(order.id, &7, failure, self.now);
        let waits = failure.waits();
        self.dials.extend(orders);
        let after = self.core.counts();
        let failed = before.waiting - after.waiting;
        let open = before.idle + before.in_use;
        assert!(failed == 0 || open == 0 && !waits, "{failed} failed with {open} open");
        let served = |waiter: &&mut Waiter| Some(waiter.ticket) == order.id.ticket();
        match (failed, self.queue.iter_mut().find(served)) {
            (1, Some(served)) if served.delivered.is_none() => {
                served.delivered = Some(Delivered::Failure);
            }
            _ => self.note_deliveries(Delivered::Failure),
        }
    }

    /// Wakes a waiter that was signalled or whose deadline has passed.
    fn wake_one(&mut self) {
        let awake = |waiter: &&Waiter| waiter.signal.is_set() || waiter.until <= self.now;
        let tickets: Vec<u64> = self.queue.iter().filter(awake).map(|s| s.ticket).collect();
        let Some(ticket) = self.chance.choice(tickets) else { return };
        if self.wait(ticket) {
            return;
        }
        let place = self.position(ticket);
        if self.queue[place].deadline <= self.now {
            self.leave_from(place);
        } else {
            let orders = self.core.plan(self.now);
            self.dials.extend(orders);
            self.wait(ticket);
        }
    }

    fn leave(&mut self) {
        if !self.queue.is_empty() {
            let place = self.chance.usize(..self.queue.len());
            self.leave_from(place);
        }
    }

    fn leave_from(&mut self, place: usize) {
        let waiter = self.queue.remove(place);
        match self.core.leave(&waiter.core_ticket) {
            Some(Handover::Connection(conn)) => {
                assert_eq!(waiter.delivered, Some(Delivered::Connection));
                self.hold(conn);
            }
            Some(Handover::Failed(_)) => assert_eq!(waiter.delivered, Some(Delivered::Failure)),
            Some(Handover::Closed) => assert_eq!(waiter.delivered, Some(Delivered::End)),
            None => assert_eq!(waiter.delivered, None, "what was handed over is lost"),
        }
    }

    fn retire(&mut self) {
        let (odd, min_idle) = (self.chance.bool(), self.chance.u32(..3));
        let idle = self.core.counts().idle;
        let too_old = |conn: &Conn| conn.number.is_multiple_of(13);
        let due = self.core.retire_idle(min_idle, |conn| (conn.number % 2 == 1) == odd, too_old);
        let young = due.iter().filter(|conn| !too_old(conn)).count();
        assert!(young <= idle.saturating_sub(min_idle) as usize, "{young} of {idle} retired");
        self.closing.extend(due);
    }

    fn refill(&mut self) {
        let wanted = self.chance.u32(..3);
        self.dials.extend(self.core.refill(wanted, self.now));
    }

    fn change_limit(&mut self) {
        self.limit = self.chance.u32(1..6);
        self.permits.set_limit(self.limit);
        let orders = self.core.permit_freed(self.now);
        self.dials.extend(orders);
    }

    fn check(&self) {
        self.check_counts();
        self.check_that_a_waiter_is_awake();
        for waiter in &self.queue {
            let is_woken = waiter.delivered.is_none() || waiter.signal.is_set();
            assert!(is_woken, "ticket {} was not woken for what was handed over", waiter.ticket);
        }
    }

    fn check_counts(&self) {
        let counts = self.core.counts();
        let given = Some(Delivered::Connection);
        let handed_over = self.queue.iter().filter(|waiter| waiter.delivered == given).count();
        let (held, dials) = (self.held.len(), self.dials.len());
        assert_eq!(counts.in_use as usize, held + handed_over, "step {}", self.steps);
        assert_eq!(counts.pending as usize, dials, "step {}", self.steps);
        let open = (counts.idle + counts.in_use) as usize;
        assert_eq!(self.live.len(), open + self.closing.len(), "step {}", self.steps);
        assert_eq!(counts.used_permits as usize, self.live.len() + dials, "step {}", self.steps);
    }

    /// No waiter sleeps while it could be served: the head is awake if a connection
    /// is idle, and one waiter, no more, wakes for the next attempt.
    fn check_that_a_waiter_is_awake(&self) {
        let waiting = self.queue.iter().filter(|waiter| waiter.delivered.is_none());
        let Some(head) = waiting.clone().next() else { return };
        let counts = self.core.counts();
        let idle = counts.idle as usize - self.under_check();
        let wakes = |waiter: &Waiter| waiter.signal.is_set() || waiter.until <= self.now;
        assert!(idle == 0 || wakes(head), "{idle} idle, and ticket {} sleeps", head.ticket);
        let soon = self.now + POLL;
        let is_awake = waiting.clone().any(|waiter| wakes(waiter) || waiter.until <= soon);
        assert!(is_awake, "no waiter wakes for the next attempt");
        let planners = waiting.filter(|waiter| !wakes(waiter) && waiter.until < waiter.deadline);
        assert!(planners.count() <= 1, "more than one waiter wakes for the next attempt");
    }

    /// The server may be down, a new connection was lost, or one has served.
    fn lose_trust(&mut self) {
        match self.chance.u8(..3) {
            0 => self.core.forbid_extra_attempts(),
            1 => self.core.new_connection_lost(self.now),
            _ => self.core.new_connection_served(),
        }
    }

    /// Closes the pool; all waiters return, and every connection is closed.
    pub(super) fn end(mut self) {
        self.closed = true;
        self.closing.extend(self.core.close());
        self.note_deliveries(Delivered::End);
        self.check();
        assert!(!self.core.wait_settled(self.now, || self.now) || self.live.is_empty());
        while let Some(waiter) = self.queue.first() {
            let ticket = waiter.ticket;
            assert!(self.wait(ticket), "ticket {ticket} returns after the close");
        }
        while !(self.dials.is_empty() && self.held.is_empty() && self.borrowed.is_empty()) {
            self.finish_dial();
            self.check_in();
            self.check_idle();
            self.notify_of_permits();
            self.check();
        }
        while !self.closing.is_empty() {
            self.finish_closing();
        }
        assert!(self.live.is_empty(), "connections {:?} were not closed", self.live);
        assert!(self.core.wait_settled(self.now + NO_TIME, || self.now));
        assert_eq!(self.permits.usage().used, 0);
    }
}
