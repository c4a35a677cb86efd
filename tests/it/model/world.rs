//! One small world around a core: callers, dials, a keeper, a closer.

use super::sync::{Arc, Bell, last_wait};
use crate::budget::{Budget, Permit};
use crate::core::{Core, Delivery, Join, Order, Place, Take};
use fastrand::Rng;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long the head of the queue may be overtaken, as the law has it.
const PATIENCE: Duration = Duration::from_millis(1);

/// A connection with its number and its permit.
struct Conn {
    number: u64,
    permit: Permit,
}

/// Somebody in the queue.
struct Sleeper {
    place: Place,
    /// The order of tickets is the order of joining for the first time.
    ticket: u64,
    arrived: Instant,
    deadline: Instant,
    until: Instant,
    bell: Bell,
    /// The core has handed it something that it has not fetched yet.
    delivered: Option<Delivered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    Connection,
    Failure,
    End,
}

pub(super) struct World {
    chance: Rng,
    now: Instant,
    core: Core<Conn, u32>,
    budget: Arc<Budget>,
    /// Permits that came back and were not told to the core yet.
    freed: Arc<AtomicU32>,
    /// By ticket.
    queue: Vec<Sleeper>,
    tickets: u64,
    held: Vec<Conn>,
    /// What the keeper has in its hands, and from where.
    looked_at: Option<(usize, Vec<Conn>)>,
    dials: Vec<Order>,
    closing: Vec<Conn>,
    opened: u64,
    /// The numbers of the connections that are not gone yet.
    live: BTreeSet<u64>,
    limit: u32,
    closed: bool,
    steps: usize,
}

const NO_TIME: Duration = Duration::ZERO;

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut chance = Rng::with_seed(seed);
        let limit = chance.u32(1..6);
        let budget = Budget::new(limit);
        let freed = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&freed);
        budget.listen(Arc::new(move || {
            count.fetch_add(1, Relaxed);
        }));
        World {
            chance,
            now: Instant::now(),
            core: Core::new(Arc::clone(&budget)),
            budget,
            freed,
            queue: Vec::new(),
            tickets: 0,
            held: Vec::new(),
            looked_at: None,
            dials: Vec::new(),
            closing: Vec::new(),
            opened: 0,
            live: BTreeSet::new(),
            limit,
            closed: false,
            steps: 0,
        }
    }

    /// Does one thing by chance, then checks all laws.
    pub(super) fn step(&mut self) {
        self.steps += 1;
        match self.chance.u32(..100) {
            0..12 => self.newcomer(),
            12..27 => self.caller(),
            27..47 => self.check_in(),
            47..51 => self.discard(),
            51..58 => self.finish_closing(),
            58..71 => self.finish_dial(),
            71..80 => self.wake_one(),
            80..83 => self.leave(),
            83..88 => self.look(),
            88..90 => self.retire(),
            90..92 => self.refill(),
            92..93 => self.change_limit(),
            93..94 => self.core.distrust(),
            _ => self.pass_time(),
        }
        self.hear_permits();
        self.check();
    }

    fn pass_time(&mut self) {
        let micros = if self.chance.u8(..8) == 0 { 150_000 } else { 1_500 };
        self.now += Duration::from_micros(self.chance.u64(..micros));
    }

    /// Tells whether the head of the queue must not be overtaken now.
    fn head_is_patient(&self) -> bool {
        let head = self.queue.iter().find(|sleeper| sleeper.delivered.is_none());
        head.is_some_and(|head| self.now - head.arrived >= PATIENCE)
    }

    fn newcomer(&mut self) {
        let found = self.core.take(self.now);
        self.note_deliveries(Delivered::Connection);
        match found {
            Take::Idle(conn) => {
                assert!(!self.head_is_patient(), "a newcomer overtook a patient waiter");
                self.hold(conn);
            }
            Take::Nothing => assert!(!self.closed),
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
        let patience = Duration::from_micros(self.chance.u64(..300_000));
        self.join(None, self.now + patience);
    }

    fn join(&mut self, place: Option<(Place, u64, Instant)>, deadline: Instant) {
        let limit = (self.chance.u8(..4) == 0).then_some(3);
        let waiting = self.core.counts().waiting;
        let kept = place.as_ref().map(|(place, ..)| place);
        let outcome = self.core.join(kept, limit, self.now);
        if !matches!(outcome, Join::Queued(..)) {
            self.note_deliveries(Delivered::Connection);
        }
        match outcome {
            Join::Idle(conn) => {
                assert!(!self.head_is_patient(), "a newcomer overtook a patient waiter");
                self.hold(conn);
            }
            Join::Queued(place_now, orders) => {
                let (ticket, arrived) = place.map_or_else(
                    || (self.next_ticket(), self.now),
                    |(_, ticket, arrived)| (ticket, arrived),
                );
                self.enqueue(place_now, ticket, arrived, deadline);
                self.dials.extend(orders);
                self.sleep(ticket);
            }
            Join::Failed(_) => assert_eq!(self.core.counts().idle + self.core.counts().in_use, 0),
            Join::Full(most) => {
                assert!(place.is_none(), "who comes back to its place was turned away");
                assert!(waiting >= most && Some(most) == limit);
            }
            Join::Closed => assert!(self.closed),
        }
    }

    fn next_ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets - 1
    }

    fn enqueue(&mut self, place: Place, ticket: u64, arrived: Instant, deadline: Instant) {
        // The core may have served others before it queued this one.
        self.note_all_but(self.core.counts().waiting as usize - 1, Delivered::Connection);
        let behind = self.queue.iter().position(|other| other.ticket > ticket);
        let (until, bell, delivered) = (self.now, Bell::default(), None);
        let sleeper = Sleeper { place, ticket, arrived, deadline, until, bell, delivered };
        self.queue.insert(behind.unwrap_or(self.queue.len()), sleeper);
    }

    /// Waits, as far as one can wait here: gets what is there, or sleeps.
    fn sleep(&mut self, ticket: u64) -> bool {
        let place = self.position(ticket);
        let sleeper = &self.queue[place];
        let is_head = self.queue[..place].iter().all(|other| other.delivered.is_some());
        let expected = sleeper.delivered;
        let got = self.core.wait(&sleeper.place, sleeper.deadline, self.now);
        let Some(delivery) = got else {
            assert_eq!(expected, None, "what was delivered was not there");
            let (bell, until) = last_wait();
            let sleeper = &mut self.queue[place];
            (sleeper.bell, sleeper.until) = (bell, until);
            return false;
        };
        let sleeper = self.queue.remove(place);
        assert!(expected.is_some() || is_head, "ticket {ticket} overtook another");
        match delivery {
            Delivery::Connection(conn) => {
                assert!(matches!(expected, None | Some(Delivered::Connection)));
                self.use_or_find_dead(conn, sleeper);
            }
            Delivery::Failed(_) => assert_eq!(expected, Some(Delivered::Failure)),
            Delivery::Closed => assert_eq!(expected, Some(Delivered::End)),
        }
        true
    }

    /// Most connections are healthy; who gets a dead one waits on in its place.
    fn use_or_find_dead(&mut self, conn: Conn, sleeper: Sleeper) {
        self.hold(conn);
        if self.chance.u8(..8) == 0 && !self.closed {
            let dead = self.held.pop().expect("just held");
            self.core.removed();
            self.closing.push(dead);
            let place = (sleeper.place, sleeper.ticket, sleeper.arrived);
            self.join(Some(place), sleeper.deadline);
        }
    }

    fn position(&self, ticket: u64) -> usize {
        let found = self.queue.iter().position(|sleeper| sleeper.ticket == ticket);
        found.expect("it is in the queue")
    }

    /// Those who are missing from the core's queue were given something: the
    /// first in line, whatever it was.
    fn note_deliveries(&mut self, what: Delivered) {
        self.note_all_but(self.core.counts().waiting as usize, what);
    }

    fn note_all_but(&mut self, waiting: usize, what: Delivered) {
        let here = self.queue.iter().filter(|sleeper| sleeper.delivered.is_none()).count();
        let served = here.checked_sub(waiting).expect("the core has a waiter that nobody knows");
        let undelivered = self.queue.iter_mut().filter(|sleeper| sleeper.delivered.is_none());
        for sleeper in undelivered.take(served) {
            sleeper.delivered = Some(what);
        }
    }

    fn check_in(&mut self) {
        let Some(conn) = self.any_held() else { return };
        let returned = self.core.check_in(conn, self.now);
        assert_eq!(returned.is_some(), self.closed);
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

    /// The server lets go of a connection.
    fn finish_closing(&mut self) {
        if self.closing.is_empty() {
            return;
        }
        let place = self.chance.usize(..self.closing.len());
        let gone = self.closing.swap_remove(place);
        assert!(self.live.remove(&gone.number), "connection {} was gone", gone.number);
        drop(gone.permit);
    }

    fn hear_permits(&mut self) {
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
            7..9 => self.dial_fails(order, false),
            _ => self.dial_fails(order, true),
        }
    }

    fn dial_succeeds(&mut self, order: Order) {
        self.opened += 1;
        self.live.insert(self.opened);
        let conn = Conn { number: self.opened, permit: order.permit };
        let (late, orders) = self.core.dial_succeeded(order.ticket, conn, self.now);
        assert_eq!(late.is_some(), self.closed);
        self.closing.extend(late);
        self.dials.extend(orders);
        self.note_deliveries(Delivered::Connection);
    }

    fn dial_fails(&mut self, order: Order, waits: bool) {
        drop(order.permit);
        let orders = self.core.dial_failed(order.ticket, &7, waits, self.now);
        let told = self.queue.iter_mut().find(|sleeper| Some(sleeper.ticket) == order.ticket);
        if let Some(told) = told.filter(|told| told.delivered.is_none() && !waits) {
            told.delivered = Some(Delivered::Failure);
        }
        self.dials.extend(orders);
        let counts = self.core.counts();
        if !waits && counts.waiting == 0 {
            self.note_deliveries(Delivered::Failure);
        }
        let here = self.queue.iter().filter(|sleeper| sleeper.delivered.is_none()).count();
        assert_eq!(here, counts.waiting as usize, "told whom it was opened for, or all");
    }

    /// Somebody who was signalled, or whose time is over, looks again.
    fn wake_one(&mut self) {
        let awake = |sleeper: &&Sleeper| sleeper.bell.has_rung() || sleeper.until <= self.now;
        let tickets: Vec<u64> = self.queue.iter().filter(awake).map(|s| s.ticket).collect();
        let Some(ticket) = self.chance.choice(tickets) else { return };
        if self.sleep(ticket) {
            return;
        }
        let place = self.position(ticket);
        if self.queue[place].deadline <= self.now {
            self.leave_from(place);
        } else {
            let orders = self.core.plan(self.now);
            self.dials.extend(orders);
            self.sleep(ticket);
        }
    }

    fn leave(&mut self) {
        if !self.queue.is_empty() {
            let place = self.chance.usize(..self.queue.len());
            self.leave_from(place);
        }
    }

    fn leave_from(&mut self, place: usize) {
        let sleeper = self.queue.remove(place);
        match self.core.leave(&sleeper.place) {
            Some(Delivery::Connection(conn)) => {
                assert_eq!(sleeper.delivered, Some(Delivered::Connection));
                self.hold(conn);
            }
            Some(Delivery::Failed(_)) => assert_eq!(sleeper.delivered, Some(Delivered::Failure)),
            Some(Delivery::Closed) => assert_eq!(sleeper.delivered, Some(Delivered::End)),
            None => assert_eq!(sleeper.delivered, None, "what was delivered is lost"),
        }
    }

    /// The keeper takes some idle connections out, or puts back those that it has.
    fn look(&mut self) {
        let Some((place, mut healthy)) = self.looked_at.take() else {
            let place = self.chance.usize(..3);
            let taken = self.core.borrow_idle(place, 2);
            self.looked_at = (!taken.is_empty()).then_some((place, taken));
            return;
        };
        let gone = self.chance.usize(..=healthy.len()) / 2;
        self.closing.extend(healthy.drain(..gone));
        let (late, orders) = self.core.return_idle(place, healthy, gone, self.now);
        assert!(late.is_empty() || self.closed);
        self.closing.extend(late);
        self.dials.extend(orders);
        self.note_deliveries(Delivered::Connection);
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
        self.budget.set_limit(self.limit);
        let orders = self.core.permit_freed(self.now);
        self.dials.extend(orders);
    }

    fn check(&self) {
        self.check_books();
        self.check_that_somebody_sees_to_it();
        for sleeper in &self.queue {
            let knows = sleeper.delivered.is_none() || sleeper.bell.has_rung();
            assert!(knows, "ticket {} was not woken for what it was given", sleeper.ticket);
        }
    }

    fn check_books(&self) {
        let counts = self.core.counts();
        let given = Some(Delivered::Connection);
        let on_its_way = self.queue.iter().filter(|sleeper| sleeper.delivered == given).count();
        let (held, dials) = (self.held.len(), self.dials.len());
        assert_eq!(counts.in_use as usize, held + on_its_way, "step {}", self.steps);
        assert_eq!(counts.pending as usize, dials, "step {}", self.steps);
        let open = (counts.idle + counts.in_use) as usize;
        assert_eq!(self.live.len(), open + self.closing.len(), "step {}", self.steps);
        assert_eq!(counts.used_permits as usize, self.live.len() + dials, "step {}", self.steps);
    }

    /// Nobody sleeps while there is something to have: the head is awake if
    /// something is idle; if an attempt is withheld, somebody wakes for it.
    fn check_that_somebody_sees_to_it(&self) {
        let mut waiting = self.queue.iter().filter(|sleeper| sleeper.delivered.is_none());
        let Some(head) = waiting.clone().next() else { return };
        let counts = self.core.counts();
        let borrowed = self.looked_at.as_ref().map_or(0, |(_, conns)| conns.len());
        let idle = counts.idle as usize - borrowed;
        let wakes = |sleeper: &Sleeper| sleeper.bell.has_rung() || sleeper.until <= self.now;
        assert!(idle == 0 || wakes(head), "{idle} idle, and ticket {} sleeps", head.ticket);
        let supply = idle + borrowed + self.dials.len();
        let a_permit = counts.used_permits < counts.limit;
        if a_permit && counts.waiting as usize > supply {
            let soon = self.now + Duration::from_secs(1);
            let seen_to = waiting.any(|sleeper| wakes(sleeper) || sleeper.until <= soon);
            assert!(seen_to, "a permit is free, and all who wait sleep for long");
        }
    }

    /// Closes the pool; everybody is told, and every connection comes to its end.
    pub(super) fn end(mut self) {
        self.closed = true;
        self.closing.extend(self.core.close());
        self.note_deliveries(Delivered::End);
        self.check();
        assert!(!self.core.wait_settled(self.now, || self.now) || self.live.is_empty());
        while let Some(sleeper) = self.queue.first() {
            let ticket = sleeper.ticket;
            assert!(self.sleep(ticket), "ticket {ticket} is told of the end");
        }
        while !(self.dials.is_empty() && self.held.is_empty() && self.looked_at.is_none()) {
            self.finish_dial();
            self.check_in();
            if self.looked_at.is_some() {
                self.look();
            }
            self.hear_permits();
            self.check();
        }
        while !self.closing.is_empty() {
            self.finish_closing();
        }
        assert!(self.live.is_empty(), "{:?} are lost", self.live);
        assert!(self.core.wait_settled(self.now + NO_TIME, || self.now));
        assert_eq!(self.budget.usage().used, 0);
    }
}
