//! The state of one pool and its transitions: who is next, what is owed to whom,
//! when an attempt to open is due. Each is a few instructions under the core's lock.

use super::{Delivery, Order, Place};
use crate::budget::Budget;
use crate::sync::{Arc, Condvar};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long the head of the queue may be overtaken by newcomers.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1);

/// Attempts to open are this far apart while nothing is known to work.
const ATTEMPT_GAP: Duration = Duration::from_millis(100);

/// The same while an earlier attempt of an outage has not come back yet.
const STALLED_GAP: Duration = Duration::from_secs(1);

pub(super) struct State<T, E> {
    /// The back is the connection used last; check-out takes from there.
    pub(super) idle: VecDeque<T>,
    /// Law: connections outside `idle` that were taken, handed or not yet fetched.
    pub(super) in_use: u32,
    /// Law: orders given out and not reported back.
    pub(super) pending: u32,
    /// Law: connections the keeper took out of `idle` for a moment.
    pub(super) checking: u32,
    /// Those who wait, by ticket: the order of the tickets is the order of service.
    pub(super) queue: BTreeMap<u64, Waiting>,
    /// What was given to a waiter who has not fetched it yet; counted as in use.
    pub(super) handed: BTreeMap<u64, Delivery<T, E>>,
    pub(super) next_ticket: u64,
    pub(super) outage: Option<Outage<E>>,
    /// How many attempts beyond one may be under way: none after a failure or a
    /// sign of one, more with every success. A herd must not run against a server
    /// that has just died before the first attempt has come back.
    pub(super) trust: u32,
    /// When the last attempt began that has not been followed by a success.
    pub(super) last_attempt: Option<Instant>,
    pub(super) closed: bool,
}

pub(super) struct Waiting {
    pub(super) arrived: Instant,
    /// An order was given for this waiter; a failure is told to it.
    pub(super) dialled: bool,
    /// It was woken because something is idle, and has not looked yet.
    pub(super) nudged: bool,
    pub(super) signal: Arc<Condvar>,
}

/// The last attempts to open failed.
pub(super) struct Outage<E> {
    pub(super) error: E,
    /// The cause passes by itself: callers wait for it, within their deadlines.
    pub(super) waits: bool,
    /// When the first of the attempts failed that no success has followed.
    pub(super) since: Instant,
}

impl<T, E: Clone> State<T, E> {
    pub(super) fn new() -> State<T, E> {
        State {
            idle: VecDeque::new(),
            in_use: 0,
            pending: 0,
            checking: 0,
            queue: BTreeMap::new(),
            handed: BTreeMap::new(),
            next_ticket: 0,
            outage: None,
            trust: 0,
            last_attempt: None,
            closed: false,
        }
    }

    pub(super) fn open(&self) -> u32 {
        self.in_use + self.checking + count(self.idle.len())
    }

    pub(super) fn waiting(&self) -> u32 {
        count(self.queue.len())
    }

    /// Connections that are free for somebody who waits, now or soon.
    pub(super) fn supply(&self) -> usize {
        self.idle.len() + self.pending as usize + self.checking as usize
    }

    pub(super) fn first_waiting(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(ticket, _)| *ticket)
    }

    pub(super) fn new_place(&mut self, now: Instant) -> Place {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Place { ticket, arrived: now, signal: Arc::new(Condvar::new()) }
    }

    #[inline]
    pub(super) fn take_idle(&mut self, now: Instant) -> Option<T> {
        if !self.queue.is_empty() {
            self.serve_patient(now);
        }
        if self.head_is_patient(now) {
            return None;
        }
        let item = self.idle.pop_back()?;
        self.one_more_in_use();
        Some(item)
    }

    #[inline]
    pub(super) fn head_is_patient(&self, now: Instant) -> bool {
        match self.queue.first_key_value() {
            Some((_, head)) => now.saturating_duration_since(head.arrived) >= PATIENCE,
            None => false,
        }
    }

    /// Hands idle connections to those who have waited long enough.
    pub(super) fn serve_patient(&mut self, now: Instant) {
        while self.head_is_patient(now) {
            let Some(item) = self.idle.pop_back() else { return };
            let ticket = self.first_waiting().expect("a patient head is a head");
            self.hand(ticket, item);
        }
    }

    /// A connection is free: the patient head gets it; a young head is woken and
    /// may find it taken by a newcomer.
    pub(super) fn offer(&mut self, item: T, now: Instant) {
        if self.queue.is_empty() {
            self.idle.push_back(item);
        } else if self.head_is_patient(now) {
            let ticket = self.first_waiting().expect("a patient head is a head");
            self.hand(ticket, item);
        } else {
            self.idle.push_back(item);
            self.nudge_head();
        }
    }

    pub(super) fn nudge_head(&mut self) {
        if self.idle.is_empty() {
            return;
        }
        if let Some(mut head) = self.queue.first_entry()
            && !head.get().nudged
        {
            head.get_mut().nudged = true;
            head.get().signal.notify_one();
        }
    }

    pub(super) fn hand(&mut self, ticket: u64, item: T) {
        self.one_more_in_use();
        self.tell(ticket, Delivery::Connection(item));
    }

    pub(super) fn tell(&mut self, ticket: u64, delivery: Delivery<T, E>) {
        if let Some(waiting) = self.queue.remove(&ticket) {
            self.handed.insert(ticket, delivery);
            waiting.signal.notify_one();
            // It may have been nudged for something idle, and will not look now.
            self.nudge_head();
        }
    }

    pub(super) fn tell_all(&mut self, delivery: impl Fn() -> Delivery<T, E>) {
        while let Some(ticket) = self.first_waiting() {
            self.tell(ticket, delivery());
        }
    }

    /// What a waiter finds when it looks: its delivery, or, as the head, whatever
    /// is idle.
    pub(super) fn fetch(&mut self, ticket: u64) -> Option<Delivery<T, E>> {
        if let Some(delivery) = self.handed.remove(&ticket) {
            return Some(delivery);
        }
        if self.first_waiting() == Some(ticket)
            && let Some(item) = self.idle.pop_back()
        {
            self.queue.remove(&ticket);
            self.one_more_in_use();
            self.nudge_head();
            return Some(Delivery::Connection(item));
        }
        if let Some(waiting) = self.queue.get_mut(&ticket) {
            waiting.nudged = false;
        }
        None
    }

    /// The failure that a newcomer is answered with at once: the server is known
    /// to be down, the cause does not pass by waiting, and no attempt is due.
    pub(super) fn known_failure(&self, now: Instant) -> Option<E> {
        let outage = self.outage.as_ref()?;
        let answer = !outage.waits && self.open() == 0 && !self.may_attempt(now);
        answer.then(|| outage.error.clone())
    }

    /// Gives orders until all who wait are provided for, as far as permits and
    /// the spacing of attempts allow.
    pub(super) fn plan(&mut self, budget: &Arc<Budget>, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        while !self.closed && self.queue.len() > self.supply() && self.may_attempt(now) {
            let Some(permit) = budget.try_take() else { break };
            self.begin_attempt(now);
            let next = self.queue.iter_mut().find(|(_, waiting)| !waiting.dialled);
            let ticket = next.map(|(ticket, waiting)| {
                waiting.dialled = true;
                *ticket
            });
            orders.push(Order { permit, ticket });
        }
        orders
    }

    /// As `plan`; if somebody must wait for the next attempt to be due, all who
    /// sleep are woken to see to it: they may have looked when none was spaced.
    pub(super) fn plan_for_all(&mut self, budget: &Arc<Budget>, now: Instant) -> Vec<Order> {
        let orders = self.plan(budget, now);
        if self.queue.len() > self.supply() && !self.may_attempt(now) {
            for waiting in self.queue.values() {
                waiting.signal.notify_one();
            }
        }
        orders
    }

    /// When a waiter must look again although nothing was delivered: while
    /// attempts are being spaced, whoever waits sees to the next one.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        let due = self.last_attempt? + self.attempt_gap();
        Some(if due > now { due } else { now + ATTEMPT_GAP })
    }

    pub(super) fn undial(&mut self, ticket: Option<u64>) {
        if let Some(waiting) = ticket.and_then(|ticket| self.queue.get_mut(&ticket)) {
            waiting.dialled = false;
        }
    }

    pub(super) fn begin_attempt(&mut self, now: Instant) {
        self.pending += 1;
        self.last_attempt = Some(now);
    }

    /// While nothing is known to work, attempts are spaced: a herd must not
    /// storm a server that is down or has just come back.
    pub(super) fn may_attempt(&self, now: Instant) -> bool {
        let works = self.outage.is_none() && self.pending <= self.trust;
        works || self.last_attempt.is_none_or(|last| now >= last + self.attempt_gap())
    }

    pub(super) fn attempt_gap(&self) -> Duration {
        if self.outage.is_some() && self.pending > 0 { STALLED_GAP } else { ATTEMPT_GAP }
    }

    pub(super) fn one_more_in_use(&mut self) {
        self.in_use += 1;
    }

    pub(super) fn one_less_in_use(&mut self) {
        let left = self.in_use.checked_sub(1);
        self.in_use = left.expect("bug: a connection came back that was not in use");
    }

    pub(super) fn one_less_pending(&mut self) {
        let left = self.pending.checked_sub(1);
        self.pending = left.expect("bug: an order was reported twice");
    }
}

/// Levels are bounded by `max_size` and by threads: both fit.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("bug: more connections or callers than a u32 counts")
}
