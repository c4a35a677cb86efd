//! The cap: how many connections may exist, as permits that give themselves back.
//!
//! Nobody can open a connection without holding a [`Permit`], and a permit goes
//! back only when the connection has ended as the server sees it. Dropping a
//! permit calls the listener, which may take the pool's lock: no permit may be
//! dropped under that lock.

use crate::sync::{Arc, Condvar, Mutex, wait_until};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

/// A cap shared by all permits taken from it.
pub(crate) struct Budget {
    /// Law: `used` equals the number of live permits, and never exceeds `limit`
    /// except after the limit was lowered.
    state: Mutex<State>,
    /// A hint for the hot path: more are open than the limit allows.
    over: AtomicBool,
    freed: Condvar,
    listener: Mutex<Option<Listener>>,
}

type Listener = Arc<dyn Fn() + Send + Sync>;

struct State {
    limit: u32,
    /// One permit of the limit, if it is more than one, is for control connections.
    reserve: bool,
    used: u32,
    /// Law: those of the used permits that control connections have; one at most.
    control: u32,
    /// Law: those of the used permits whose connections are on their way out.
    leaving: u32,
    abandoned: u32,
    /// Set when no pool is left that could use a permit.
    orphaned: bool,
}

impl Budget {
    pub(crate) fn new(limit: u32) -> Arc<Budget> {
        let state = State {
            limit,
            reserve: false,
            used: 0,
            control: 0,
            leaving: 0,
            abandoned: 0,
            orphaned: false,
        };
        Arc::new(Budget {
            state: Mutex::new(state),
            over: AtomicBool::new(false),
            freed: Condvar::new(),
            listener: Mutex::new(None),
        })
    }

    /// Calls this after every permit that comes back, without a lock held.
    pub(crate) fn listen(&self, listener: Listener) {
        *self.listener.lock() = Some(listener);
    }

    /// Keeps one permit for control connections from now on, unless there is only
    /// one at all.
    pub(crate) fn reserve(&self) {
        let mut state = self.state.lock();
        state.reserve = true;
        self.note(&state);
    }

    /// Takes a permit if there is one. Never blocks for one.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state.lock();
        state.has_room().then(|| self.grant(&mut state, false))
    }

    /// Waits until the deadline for the permit that is kept for control connections;
    /// where none is kept, for any, until the other. `None` at once if there can be
    /// none.
    pub(crate) fn take_control_until(
        self: &Arc<Self>,
        deadline: Instant,
        any: Instant,
    ) -> Option<Permit> {
        let mut state = self.state.lock();
        loop {
            let (is_kept, limit) = (state.reserve, state.limit);
            let (free, deadline) = if is_kept {
                (state.control == 0 && state.used < limit, deadline)
            } else {
                (state.has_room(), any)
            };
            if limit > 1 && free {
                return Some(self.grant(&mut state, is_kept));
            }
            if limit <= 1 || Instant::now() >= deadline {
                return None;
            }
            wait_until(&self.freed, &mut state, deadline);
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, control: bool) -> Permit {
        state.used += 1;
        state.control += u32::from(control);
        Permit { budget: Some(Arc::clone(self)), leaving: false, control }
    }

    /// Waits for a permit until the deadline.
    pub(crate) fn take_until(self: &Arc<Self>, deadline: Instant) -> Option<Permit> {
        let mut state = self.state.lock();
        while !state.has_room() {
            if Instant::now() >= deadline {
                return None;
            }
            wait_until(&self.freed, &mut state, deadline);
        }
        Some(self.grant(&mut state, false))
    }

    /// Changes the limit. Permits beyond it come back when their owners let them
    /// go; a higher one is told to the listener by the caller.
    pub(crate) fn set_limit(&self, limit: u32) {
        let mut state = self.state.lock();
        state.limit = limit;
        self.freed.notify_all();
        self.note(&state);
    }

    /// Tells, without a lock, whether more connections are open than the limit
    /// allows; [`Permit::leave_if_surplus`] decides for one.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    fn note(&self, state: &State) {
        self.over.store(state.staying() > state.for_work(), Relaxed);
    }

    /// Most connections that may do work: all but the one that may be kept.
    pub(crate) fn for_work(&self) -> u32 {
        self.state.lock().for_work()
    }

    /// Permits that are out, and connections abandoned beyond them.
    pub(crate) fn usage(&self) -> Usage {
        let state = self.state.lock();
        Usage { limit: state.limit, used: state.used, abandoned: state.abandoned }
    }

    /// Says that no pool is left: nobody counts what is still being closed.
    pub(crate) fn orphan(&self) {
        self.state.lock().orphaned = true;
        *self.listener.lock() = None;
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.state.lock().orphaned
    }

    fn give_back(&self, permit: (bool, bool), change: impl FnOnce(&mut State)) {
        {
            let (leaving, control) = permit;
            let mut state = self.state.lock();
            state.leaving -= u32::from(leaving);
            state.control -= u32::from(control);
            let left = state.used.checked_sub(1);
            state.used = left.expect("bug: a permit came back that was never taken");
            change(&mut state);
            self.note(&state);
            // Who waits may wait for different kinds of permits.
            self.freed.notify_all();
        }
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener();
        }
    }
}

impl State {
    /// Most permits that connections for work may have.
    fn for_work(&self) -> u32 {
        self.limit - u32::from(self.reserve && self.limit > 1)
    }

    fn has_room(&self) -> bool {
        self.used - self.control < self.for_work() && self.used < self.limit
    }

    /// Connections for work that are not on their way out.
    fn staying(&self) -> u32 {
        self.used - self.control - self.leaving
    }
}

/// What a budget's permits are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) limit: u32,
    pub(crate) used: u32,
    pub(crate) abandoned: u32,
}

/// The right to have one connection; dropping it gives the right back.
#[must_use]
pub(crate) struct Permit {
    /// `None` only after `abandon` has counted the permit off itself.
    budget: Option<Arc<Budget>>,
    leaving: bool,
    /// It is the one kept for control connections.
    control: bool,
}

impl Permit {
    pub(crate) fn is_orphaned(&self) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.is_orphaned())
    }

    /// Says that the connection is on its way out.
    pub(crate) fn leave(&mut self) {
        self.leave_if(|_| true);
    }

    /// Says so only if more connections are open than the limit allows.
    pub(crate) fn leave_if_surplus(&mut self) -> bool {
        self.leave_if(|state| state.staying() > state.for_work())
    }

    fn leave_if(&mut self, wanted: impl FnOnce(&State) -> bool) -> bool {
        let Some(budget) = self.budget.as_ref().filter(|_| !self.leaving && !self.control) else {
            return false;
        };
        let mut state = budget.state.lock();
        self.leaving = wanted(&state);
        state.leaving += u32::from(self.leaving);
        budget.note(&state);
        self.leaving
    }

    /// Gives the right back although the server has not confirmed the end; the
    /// connection counts as abandoned until the result is dropped.
    pub(crate) fn abandon(mut self) -> Option<Abandoned> {
        let budget = self.budget.take()?;
        budget.give_back((self.leaving, self.control), |state| state.abandoned += 1);
        Some(Abandoned { budget })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.give_back((self.leaving, self.control), |_| ());
        }
    }
}

/// A connection that the server may still hold although its permit went back.
#[must_use]
pub(crate) struct Abandoned {
    budget: Arc<Budget>,
}

impl Abandoned {
    pub(crate) fn is_orphaned(&self) -> bool {
        self.budget.is_orphaned()
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        let left = state.abandoned.checked_sub(1);
        state.abandoned = left.expect("bug: an abandoned connection was counted off twice");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn no_more_permits_than_the_limit_and_each_comes_back() {
        let budget = Budget::new(2);
        let (one, two) = (budget.try_take(), budget.try_take());
        assert!(one.is_some() && two.is_some() && budget.try_take().is_none());
        drop(one);
        assert!(budget.try_take().is_some());
        drop(two);
        assert_eq!(budget.usage(), Usage { limit: 2, used: 0, abandoned: 0 });
    }

    #[test]
    fn a_lowered_limit_lets_just_so_many_go_as_are_too_many() {
        let budget = Budget::new(4);
        let mut held: Vec<Permit> = (0..4).filter_map(|_| budget.try_take()).collect();
        held[3].leave();
        assert!(!budget.is_over());
        budget.set_limit(2);
        assert!(budget.is_over());
        let gone: Vec<bool> = held.iter_mut().map(Permit::leave_if_surplus).collect();
        assert_eq!(gone, [true, false, false, false]);
        assert!(!budget.is_over() && budget.try_take().is_none());
        drop(held);
        assert_eq!(budget.usage(), Usage { limit: 2, used: 0, abandoned: 0 });
    }

    fn control(budget: &Arc<Budget>) -> Option<Permit> {
        budget.take_control_until(Instant::now(), Instant::now())
    }

    #[test]
    fn one_permit_is_kept_for_control_and_the_limit_holds_for_all() {
        let budget = Budget::new(3);
        budget.reserve();
        let (one, two) = (budget.try_take(), budget.try_take());
        assert!(one.is_some() && two.is_some() && budget.try_take().is_none());
        let kept = control(&budget);
        assert!(kept.is_some() && control(&budget).is_none());
        drop(two);
        let three = budget.try_take();
        assert!(three.is_some() && budget.try_take().is_none());
        assert!(!budget.is_over());
        drop(kept);
        assert!(budget.try_take().is_none(), "it is not for work");
        assert!(control(&budget).is_some());
        budget.set_limit(1);
        assert!(budget.is_over() && control(&budget).is_none());
        drop((one, three));
        assert!(budget.try_take().is_some(), "of one none is kept");
    }

    #[test]
    fn where_none_is_kept_a_control_connection_takes_what_is_free() {
        let budget = Budget::new(2);
        let one = control(&budget);
        let two = budget.try_take();
        assert!(one.is_some() && two.is_some());
        assert!(control(&budget).is_none());
        drop((one, two));
        assert_eq!(budget.usage(), Usage { limit: 2, used: 0, abandoned: 0 });
    }

    #[test]
    fn an_abandoned_permit_is_free_again_and_counted_until_its_end() {
        let budget = Budget::new(1);
        let abandoned = budget.try_take().expect("a permit").abandon();
        assert_eq!(budget.usage(), Usage { limit: 1, used: 0, abandoned: 1 });
        drop(abandoned);
        assert_eq!(budget.usage().abandoned, 0);
    }

    #[test]
    fn a_wait_for_a_permit_ends_at_its_deadline_or_with_the_permit() {
        let budget = Budget::new(1);
        let held = budget.try_take();
        let start = Instant::now();
        assert!(budget.take_until(start + Duration::from_millis(30)).is_none());
        assert!(start.elapsed() >= Duration::from_millis(30));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| budget.take_until(start + Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(10));
            drop(held);
            assert!(waiter.join().expect("no panic").is_some());
        });
    }
}
