//! The state of one pool and its transitions: which waiter is next, what was handed
//! to it, when an attempt to open is due. Each takes a few instructions under the
//! core's lock.

use super::attempts::Attempts;
use super::ticket::{DialId, DialOrder, Handover, Ticket};
use crate::connection::permits::Permits;
use crate::sys::sync::{Arc, Condvar};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long newcomers may overtake the head of the queue.
pub(crate) const OVERTAKE_LIMIT: Duration = Duration::from_millis(1);

pub(super) struct State<T, E> {
    /// The back is the connection used last; a check-out takes it from there.
    pub(super) idle: VecDeque<T>,
    /// Law: connections that were taken, or handed over and not fetched yet.
    pub(super) in_use: u32,
    pub(super) attempts: Attempts,
    /// Law: connections that the housekeeper took out of `idle` for a check.
    pub(super) checking: u32,
    /// The waiting callers by ticket: the order of tickets is the order of service.
    pub(super) queue: BTreeMap<u64, Waiting>,
    /// What was handed to waiters that have not fetched it yet; connections in it
    /// count as in use.
    pub(super) handed: BTreeMap<u64, Handover<T, E>>,
    pub(super) next_ticket: u64,
    pub(super) outage: Option<Outage<E>>,
    /// The ticket of the waiter that wakes for the next attempt, so that the others can
    /// sleep. Law: present while callers wait.
    planner: Option<u64>,
    /// When the planner wakes without a signal; `None` while it is awake.
    planner_wakes: Option<Instant>,
    pub(super) closed: bool,
}

pub(super) struct Waiting {
    pub(super) arrived: Instant,
    /// An order was made for this waiter, which receives the failure.
    pub(super) dialled: bool,
    /// It was woken because a connection is idle, and has not checked yet.
    pub(super) woken: bool,
    pub(super) signal: Arc<Condvar>,
}

/// The last attempts to open failed.
pub(super) struct Outage<E> {
    pub(super) error: E,
    /// The cause is temporary: callers wait for its end, within their deadlines.
    pub(super) waits: bool,
    /// When the first attempt failed since the last success.
    pub(super) since: Instant,
}

impl<T, E: Clone> State<T, E> {
    pub(super) fn new() -> State<T, E> {
        State {
            idle: VecDeque::new(),
            in_use: 0,
            attempts: Attempts::new(),
            checking: 0,
            queue: BTreeMap::new(),
            handed: BTreeMap::new(),
            next_ticket: 0,
            outage: None,
            planner: None,
            planner_wakes: None,
            closed: false,
        }
    }

    pub(super) fn open(&self) -> u32 {
        self.in_use + self.checking + count(self.idle.len())
    }

    pub(super) fn waiting(&self) -> u32 {
        count(self.queue.len())
    }

    /// Returns how many connections are or will soon be free for a waiter.
    pub(super) fn supply(&self, now: Instant) -> usize {
        self.idle.len() + self.checking as usize + self.attempts.promising(now)
    }

    pub(super) fn first_waiting(&self) -> Option<u64> {
        self.queue.first_key_value().map(|(ticket, _)| *ticket)
    }

    pub(super) fn new_ticket(&mut self, now: Instant) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        Ticket { ticket, arrived: now, signal: Arc::new(Condvar::new()) }
    }

    #[inline]
    pub(super) fn take_idle(&mut self, now: Instant) -> Option<T> {
        if !self.queue.is_empty() {
            self.serve_priority(now);
        }
        if self.head_has_priority(now) {
            return None;
        }
        self.pop_idle()
    }

    /// Takes the idle connection that was used last.
    pub(super) fn pop_idle(&mut self) -> Option<T> {
        let item = self.idle.pop_back()?;
        self.one_more_in_use();
        Some(item)
    }

    #[inline]
    pub(super) fn head_has_priority(&self, now: Instant) -> bool {
        match self.queue.first_key_value() {
            Some((_, head)) => now.saturating_duration_since(head.arrived) >= OVERTAKE_LIMIT,
            None => false,
        }
    }

    /// Hands idle connections to the waiters that have priority.
    pub(super) fn serve_priority(&mut self, now: Instant) {
        while self.head_has_priority(now) {
            let Some(item) = self.idle.pop_back() else { return };
            let ticket = self.first_waiting().expect("a head with priority is a head");
            self.hand(ticket, item);
        }
    }

    /// Gives a free connection to the head if that has priority; otherwise wakes the
    /// head, which may find that a newcomer has taken the connection.
    pub(super) fn offer(&mut self, item: T, now: Instant) {
        if self.head_has_priority(now) {
            let ticket = self.first_waiting().expect("a head with priority is a head");
            self.hand(ticket, item);
        } else {
            self.idle.push_back(item);
            self.wake_head();
        }
    }

    pub(super) fn wake_head(&mut self) {
        if self.idle.is_empty() {
            return;
        }
        if let Some(mut head) = self.queue.first_entry()
            && !head.get().woken
        {
            head.get_mut().woken = true;
            head.get().signal.notify_one();
        }
    }

    pub(super) fn hand(&mut self, ticket: u64, item: T) {
        self.one_more_in_use();
        self.notify(ticket, Handover::Connection(item));
    }

    pub(super) fn notify(&mut self, ticket: u64, handover: Handover<T, E>) {
        if let Some(waiting) = self.dequeue(ticket) {
            self.handed.insert(ticket, handover);
            waiting.signal.notify_one();
            // It may have been woken for an idle connection, which it will not take now.
            self.wake_head();
        }
    }

    pub(super) fn notify_all(&mut self, handover: impl Fn() -> Handover<T, E>) {
        while let Some(ticket) = self.first_waiting() {
            self.notify(ticket, handover());
        }
    }

    /// Returns what a waiter gets: what was handed to it, or, as the head, an idle
    /// connection.
    pub(super) fn fetch(&mut self, ticket: u64) -> Option<Handover<T, E>> {
        if let Some(handover) = self.handed.remove(&ticket) {
            return Some(handover);
        }
        if self.first_waiting() == Some(ticket)
            && let Some(item) = self.idle.pop_back()
        {
            self.dequeue(ticket);
            self.one_more_in_use();
            self.wake_head();
            return Some(Handover::Connection(item));
        }
        if let Some(waiting) = self.queue.get_mut(&ticket) {
            waiting.woken = false;
        }
        None
    }

    /// Returns the failure that a newcomer receives immediately: the server is known
    /// to be down, the cause is not temporary, and no attempt is due.
    pub(super) fn known_failure(&self, now: Instant) -> Option<E> {
        let outage = self.outage.as_ref()?;
        let fails_fast = !outage.waits && self.open() == 0 && !self.may_attempt(now);
        fails_fast.then(|| outage.error.clone())
    }

    /// Removes a waiter from the queue; if it was the planner, another one becomes it.
    pub(super) fn dequeue(&mut self, ticket: u64) -> Option<Waiting> {
        let waiting = self.queue.remove(&ticket)?;
        if self.planner == Some(ticket) {
            self.planner = None;
            self.appoint_planner();
        }
        Some(waiting)
    }

    /// Returns orders until there is one for each waiter, as far as the permits and the
    /// spacing of attempts allow, and sees to it that a waiter wakes for the next one.
    pub(super) fn plan(&mut self, permits: &Arc<Permits>, now: Instant) -> Vec<DialOrder> {
        let (mut orders, mut wanted) = (Vec::new(), 0);
        while !self.closed && self.queue.len() > self.supply(now) && self.may_attempt(now) {
            let Some(permit) = permits.try_take() else {
                wanted = self.queue.len() - self.supply(now);
                break;
            };
            let next = self.queue.iter_mut().find(|(_, waiting)| !waiting.dialled);
            let ticket = next.map(|(ticket, waiting)| {
                waiting.dialled = true;
                *ticket
            });
            let id = DialId { number: self.attempts.begin(now), ticket };
            orders.push(DialOrder { permit, id });
        }
        permits.want(wanted);
        match (self.planner, self.planner_wakes) {
            (None, _) => self.appoint_planner(),
            (Some(planner), Some(wakes)) if self.next_due(now).is_some_and(|due| due < wakes) => {
                self.wake_planner(planner);
            }
            (Some(_), _) => {}
        }
        orders
    }

    /// The latest waiter becomes the planner: it is likely to wait longest.
    fn appoint_planner(&mut self) {
        let latest = self.queue.last_key_value().map(|(ticket, _)| *ticket);
        self.planner = latest;
        if let Some(planner) = latest {
            self.wake_planner(planner);
        }
    }

    fn wake_planner(&mut self, planner: u64) {
        self.planner_wakes = None;
        if let Some(waiting) = self.queue.get(&planner) {
            waiting.signal.notify_one();
        }
    }

    /// Returns until when a waiter sleeps if it is not signalled: the planner no longer
    /// than to the next attempt and to `poll`.
    pub(super) fn sleeps_until(
        &mut self,
        ticket: u64,
        deadline: Instant,
        poll: Instant,
        now: Instant,
    ) -> Instant {
        if self.planner != Some(ticket) {
            return deadline;
        }
        // An attempt that is due already waits for a permit, which may have been released
        // a moment before its time.
        let next = self.next_due(now).or_else(|| self.attempts.retry_at(now));
        let wakes = next.map_or(poll, |next| next.min(poll));
        self.planner_wakes = Some(wakes);
        wakes.min(deadline)
    }

    pub(super) fn woke(&mut self, ticket: u64) {
        if self.planner == Some(ticket) {
            self.planner_wakes = None;
        }
    }

    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        self.attempts.next_due(self.outage.is_some(), now)
    }

    pub(super) fn may_attempt(&self, now: Instant) -> bool {
        self.attempts.may_begin(self.outage.is_some(), now)
    }

    pub(super) fn clear_dialled(&mut self, ticket: Option<u64>) {
        if let Some(waiting) = ticket.and_then(|ticket| self.queue.get_mut(&ticket)) {
            waiting.dialled = false;
        }
    }

    pub(super) fn one_more_in_use(&mut self) {
        self.in_use += 1;
    }

    pub(super) fn one_less_in_use(&mut self) {
        let left = self.in_use.checked_sub(1);
        self.in_use = left.expect("bug: a connection was checked in that was not in use");
    }
}

/// Levels are bounded by `max_size` and by the number of threads: both fit.
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).expect("bug: more connections or callers than a u32 counts")
}
