//! Decides which caller gets a connection, which one may open one and which one
//! waits: ONE lock, short transitions, no I/O, no clock, no user code, no log line.
//!
//! The core knows connections only as values of type `T` and failures as `E`. It
//! never drops a `T` (closing is slow and calls foreign code): a connection to close
//! is returned to the caller, which closes it after the lock was released. Neither does
//! it drop the last handle of an `E`, which holds a driver's error. The
//! connections to open next are returned as [`DialOrder`]s.
//!
//! Queue law: waiters are served in order of arrival by direct hand-over. A
//! newcomer may overtake only while the head has waited less than a millisecond:
//! strict hand-over alone made 64 threads on 10 connections 3.8 times as slow.

use super::locked::Locked;
use super::slots::Slots;
use super::state::{Outage, State, Waiting, count};
use super::ticket::{DialId, DialOrder, Failure, Handover, Opened, Ticket};
use crate::connection::permits::Permits;
use crate::sys::sync::{Arc, Condvar, Mutex, wait_until};

// By path, because the tests that run this file through every interleaving include
// it by path as well.

use std::time::Instant;

/// The state of one pool, behind its one lock.
pub(crate) struct Core<T, E> {
    slots: Slots<T>,
    /// Law: held for a few instructions only; never while a connection is opened,
    /// checked, closed or dropped, and never across a system call.
    state: Mutex<State<T, E>>,
    permits: Arc<Permits>,
    /// Signalled when a connection, a dial or a permit ends after the pool was closed.
    settled: Condvar,
}

/// The outcome of an attempt to take an idle connection.
pub(crate) enum Take<T> {
    Idle(T),
    Nothing,
    Closed,
}

/// The outcome for a caller that found no idle connection.
pub(crate) enum Join<T, E> {
    /// A connection became idle in the meantime.
    Idle(T),
    /// The caller is queued and must carry the orders out.
    Queued(Ticket, Vec<DialOrder>),
    /// The server is known to be down and no attempt is due.
    Failed(E),
    /// This many callers are waiting already.
    Full(u32),
    Closed,
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
    pub(crate) fn new(permits: Arc<Permits>) -> Core<T, E> {
        let (slots, state) = (Slots::new(), Mutex::new(State::new()));
        Core { slots, state, permits, settled: Condvar::new() }
    }

    fn lock(&self) -> Locked<'_, T, E> {
        Locked { state: self.state.lock(), slots: &self.slots }
    }

    /// Locks with every idle connection in `idle`.
    fn lock_all(&self) -> Locked<'_, T, E> {
        let mut state = self.lock();
        state.collect();
        state
    }

    /// Takes an idle connection unless a waiting caller has priority. The clock is asked only
    /// if a caller waits.
    #[inline]
    pub(crate) fn take(&self, clock: impl FnOnce() -> Instant) -> Take<T> {
        match self.slots.take() {
            Some(item) => Take::Idle(item),
            None => self.take_locked(clock),
        }
    }

    fn take_locked(&self, clock: impl FnOnce() -> Instant) -> Take<T> {
        let mut state = self.lock();
        if state.closed {
            return Take::Closed;
        }
        let item = if state.queue.is_empty() { state.pop_idle() } else { state.take_idle(clock()) };
        item.or_else(|| self.slots.take_any()).map_or(Take::Nothing, Take::Idle)
    }

    /// Queues a caller, at the ticket of its earlier wait if it has one.
    pub(crate) fn join(
        &self,
        ticket: Option<&Ticket>,
        max_waiting: Option<u32>,
        now: Instant,
    ) -> Join<T, E> {
        if ticket.is_none()
            && let Some(item) = self.slots.take_soon()
        {
            return Join::Idle(item);
        }
        let mut state = self.lock();
        if state.closed {
            return Join::Closed;
        }
        state.shut();
        if let Some(item) = state.take_idle(now) {
            return Join::Idle(item);
        }
        if let Some(error) = state.known_failure(now) {
            return Join::Failed(error);
        }
        // A caller that returns with its ticket was admitted before.
        let limit = max_waiting.filter(|limit| ticket.is_none() && state.waiting() >= *limit);
        if let Some(limit) = limit {
            return Join::Full(limit);
        }
        let ticket = ticket.cloned().unwrap_or_else(|| state.new_ticket(now));
        let signal = Arc::clone(&ticket.signal);
        let waiting = Waiting { arrived: ticket.arrived, dialled: false, woken: false, signal };
        state.queue.insert(ticket.ticket, waiting);
        let orders = state.plan(&self.permits, now);
        Join::Queued(ticket, orders)
    }

    /// Waits for a hand-over; `None` if there is none yet. The caller is still queued
    /// then: it plans the next attempt and waits again, or leaves.
    ///
    /// One waiter at a time, the planner, wakes before its deadline without a hand-over:
    /// when the next attempt is due, and no later than `poll`.
    pub(crate) fn wait(
        &self,
        ticket: &Ticket,
        deadline: Instant,
        poll: Instant,
        now: Instant,
    ) -> Option<Handover<T, E>> {
        let mut state = self.lock();
        if let Some(handover) = state.fetch(ticket.ticket) {
            return Some(handover);
        }
        // Under the same lock, so that no change of the attempts' spacing is missed
        // between this and the wait.
        let until = state.sleeps_until(ticket.ticket, deadline, poll, now);
        wait_until(&ticket.signal, &mut state.state, until);
        state.woke(ticket.ticket);
        state.fetch(ticket.ticket)
    }

    /// Leaves the queue. A hand-over made at the last moment is returned, so that no
    /// connection is lost between a check-in and a leaving waiter.
    pub(crate) fn leave(&self, ticket: &Ticket) -> Option<Handover<T, E>> {
        let mut state = self.lock();
        let handover = state.handed.remove(&ticket.ticket);
        state.dequeue(ticket.ticket);
        state.wake_head();
        handover
    }

    /// Returns the dials that are due for the waiting callers.
    pub(crate) fn plan(&self, now: Instant) -> Vec<DialOrder> {
        self.lock().plan(&self.permits, now)
    }

    /// Returns when the next attempt is due, if attempts are being spaced.
    pub(crate) fn next_attempt(&self, now: Instant) -> Option<Instant> {
        self.lock().next_due(now)
    }

    /// Takes a connection back, for the head of the queue or as idle. Returns what must be
    /// closed because the pool is, if anything. The clock is asked only if a caller waits.
    #[inline]
    pub(crate) fn check_in(&self, item: T, clock: impl Fn() -> Instant) -> Option<Vec<T>> {
        match self.slots.put(item) {
            [None, None] => None,
            items => self.check_in_all(items, clock),
        }
    }

    #[inline(never)]
    fn check_in_all(&self, items: [Option<T>; 2], clock: impl Fn() -> Instant) -> Option<Vec<T>> {
        let items = items.into_iter().flatten();
        let late: Vec<T> = items.filter_map(|item| self.check_in_locked(item, &clock)).collect();
        (!late.is_empty()).then_some(late)
    }

    fn check_in_locked(&self, item: T, clock: impl Fn() -> Instant) -> Option<T> {
        let mut state = self.lock();
        state.one_less_in_use();
        if state.closed {
            self.settled.notify_all();
            return Some(item);
        }
        match state.queue.is_empty() {
            true => state.idle.push_back(item),
            false => state.offer(item, clock()),
        }
        None
    }

    /// Counts off a connection that was in use and will not be checked in.
    pub(crate) fn removed(&self) {
        let mut state = self.lock();
        state.one_less_in_use();
        if state.closed {
            self.settled.notify_all();
        }
    }

    /// Returns an order to open a connection that no caller waits for, if fewer than
    /// `wanted` are idle or pending, and only if no attempt has failed recently.
    pub(crate) fn refill(&self, wanted: u32, now: Instant) -> Option<DialOrder> {
        let mut state = self.lock_all();
        let supply = state.supply(now);
        if state.closed || supply >= wanted as usize + state.queue.len() || !state.may_attempt(now)
        {
            return None;
        }
        let permit = self.permits.try_take()?;
        let id = DialId { number: state.attempts.begin(now), ticket: None };
        Some(DialOrder { permit, id })
    }

    /// Reports an order as done.
    pub(crate) fn dial_succeeded(&self, id: DialId, item: T, now: Instant) -> Opened<T, E> {
        let mut state = self.lock();
        state.attempts.succeed(id.number, now);
        // The head gets it, even if it was opened for another waiter.
        state.clear_dialled(id.ticket);
        let ended = state.outage.take().map(|outage| outage.error);
        if state.closed {
            self.settled.notify_all();
            return Opened { late: Some(item), orders: Vec::new(), ended };
        }
        match state.first_waiting() {
            Some(ticket) => state.hand(ticket, item),
            None => state.idle.push_back(item),
        }
        Opened { late: None, orders: state.plan(&self.permits, now), ended }
    }

    /// Reports an order as failed. Returns the error that it replaces as well.
    ///
    /// While a connection is open, waiters wait for it. Otherwise the waiter that the
    /// order was made for receives the error, and all waiters do if no other attempt is
    /// likely to serve them; unless the cause is temporary.
    pub(crate) fn dial_failed(
        &self,
        id: DialId,
        error: &E,
        failure: Failure,
        now: Instant,
    ) -> (Vec<DialOrder>, Option<E>) {
        let mut state = self.lock();
        let is_outdated = state.attempts.fail(id.number, failure);
        let is_temporary = failure.waits();
        let mut replaced = None;
        if !is_outdated {
            let since = state.outage.as_ref().map_or(now, |outage| outage.since);
            let outage = Outage { error: error.clone(), waits: is_temporary, since };
            replaced = state.outage.replace(outage).map(|outage| outage.error);
        }
        if is_outdated || is_temporary || state.open() > 0 {
            state.clear_dialled(id.ticket);
        } else {
            if let Some(ticket) = id.ticket {
                state.notify(ticket, Handover::Failed(error.clone()));
            }
            if state.attempts.promising(now) == 0 {
                state.notify_all(|| Handover::Failed(error.clone()));
            }
        }
        if state.closed {
            self.settled.notify_all();
        }
        (state.plan(&self.permits, now), replaced)
    }

    /// Allows only one attempt at a time, because a connection was found dead and the
    /// server may be down.
    pub(crate) fn forbid_extra_attempts(&self) {
        self.lock().attempts.forbid_extra();
    }

    /// Spaces the attempts, because a new connection was lost before it had served a
    /// caller.
    pub(crate) fn new_connection_lost(&self, now: Instant) {
        self.lock().attempts.new_connection_lost(now);
    }

    /// Ends that spacing: a new connection has served a caller.
    pub(crate) fn new_connection_served(&self) {
        self.lock().attempts.new_connection_served();
    }

    /// Returns `true` if a connection is open: idle, in use or out for a check.
    pub(crate) fn has_open(&self) -> bool {
        self.lock().open() > 0
    }

    /// Returns `true` if idle connections are out for a check at the moment.
    pub(crate) fn is_checking(&self) -> bool {
        self.lock().checking > 0
    }

    /// Returns the error of the last attempt, if none has succeeded since, and when the
    /// first of these attempts failed.
    pub(crate) fn last_failure(&self) -> Option<(E, Instant)> {
        let state = self.lock();
        state.outage.as_ref().map(|outage| (outage.error.clone(), outage.since))
    }

    /// Returns when the caller arrived that has waited longest.
    pub(crate) fn first_arrival(&self) -> Option<Instant> {
        self.state.lock().queue.first_key_value().map(|(_, waiting)| waiting.arrived)
    }

    /// Plans dials after a permit was released.
    pub(crate) fn permit_freed(&self, now: Instant) -> Vec<DialOrder> {
        let mut state = self.lock();
        if state.closed {
            self.settled.notify_all();
        }
        state.plan(&self.permits, now)
    }

    /// Takes out the idle connections that are due, the oldest first: `too_old` decides
    /// for all, `idled_too_long` only for those beyond `min_idle`.
    pub(crate) fn retire_idle(
        &self,
        min_idle: u32,
        mut idled_too_long: impl FnMut(&T) -> bool,
        mut too_old: impl FnMut(&T) -> bool,
    ) -> Vec<T> {
        let mut state = self.lock_all();
        let mut due = Vec::new();
        let mut beyond = state.idle.len().saturating_sub(min_idle as usize);
        let mut index = 0;
        while index < state.idle.len() {
            let old = too_old(&state.idle[index]);
            if old || (beyond > 0 && idled_too_long(&state.idle[index])) {
                due.extend(state.idle.remove(index));
                beyond = beyond.saturating_sub(1);
            } else {
                index += 1;
            }
        }
        due
    }

    /// Calls `look` for every idle connection, under the lock: it must be short.
    pub(crate) fn for_each_idle(&self, look: impl FnMut(&T)) {
        self.lock_all().idle.iter().for_each(look);
    }

    /// Takes up to `most` idle connections out for a check, but no more than half of them
    /// so that others remain for callers, beginning at this index, counted from the one
    /// that has been idle longest.
    pub(crate) fn borrow_idle(&self, index: usize, most: usize) -> Vec<T> {
        let mut state = self.lock_all();
        let most = most.min(state.idle.len().div_ceil(2));
        let end = state.idle.len().min(index.saturating_add(most));
        if state.closed || index >= end {
            return Vec::new();
        }
        let taken: Vec<T> = state.idle.drain(index..end).collect();
        state.checking += count(taken.len());
        taken
    }

    /// Takes out one idle connection that is due for a check, the one that has been idle
    /// longest; with its index. At most `most`, and half of the idle ones, are out for
    /// checks at a time.
    pub(crate) fn borrow_due(
        &self,
        most: u32,
        is_due: impl FnMut(&T) -> bool,
    ) -> Option<(usize, T)> {
        let mut state = self.lock_all();
        let idle = state.checking + count(state.idle.len());
        if state.closed || state.checking >= most.min(idle.div_ceil(2)) {
            return None;
        }
        let index = state.idle.iter().position(is_due)?;
        let item = state.idle.remove(index)?;
        state.checking += 1;
        Some((index, item))
    }

    /// Puts the connections that a check found healthy back to this index; `gone` of
    /// those that were taken out do not return. Connections that cannot go back are
    /// returned to the caller.
    pub(crate) fn return_idle(
        &self,
        index: usize,
        healthy: Vec<T>,
        gone: usize,
        now: Instant,
    ) -> (Vec<T>, Vec<DialOrder>) {
        let mut state = self.lock();
        let back = count(healthy.len() + gone);
        let left = state.checking.checked_sub(back);
        state.checking =
            left.expect("bug: more connections returned from a check than were taken out");
        if state.closed {
            self.settled.notify_all();
            return (healthy, Vec::new());
        }
        for (offset, item) in healthy.into_iter().enumerate() {
            let index = (index + offset).min(state.idle.len());
            state.idle.insert(index, item);
        }
        state.serve_priority(now);
        state.wake_head();
        (Vec::new(), state.plan(&self.permits, now))
    }

    /// Closes the pool: no caller is served from now on. Returns the idle connections.
    pub(crate) fn close(&self) -> Vec<T> {
        let mut state = self.lock();
        state.shut();
        state.closed = true;
        state.notify_all(|| Handover::Closed);
        state.idle.drain(..).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits until a closed pool has no connection open, pending or closing.
    pub(crate) fn wait_settled(&self, until: Instant, clock: impl Fn() -> Instant) -> bool {
        let mut state = self.lock();
        loop {
            let unfinished = state.open() + count(state.attempts.len());
            if unfinished == 0 && self.permits.usage().used == 0 {
                return true;
            }
            if clock() >= until {
                return false;
            }
            wait_until(&self.settled, &mut state.state, until);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts_of(&self.lock_all())
    }

    fn counts_of(&self, state: &State<T, E>) -> Counts {
        let usage = self.permits.usage();
        Counts {
            idle: count(state.idle.len()) + state.checking,
            in_use: state.in_use,
            pending: count(state.attempts.len()),
            waiting: state.waiting(),
            used_permits: usage.used,
            limit: usage.limit,
            abandoned: usage.abandoned,
        }
    }
}
