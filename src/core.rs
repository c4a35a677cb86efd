//! Who may take a connection, who may open one, who waits: ONE lock, short
//! transitions, no I/O, no clock, no user code, no log line.
//!
//! The core knows connections only as values of type `T` and failures as `E`. It
//! never drops a `T` (closing is slow and calls foreign code): what must go is
//! returned to the caller, who acts after the lock is free. What must be done
//! next, opening connections, is returned as [`Order`]s.
//!
//! Queue law: waiters are served in order of arrival by direct hand-over. A
//! newcomer may overtake only while the head has waited less than a millisecond:
//! strict hand-over alone made 64 threads on 10 connections 3.8 times as slow.

// By path, because the tests that run this file through every interleaving include
// it by path as well.
#[path = "core/state.rs"]
mod state;

use crate::budget::{Budget, Permit};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, wait_until};
use state::{Outage, State, Waiting, count};
use std::time::Instant;

/// The state of one pool, behind its one lock.
pub(crate) struct Core<T, E> {
    /// Law: held for a few instructions only; never while a connection is
    /// opened, checked, closed or dropped, and never across a system call.
    state: Mutex<State<T, E>>,
    budget: Arc<Budget>,
    /// Signalled when something ends after the pool was closed.
    settled: Condvar,
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
        let state = State::new();
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
        // Who comes back to its place was let in before.
        let limit = max_waiting.filter(|limit| place.is_none() && state.waiting() >= *limit);
        if let Some(limit) = limit {
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
        let since = state.outage.as_ref().map_or(now, |outage| outage.since);
        state.outage = Some(Outage { error: error.clone(), waits, since });
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

    /// The error of the last attempt to open, if none has succeeded since, and when
    /// the first of them failed.
    pub(crate) fn last_failure(&self) -> Option<(E, Instant)> {
        let state = self.state.lock();
        state.outage.as_ref().map(|outage| (outage.error.clone(), outage.since))
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
