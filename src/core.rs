//! Who may take a connection, who may open one, who waits: ONE lock, short
//! transitions, no I/O, no clock, no user code, no log line.
//!
//! The core knows connections only as values of type `T` and failures as `E`. It
//! never drops a `T` (closing is slow and calls foreign code): what must go is
//! returned to the caller, who acts after the lock is free. What must be done
//! next, opening connections, is returned as [`Order`]s.
//!
//! Queue law: waiters are served in order of arrival by direct hand-over. A
//! newcomer may overtake only while the head has waited less than [`PATIENCE`]:
//! strict hand-over alone made 64 threads on 10 connections 3.8 times as slow.

use crate::budget::{Budget, Permit};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, wait_until};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long the head of the queue may be overtaken by newcomers.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1);

/// Attempts to open are this far apart while nothing is known to work.
const ATTEMPT_GAP: Duration = Duration::from_millis(100);

/// The same while an earlier attempt of an outage has not come back yet.
const STALLED_GAP: Duration = Duration::from_secs(1);

/// The state of one pool, behind its one lock.
pub(crate) struct Core<T, E> {
    /// Law: held for a few instructions only; never while a connection is
    /// opened, checked, closed or dropped, and never across a system call.
    state: Mutex<State<T, E>>,
    budget: Arc<Budget>,
    /// Signalled when something ends after the pool was closed.
    settled: Condvar,
}

struct State<T, E> {
    /// The back is the connection used last; check-out takes from there.
    idle: VecDeque<T>,
    /// Law: connections outside `idle` that were taken, handed or not yet fetched.
    in_use: u32,
    /// Law: orders given out and not reported back.
    pending: u32,
    /// Law: connections the keeper took out of `idle` for a moment.
    checking: u32,
    /// Those who wait, by ticket: the order of the tickets is the order of service.
    queue: BTreeMap<u64, Waiting>,
    /// What was given to a waiter who has not fetched it yet; counted as in use.
    handed: BTreeMap<u64, Delivery<T, E>>,
    next_ticket: u64,
    outage: Option<Outage<E>>,
    /// How many attempts beyond one may be under way: none after a failure or a
    /// sign of one, more with every success. A herd must not run against a server
    /// that has just died before the first attempt has come back.
    trust: u32,
    /// When the last attempt began that has not been followed by a success.
    last_attempt: Option<Instant>,
    closed: bool,
}

struct Waiting {
    arrived: Instant,
    /// An order was given for this waiter; a failure is told to it.
    dialled: bool,
    /// It was woken because something is idle, and has not looked yet.
    nudged: bool,
    signal: Arc<Condvar>,
}

/// The last attempts to open failed.
struct Outage<E> {
    error: E,
    /// The cause passes by itself: callers wait for it, within their deadlines.
    waits: bool,
}

/// What a waiter is given.
pub(crate) enum Delivery<T, E> {
    Connection(T),
    Failed(E),
    Closed,
}

/// What a check-out finds at its first look.
pub(crate) enum Take<T> {
    Idle(T),
    Nothing,
    Closed,
}

/// What becomes of a caller who found nothing idle.
pub(crate) enum Join<T, E> {
    /// Something became idle in between.
    Idle(T),
    /// The caller waits; the orders must be carried out.
    Queued(Place, Vec<Order>),
    /// The server is known to be down and no attempt is due.
    Failed(E),
    /// So many callers wait already.
    Full(u32),
    Closed,
}

/// A caller's place in the queue; kept over several waits of one check-out.
#[derive(Clone)]
pub(crate) struct Place {
    ticket: u64,
    arrived: Instant,
    signal: Arc<Condvar>,
}

/// The duty to open one connection and to report how it went.
#[must_use]
pub(crate) struct Order {
    pub(crate) permit: Permit,
    pub(crate) ticket: Option<u64>,
}

/// The levels of the core at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) idle: u32,
    pub(crate) in_use: u32,
    pub(crate) pending: u32,
    pub(crate) waiting: u32,
    pub(crate) used_permits: u32,
    pub(crate) limit: u32,
    pub(crate) abandoned: u32,
}

impl<T, E: Clone> Core<T, E> {
    pub(crate) fn new(budget: Arc<Budget>) -> Core<T, E> {
        let state = State {
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
        };
        Core { state: Mutex::new(state), budget, settled: Condvar::new() }
    }

    /// Takes an idle connection unless somebody has waited too long for it.
    #[inline]
    pub(crate) fn take(&self, now: Instant) -> Take<T> {
        let mut state = self.state.lock();
        if state.closed {
            return Take::Closed;
        }
        match state.take_idle(now) {
            Some(item) => Take::Idle(item),
            None => Take::Nothing,
        }
    }

    /// Queues a caller, or keeps the place that it has from an earlier wait.
    pub(crate) fn join(
        &self,
        place: Option<&Place>,
        max_waiting: Option<u32>,
        now: Instant,
    ) -> Join<T, E> {
        let mut state = self.state.lock();
        if state.closed {
            return Join::Closed;
        }
        if let Some(item) = state.take_idle(now) {
            return Join::Idle(item);
        }
        if let Some(error) = state.known_failure(now) {
            return Join::Failed(error);
        }
        if let Some(limit) = max_waiting.filter(|limit| state.waiting() >= *limit) {
            return Join::Full(limit);
        }
        let place = place.cloned().unwrap_or_else(|| state.new_place(now));
        let signal = Arc::clone(&place.signal);
        let waiting = Waiting { arrived: place.arrived, dialled: false, nudged: false, signal };
        state.queue.insert(place.ticket, waiting);
        let orders = state.plan(&self.budget, now);
        Join::Queued(place, orders)
    }

    /// Waits for a delivery; `None` when there is none yet. The caller is still
    /// queued then: it sees to the next attempt and waits again, or leaves.
    pub(crate) fn wait(
        &self,
        place: &Place,
        deadline: Instant,
        now: Instant,
    ) -> Option<Delivery<T, E>> {
        let mut state = self.state.lock();
        if let Some(delivery) = state.fetch(place.ticket) {
            return Some(delivery);
        }
        // Under the same lock: who looked and sleeps to the deadline is woken when
        // attempts begin to be spaced after that look.
        let until = state.next_look(now).map_or(deadline, |look| look.min(deadline));
        wait_until(&place.signal, &mut state, until);
        state.fetch(place.ticket)
    }

    /// Leaves the queue. What was handed over at the last moment is returned, so
    /// that a giver and a leaver never lose a connection between them.
    pub(crate) fn leave(&self, place: &Place) -> Option<Delivery<T, E>> {
        let mut state = self.state.lock();
        let delivery = state.handed.remove(&place.ticket);
        state.queue.remove(&place.ticket);
        state.nudge_head();
        delivery
    }

    /// Looks whether an attempt to open is due for those who wait.
    pub(crate) fn plan(&self, now: Instant) -> Vec<Order> {
        self.state.lock().plan(&self.budget, now)
    }

    /// Says when the next attempt to open is due, if attempts are being spaced.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.last_attempt.map(|last| last + state.attempt_gap())
    }

    /// Takes a connection back: to the head of the queue, or to the idle ones.
    /// Returned to the caller if the pool is closed.
    #[inline]
    pub(crate) fn check_in(&self, item: T, now: Instant) -> Option<T> {
        let mut state = self.state.lock();
        state.one_less_in_use();
        if state.closed {
            self.settled.notify_all();
            return Some(item);
        }
        state.offer(item, now);
        None
    }

    /// Counts off a connection that was in use and will not come back.
    pub(crate) fn removed(&self) {
        let mut state = self.state.lock();
        state.one_less_in_use();
        if state.closed {
            self.settled.notify_all();
        }
    }

    /// Takes the duty to open a connection that nobody asked for, if fewer than
    /// `wanted` are idle or on their way, and only if no attempt failed of late.
    pub(crate) fn refill(&self, wanted: u32, now: Instant) -> Option<Order> {
        let mut state = self.state.lock();
        let supply = state.supply();
        if state.closed || supply >= wanted as usize + state.queue.len() || !state.may_attempt(now)
        {
            return None;
        }
        let permit = self.budget.try_take()?;
        state.begin_attempt(now);
        Some(Order { permit, ticket: None })
    }

    /// Reports an order as done. The connection comes back if the pool is closed.
    pub(crate) fn dial_succeeded(
        &self,
        ticket: Option<u64>,
        item: T,
        now: Instant,
    ) -> (Option<T>, Vec<Order>) {
        let mut state = self.state.lock();
        state.one_less_pending();
        // The head gets it, whoever it was opened for: that one may need another.
        state.undial(ticket);
        state.outage = None;
        state.trust = state.trust.saturating_mul(2).saturating_add(1);
        state.last_attempt = None;
        if state.closed {
            self.settled.notify_all();
            return (Some(item), Vec::new());
        }
        match state.first_waiting() {
            Some(ticket) => state.hand(ticket, item),
            None => state.idle.push_back(item),
        }
        (None, state.plan(&self.budget, now))
    }

    /// Reports an order as failed. The one it was given for is told, and all are
    /// when nothing is open or being opened any more, unless the cause passes.
    pub(crate) fn dial_failed(
        &self,
        ticket: Option<u64>,
        error: &E,
        waits: bool,
        now: Instant,
    ) -> Vec<Order> {
        let mut state = self.state.lock();
        state.one_less_pending();
        state.outage = Some(Outage { error: error.clone(), waits });
        state.trust = 0;
        if waits {
            state.undial(ticket);
        } else {
            if let Some(ticket) = ticket {
                state.tell(ticket, Delivery::Failed(error.clone()));
            }
            if state.open() == 0 && state.pending == 0 {
                state.tell_all(|| Delivery::Failed(error.clone()));
            }
        }
        if state.closed {
            self.settled.notify_all();
        }
        state.plan_for_all(&self.budget, now)
    }

    /// A connection was found dead: the server may be gone, one attempt will tell.
    pub(crate) fn distrust(&self) {
        self.state.lock().trust = 0;
    }

    /// The error of the last attempt to open, if none has succeeded since.
    pub(crate) fn last_failure(&self) -> Option<E> {
        self.state.lock().outage.as_ref().map(|outage| outage.error.clone())
    }

    /// A permit came back: somebody may be waiting for it.
    pub(crate) fn permit_freed(&self, now: Instant) -> Vec<Order> {
        let mut state = self.state.lock();
        if state.closed {
            self.settled.notify_all();
        }
        state.plan_for_all(&self.budget, now)
    }

    /// Takes those idle connections out that are due, the oldest first. Beyond
    /// `min_idle` the first question decides; the second for all.
    pub(crate) fn retire_idle(
        &self,
        min_idle: u32,
        mut idled_too_long: impl FnMut(&T) -> bool,
        mut too_old: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        let mut state = self.state.lock();
        let mut due = Vec::new();
        let mut beyond = state.idle.len().saturating_sub(min_idle as usize);
        let mut place = 0;
        while place < state.idle.len() {
            let old = too_old(&state.idle[place]);
            if old || (beyond > 0 && idled_too_long(&state.idle[place])) {
                due.extend(state.idle.remove(place));
                beyond = beyond.saturating_sub(1);
            } else {
                place += 1;
            }
        }
        due
    }

    /// Looks at all idle connections; for short questions only.
    pub(crate) fn for_each_idle(&self, look: impl FnMut(&T)) {
        self.state.lock().idle.iter().for_each(look);
    }

    /// Takes up to `most` idle connections out for a check, beginning at `place`
    /// counted from the one that idled longest.
    pub(crate) fn borrow_idle(&self, place: usize, most: usize) -> Vec<T> {
        let mut state = self.state.lock();
        let end = state.idle.len().min(place.saturating_add(most));
        if state.closed || place >= end {
            return Vec::new();
        }
        let taken: Vec<T> = state.idle.drain(place..end).collect();
        state.checking += count(taken.len());
        taken
    }

    /// Puts back what a check found healthy, where it was; `gone` of those that
    /// were borrowed will not come. What cannot go back is returned.
    pub(crate) fn return_idle(
        &self,
        place: usize,
        healthy: Vec<T>,
        gone: usize,
        now: Instant,
    ) -> (Vec<T>, Vec<Order>) {
        let mut state = self.state.lock();
        let back = count(healthy.len() + gone);
        let left = state.checking.checked_sub(back);
        state.checking = left.expect("bug: more connections came back from a check than went");
        if state.closed {
            self.settled.notify_all();
            return (healthy, Vec::new());
        }
        for (offset, item) in healthy.into_iter().enumerate() {
            let place = (place + offset).min(state.idle.len());
            state.idle.insert(place, item);
        }
        state.serve_patient(now);
        state.nudge_head();
        (Vec::new(), state.plan_for_all(&self.budget, now))
    }

    /// Closes the pool: nobody is served any more. Returns the idle connections.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.state.lock();
        state.closed = true;
        state.tell_all(|| Delivery::Closed);
        state.idle.drain(..).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Waits until a closed pool has nothing open, pending or closing any more.
    pub(crate) fn wait_settled(&self, until: Instant, clock: impl Fn() -> Instant) -> bool {
        let mut state = self.state.lock();
        loop {
            let at_work = state.open() + state.pending;
            if at_work == 0 && self.budget.usage().used == 0 {
                return true;
            }
            if clock() >= until {
                return false;
            }
            wait_until(&self.settled, &mut state, until);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts_of(&self.state.lock())
    }

    fn counts_of(&self, state: &MutexGuard<'_, State<T, E>>) -> Counts {
        let usage = self.budget.usage();
        Counts {
            idle: count(state.idle.len()) + state.checking,
            in_use: state.in_use,
            pending: state.pending,
            waiting: state.waiting(),
            used_permits: usage.used,
            limit: usage.limit,
            abandoned: usage.abandoned,
        }
    }
}

impl<T, E: Clone> State<T, E> {
    fn open(&self) -> u32 {
        self.in_use + self.checking + count(self.idle.len())
    }

    fn waiting(&self) -> u32 {
        count(self.queue.len())
    }

    /// Connections that are free for somebody who waits, now or soon.
    fn supply(&self) -> usize {
        self.idle.len() + self.pending as usize + self.checking as usize
    }

    fn first_waiting(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(ticket, _)| *ticket)
    }

    fn new_place(&mut self, now: Instant) -> Place {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Place { ticket, arrived: now, signal: Arc::new(Condvar::new()) }
    }

    #[inline]
    fn take_idle(&mut self, now: Instant) -> Option<T> {
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
    fn head_is_patient(&self, now: Instant) -> bool {
        match self.queue.first_key_value() {
            Some((_, head)) => now.saturating_duration_since(head.arrived) >= PATIENCE,
            None => false,
        }
    }

    /// Hands idle connections to those who have waited long enough.
    fn serve_patient(&mut self, now: Instant) {
        while self.head_is_patient(now) {
            let Some(item) = self.idle.pop_back() else { return };
            let ticket = self.first_waiting().expect("a patient head is a head");
            self.hand(ticket, item);
        }
    }

    /// A connection is free: the patient head gets it; a young head is woken and
    /// may find it taken by a newcomer.
    fn offer(&mut self, item: T, now: Instant) {
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

    fn nudge_head(&mut self) {
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

    fn hand(&mut self, ticket: u64, item: T) {
        self.one_more_in_use();
        self.tell(ticket, Delivery::Connection(item));
    }

    fn tell(&mut self, ticket: u64, delivery: Delivery<T, E>) {
        if let Some(waiting) = self.queue.remove(&ticket) {
            self.handed.insert(ticket, delivery);
            waiting.signal.notify_one();
            // It may have been nudged for something idle, and will not look now.
            self.nudge_head();
        }
    }

    fn tell_all(&mut self, delivery: impl Fn() -> Delivery<T, E>) {
        while let Some(ticket) = self.first_waiting() {
            self.tell(ticket, delivery());
        }
    }

    /// What a waiter finds when it looks: its delivery, or, as the head, whatever
    /// is idle.
    fn fetch(&mut self, ticket: u64) -> Option<Delivery<T, E>> {
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
    fn known_failure(&self, now: Instant) -> Option<E> {
        let outage = self.outage.as_ref()?;
        let answer = !outage.waits && self.open() == 0 && !self.may_attempt(now);
        answer.then(|| outage.error.clone())
    }

    /// Gives orders until all who wait are provided for, as far as permits and
    /// the spacing of attempts allow.
    fn plan(&mut self, budget: &Arc<Budget>, now: Instant) -> Vec<Order> {
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
    fn plan_for_all(&mut self, budget: &Arc<Budget>, now: Instant) -> Vec<Order> {
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
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let due = self.last_attempt? + self.attempt_gap();
        Some(if due > now { due } else { now + ATTEMPT_GAP })
    }

    fn undial(&mut self, ticket: Option<u64>) {
        if let Some(waiting) = ticket.and_then(|ticket| self.queue.get_mut(&ticket)) {
            waiting.dialled = false;
        }
    }

    fn begin_attempt(&mut self, now: Instant) {
        self.pending += 1;
        self.last_attempt = Some(now);
    }

    /// While nothing is known to work, attempts are spaced: a herd must not
    /// storm a server that is down or has just come back.
    fn may_attempt(&self, now: Instant) -> bool {
        let works = self.outage.is_none() && self.pending <= self.trust;
        works || self.last_attempt.is_none_or(|last| now >= last + self.attempt_gap())
    }

    fn attempt_gap(&self) -> Duration {
        if self.outage.is_some() && self.pending > 0 { STALLED_GAP } else { ATTEMPT_GAP }
    }

    fn one_more_in_use(&mut self) {
        self.in_use += 1;
    }

    fn one_less_in_use(&mut self) {
        let left = self.in_use.checked_sub(1);
        self.in_use = left.expect("bug: a connection came back that was not in use");
    }

    fn one_less_pending(&mut self) {
        let left = self.pending.checked_sub(1);
        self.pending = left.expect("bug: an order was reported twice");
    }
}

/// Levels are bounded by `max_size` and by threads: both fit.
fn count(length: usize) -> u32 {
    u32::try_from(length).expect("bug: more connections or callers than a u32 counts")
}
