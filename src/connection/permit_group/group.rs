//! The permits of several pools behind one lock, and the calls that follow from a change.

use super::holder::PermitHolder;
use super::shares::{Released, Share, Shares};
use crate::sys::sync::{Arc, AtomicBool, Mutex, Ordering, now};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

/// A set of permits that several pools share.
///
/// A pool asks for a permit here before it counts one of its own. If none is free, that is
/// noted as its demand; the next free permit is granted to the pool with the strongest claim,
/// and kept for it until it plans again.
pub(crate) struct PermitGroup {
    /// Law: the innermost lock. Nothing is called or dropped while it is held but counts.
    state: Mutex<State>,
    /// A hint for the hot path: a pool should look whether it is to give a connection up.
    is_pressed: AtomicBool,
    /// A hint: pools are to be called.
    has_calls: AtomicBool,
    /// A hint: pools want permits. Who wants one sees at least its own demand.
    has_demand: AtomicBool,
    /// A hint: what becomes due with time is taken care of.
    is_timed: AtomicBool,
}

struct State {
    shares: Shares,
    holders: BTreeMap<u64, Weak<dyn PermitHolder>>,
    /// The pools to which permits were granted and that have not been called yet.
    calls: BTreeSet<u64>,
}

/// The counts of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupUsage {
    pub(crate) limit: u32,
    pub(crate) pools: usize,
    /// The permits of all pools.
    pub(crate) used: u32,
    /// How many more the pools could use.
    pub(crate) wanted: u32,
}

impl PermitGroup {
    pub(crate) fn new(limit: u32) -> Arc<PermitGroup> {
        let shares = Shares::new(limit, now());
        let state = State { shares, holders: BTreeMap::new(), calls: BTreeSet::new() };
        Arc::new(PermitGroup {
            state: Mutex::new(state),
            is_pressed: AtomicBool::new(false),
            has_calls: AtomicBool::new(false),
            has_demand: AtomicBool::new(false),
            is_timed: AtomicBool::new(false),
        })
    }

    /// Adds a pool; an error with the number of permits that would be needed if these are too
    /// many.
    pub(crate) fn join(self: &Arc<Self>, terms: Share) -> Result<Member, u32> {
        let id = self.change(|shares| shares.join(terms))?;
        Ok(Member { group: Arc::clone(self), id })
    }

    /// Changes the limit; an error with the number of permits that are needed if these are
    /// more. The caller settles afterwards.
    pub(crate) fn set_limit(&self, limit: u32) -> Result<(), u32> {
        self.change(|shares| shares.set_limit(limit))
    }

    pub(crate) fn usage(&self) -> GroupUsage {
        let state = self.state.lock();
        let (pools, used) = state.shares.counts();
        let (limit, wanted) = (state.shares.limit(), state.shares.demand());
        GroupUsage { limit, pools, used, wanted }
    }

    /// Returns `true`, without a lock, if a pool wants a permit that another may give up;
    /// [`Member::give_up`] decides for one.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed.load(Ordering::Relaxed)
    }

    /// Calls the pools to which permits were granted. Without a lock held.
    pub(crate) fn call_granted(&self) {
        while self.has_calls.load(Ordering::Relaxed) {
            let Some(holder) = self.next_call() else { return };
            if let Some(holder) = holder.upgrade() {
                holder.plan_again();
            }
        }
    }

    fn next_call(&self) -> Option<Weak<dyn PermitHolder>> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let found = loop {
            let Some(id) = state.calls.pop_first() else { break None };
            if let Some(holder) = state.holders.get(&id) {
                break Some(Weak::clone(holder));
            }
        };
        self.has_calls.store(!state.calls.is_empty(), Ordering::Relaxed);
        found
    }

    /// Calls the pools to which permits were granted, and has idle connections closed as
    /// far as others want their permits; returns `true` if demand is left. Without a lock
    /// held.
    pub(crate) fn settle(&self) -> bool {
        self.call_granted();
        while self.is_pressed() && self.take_over_one() {}
        self.has_demand.load(Ordering::Relaxed)
    }

    /// Has all pools that want permits plan again, and settles.
    pub(crate) fn refresh(&self) -> bool {
        let wanting = self.holders_of(Shares::wanting);
        wanting.into_iter().for_each(PermitHolder::plan_again);
        self.settle()
    }

    /// Has the connection closed that has been idle longest and is to be given up; returns
    /// `true` if there is one.
    fn take_over_one(&self) -> bool {
        let holders = self.holders_of(Shares::holding).into_iter();
        let mut idle: Vec<_> =
            holders.filter_map(|holder| Some((holder.longest_idle()?, holder))).collect();
        idle.sort_by_key(|(longest, _)| std::cmp::Reverse(*longest));
        idle.into_iter().any(|(_, holder)| holder.give_up_idle())
    }

    fn holders_of(&self, chosen: impl FnOnce(&Shares) -> Vec<u64>) -> Vec<Arc<dyn PermitHolder>> {
        let state = self.state.lock();
        let chosen = chosen(&state.shares);
        chosen.iter().filter_map(|id| state.holders.get(id)?.upgrade()).collect()
    }

    /// Returns `true` if the caller must see to what becomes due with time, because nobody
    /// does.
    pub(crate) fn begin_timing(&self) -> bool {
        !self.is_timed.swap(true, Ordering::AcqRel)
    }

    /// Ends that, unless demand has come up; returns `true` if it has.
    pub(crate) fn goes_on_timing(&self) -> bool {
        self.is_timed.swap(false, Ordering::AcqRel);
        self.state.lock().shares.demand() > 0 && self.begin_timing()
    }

    /// Changes the counts and grants what is free afterwards.
    fn change<R>(&self, change: impl FnOnce(&mut Shares) -> R) -> R {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.shares.charge(now());
        let result = change(&mut state.shares);
        state.calls.extend(state.shares.assign());
        self.has_calls.store(!state.calls.is_empty(), Ordering::Relaxed);
        self.has_demand.store(state.shares.demand() > 0, Ordering::Relaxed);
        self.is_pressed.store(state.shares.is_pressed(), Ordering::Relaxed);
        result
    }
}

/// One pool's part of a group.
pub(crate) struct Member {
    group: Arc<PermitGroup>,
    id: u64,
}

impl Member {
    pub(crate) fn group(&self) -> &Arc<PermitGroup> {
        &self.group
    }

    /// Has this called when a permit was granted, and asked for idle connections.
    pub(crate) fn attach(&self, holder: Weak<dyn PermitHolder>) {
        self.group.state.lock().holders.insert(self.id, holder);
    }

    /// Returns how many permits the pool has, and how many more it could take.
    pub(crate) fn counts(&self) -> (u32, u32) {
        self.group.state.lock().shares.counts_of(self.id)
    }

    pub(crate) fn reserve_control(&self) {
        self.group.change(Shares::reserve_control);
    }

    /// Returns `true` if the group has permits for control connections beside those for work.
    pub(crate) fn allows_control(&self) -> bool {
        self.group.state.lock().shares.limit() > 1
    }

    pub(crate) fn take_control(&self) -> bool {
        self.group.change(Shares::take_control)
    }

    pub(crate) fn release_control(&self) {
        self.group.change(Shares::release_control);
    }

    /// Takes a permit for a connection to open, if one is free or was granted.
    pub(crate) fn try_take(&self) -> bool {
        self.group.change(|shares| shares.try_take(self.id))
    }

    /// Sets how many permits the pool would take now. The caller settles afterwards, without
    /// a lock held.
    pub(crate) fn want(&self, permits: u32) {
        self.group.change(|shares| shares.want(self.id, permits));
    }

    pub(crate) fn opened(&self) {
        self.group.change(|shares| shares.opened(self.id));
    }

    pub(crate) fn leaving(&self) {
        self.group.change(|shares| shares.leaving(self.id));
    }

    /// Decides whether a connection is given up that has been idle for this long.
    pub(crate) fn give_up(&self, idle: Duration) -> bool {
        self.group.is_pressed() && self.group.change(|shares| shares.give_up(self.id, idle))
    }

    pub(crate) fn release(&self, released: Released) {
        self.group.change(|shares| shares.release(self.id, released));
    }

    /// Ends the pool's demand, and what is reserved for it.
    pub(crate) fn retire(&self) {
        self.group.change(|shares| shares.retire(self.id));
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let holder = {
            let mut state = self.group.state.lock();
            state.calls.remove(&self.id);
            state.holders.remove(&self.id)
        };
        drop(holder);
        self.group.change(|shares| shares.leave(self.id));
        self.group.call_granted();
    }
}
