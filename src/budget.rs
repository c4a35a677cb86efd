//! The cap: how many connections may exist, as permits that give themselves back.
//!
//! Nobody can open a connection without holding a [`Permit`], and a permit goes
//! back only when the connection has ended as the server sees it. Dropping a
//! permit calls the listener, which may take the pool's lock: no permit may be
//! dropped under that lock.

use crate::sync::{Arc, Condvar, Mutex, wait_until};
use std::time::Instant;

/// A cap shared by all permits taken from it.
pub(crate) struct Budget {
    /// Law: `used` equals the number of live permits, and never exceeds `limit`
    /// except after the limit was lowered.
    state: Mutex<State>,
    freed: Condvar,
    listener: Mutex<Option<Listener>>,
}

type Listener = Arc<dyn Fn() + Send + Sync>;

struct State {
    limit: u32,
    used: u32,
    abandoned: u32,
    /// Set when no pool is left that could use a permit.
    orphaned: bool,
}

impl Budget {
    pub(crate) fn new(limit: u32) -> Arc<Budget> {
        let state = State { limit, used: 0, abandoned: 0, orphaned: false };
        Arc::new(Budget {
            state: Mutex::new(state),
            freed: Condvar::new(),
            listener: Mutex::new(None),
        })
    }

    /// Calls this after every permit that comes back, without a lock held.
    pub(crate) fn listen(&self, listener: Listener) {
        *self.listener.lock() = Some(listener);
    }

    /// Takes a permit if there is one. Never blocks for one.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state.lock();
        if state.used >= state.limit {
            return None;
        }
        state.used += 1;
        Some(Permit { budget: Some(Arc::clone(self)) })
    }

    /// Waits for a permit until the deadline.
    pub(crate) fn take_until(self: &Arc<Self>, deadline: Instant) -> Option<Permit> {
        let mut state = self.state.lock();
        while state.used >= state.limit {
            if Instant::now() >= deadline {
                return None;
            }
            wait_until(&self.freed, &mut state, deadline);
        }
        state.used += 1;
        Some(Permit { budget: Some(Arc::clone(self)) })
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

    fn give_back(&self, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.state.lock();
            let left = state.used.checked_sub(1);
            state.used = left.expect("bug: a permit came back that was never taken");
            change(&mut state);
            self.freed.notify_one();
        }
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener();
        }
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
}

impl Permit {
    pub(crate) fn is_orphaned(&self) -> bool {
        self.budget.as_ref().is_none_or(|budget| budget.is_orphaned())
    }

    /// Gives the right back although the server has not confirmed the end; the
    /// connection counts as abandoned until the result is dropped.
    pub(crate) fn abandon(mut self) -> Option<Abandoned> {
        let budget = self.budget.take()?;
        budget.give_back(|state| state.abandoned += 1);
        Some(Abandoned { budget })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.give_back(|_| ());
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
