//! Who gets the next shared permit, and who gives one up: arithmetic on counts, without a
//! lock, a clock or a call.
//!
//! While demand is left over, each pool is charged for the time that it holds permits,
//! divided by its weight. The next permit goes to the pool that has been charged least,
//! what it holds at the moment included. A pool gives a connection up for another one if it
//! would still not be behind that one afterwards; and an idle one in any case, once that has
//! been idle for [`IDLE_BEFORE_TAKE_OVER`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// For how long a pool may hold one permit more than another one with the same weight and the
/// same demand; seconds. Shorter turns cost more connects, longer ones make others wait.
const TURN: f64 = 0.1;

/// How far the charge of a pool may differ from the average; seconds. What a pool has not used
/// for a longer time is lost to it, and what it has used in excess is forgiven.
const MEMORY: f64 = 1.0;

/// A connection that has been idle for this long is taken over whatever its pool's share is:
/// long enough that a pool in use keeps its connections between two uses.
pub(crate) const IDLE_BEFORE_TAKE_OVER: Duration = Duration::from_millis(5);

/// What a pool is entitled to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// So many permits are reserved for it.
    pub(crate) min: u32,
    pub(crate) weight: u32,
}

/// What kind of permit was released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Released {
    /// Its connection was being closed.
    pub(crate) leaving: bool,
    /// Its connection was never opened.
    pub(crate) opening: bool,
}

/// The counts of all pools that share permits.
pub(super) struct Shares {
    limit: u32,
    members: BTreeMap<u64, Standing>,
    /// Law: the members that hold, were granted or want a permit.
    active: BTreeSet<u64>,
    next_id: u64,
    /// The sum over all members that were not retired.
    weights: u64,
    /// The sum of what is reserved for members.
    mins: u32,
    /// How many members nothing is reserved for, without those that were retired.
    unreserved: usize,
    /// One permit of a limit above one is reserved for control connections.
    reserves_control: bool,
    control: u32,
    as_of: Instant,
    /// The charge with which a pool begins: the average, as far as that has come.
    average: f64,
    /// How many demands have begun.
    demands: u64,
}

/// How one pool stands.
struct Standing {
    min: u32,
    weight: u32,
    retired: bool,
    /// Law: the live permits of its pool, without those of control connections.
    held: u32,
    /// Law: those of `held` whose connection was not opened yet, or never will be.
    opening: u32,
    /// Law: those of `held` whose connection is being closed.
    leaving: u32,
    /// Permits that were granted and not taken yet.
    granted: u32,
    /// How many permits it would take, the granted ones included.
    wanted: u32,
    /// The number of its demand: the earlier one goes first if all else is equal.
    demand: u64,
    /// Seconds for which it has held permits while others waited, divided by its weight.
    charge: f64,
}

impl Standing {
    fn has(&self) -> u32 {
        self.held + self.granted
    }

    /// Returns what it has that is not being closed.
    fn staying(&self) -> u32 {
        self.has() - self.leaving
    }

    fn is_above_min(&self) -> bool {
        self.held - self.leaving > self.min
    }

    /// Returns its charge with this many permits held for one more turn.
    fn claim(&self, permits: u32) -> f64 {
        self.charge + f64::from(permits) * TURN / f64::from(self.weight)
    }
}

impl Shares {
    pub(super) fn new(limit: u32, now: Instant) -> Shares {
        Shares {
            limit,
            members: BTreeMap::new(),
            active: BTreeSet::new(),
            next_id: 0,
            weights: 0,
            mins: 0,
            unreserved: 0,
            reserves_control: false,
            control: 0,
            as_of: now,
            average: 0.0,
            demands: 0,
        }
    }

    /// Adds a pool; returns its number, or how many permits would be needed if these are more
    /// than the limit: what is reserved, and one if there is a pool that nothing is reserved for.
    pub(super) fn join(&mut self, terms: Share) -> Result<u64, u32> {
        let mins = self.mins.saturating_add(terms.min);
        let unreserved = self.unreserved + usize::from(terms.min == 0);
        let needed = mins.saturating_add(u32::from(unreserved > 0));
        if needed > self.for_work() {
            return Err(needed);
        }
        self.unreserved = unreserved;
        let (id, weight) = (self.next_id, terms.weight.max(1));
        self.next_id += 1;
        self.mins = mins;
        self.weights += u64::from(weight);
        let standing = Standing {
            min: terms.min,
            weight,
            retired: false,
            held: 0,
            opening: 0,
            leaving: 0,
            granted: 0,
            wanted: 0,
            demand: 0,
            charge: 0.0,
        };
        self.members.insert(id, standing);
        Ok(id)
    }

    /// Ends a pool's demand and what is reserved for it; what it holds stays counted.
    pub(super) fn retire(&mut self, id: u64) {
        let standing = self.member(id);
        let (min, weight, was_retired) = (standing.min, standing.weight, standing.retired);
        (standing.wanted, standing.granted, standing.min) = (0, 0, 0);
        standing.retired = true;
        self.mins -= min;
        self.unreserved -= usize::from(min == 0 && !was_retired);
        self.weights -= if was_retired { 0 } else { u64::from(weight) };
        self.update_active(id);
    }

    /// Removes a pool that holds nothing any more.
    pub(super) fn leave(&mut self, id: u64) {
        self.retire(id);
        let standing = self.members.remove(&id).expect("bug: a pool left its group twice");
        assert!(standing.held == 0, "bug: a pool left its group with permits");
        self.active.remove(&id);
    }

    /// Changes the limit, unless more than that is needed.
    pub(super) fn set_limit(&mut self, limit: u32) -> Result<(), u32> {
        let needed = self.needed() + u32::from(self.reserves_control && limit > 1);
        if limit < needed {
            return Err(needed);
        }
        self.limit = limit;
        Ok(())
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Reserves one permit for control connections from now on, if the limit is above one
    /// and that one is not needed for the pools.
    pub(super) fn reserve_control(&mut self) {
        self.reserves_control = self.reserves_control || self.needed() < self.limit;
    }

    pub(super) fn take_control(&mut self) -> bool {
        let is_free = if self.reserves_control {
            self.control == 0
        } else {
            self.held_by_all() < self.for_work()
        };
        let is_free = self.limit > 1 && is_free && self.held_by_all() + self.control < self.limit;
        self.control += u32::from(is_free);
        is_free
    }

    pub(super) fn release_control(&mut self) {
        let left = self.control.checked_sub(1);
        self.control = left.expect("bug: more control permits were released than taken");
    }

    /// Takes a permit for a connection to open: one that was granted, or a free one. As far
    /// as others want permits, all free ones have been granted.
    pub(super) fn try_take(&mut self, id: u64) -> bool {
        let standing = &self.members[&id];
        let is_granted = standing.granted > 0;
        let may_open = standing.opening + standing.granted < self.most_opening(standing);
        let may_take = is_granted || may_open && self.room().of(standing) > 0;
        if !may_take {
            return false;
        }
        let standing = self.activated(id);
        if is_granted {
            standing.granted -= 1;
            standing.wanted = standing.wanted.saturating_sub(1);
        }
        standing.held += 1;
        standing.opening += 1;
        true
    }

    /// Sets how many permits a pool would take now. What was granted to it and not taken
    /// goes to whoever is next.
    pub(super) fn want(&mut self, id: u64, wanted: u32) {
        self.demands += 1;
        let demand = self.demands;
        let standing = self.activated(id);
        if standing.wanted == 0 {
            standing.demand = demand;
        }
        let wanted = if standing.retired { 0 } else { wanted };
        (standing.wanted, standing.granted) = (wanted, 0);
        self.update_active(id);
    }

    pub(super) fn opened(&mut self, id: u64) {
        let standing = self.member(id);
        let left = standing.opening.checked_sub(1);
        standing.opening = left.expect("bug: more connections were opened than permitted");
    }

    pub(super) fn leaving(&mut self, id: u64) {
        self.member(id).leaving += 1;
    }

    pub(super) fn release(&mut self, id: u64, released: Released) {
        let standing = self.member(id);
        standing.leaving -= u32::from(released.leaving);
        standing.opening -= u32::from(released.opening);
        let left = standing.held.checked_sub(1);
        standing.held = left.expect("bug: more shared permits were released than taken");
        self.update_active(id);
    }

    /// Decides whether a pool gives up one of its connections, which has been idle for this
    /// long; if so, that counts as being closed.
    pub(super) fn give_up(&mut self, id: u64, idle: Duration) -> bool {
        let gives_up = self.members[&id].is_above_min()
            && (self.is_over_limit() || self.is_pressed() && self.is_due(id, idle));
        if gives_up {
            self.leaving(id);
        }
        gives_up
    }

    fn is_due(&self, id: u64, idle: Duration) -> bool {
        let standing = &self.members[&id];
        let Some((next, claim)) = self.next_unserved() else { return false };
        let is_idle = idle >= IDLE_BEFORE_TAKE_OVER;
        next != id && (is_idle || standing.claim(standing.staying() - 1) >= claim)
    }

    /// Charges the pools for the time since the last call, if demand was left over.
    pub(super) fn charge(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.as_of = self.as_of.max(now);
        if self.active.is_empty() || self.demand() == 0 {
            return;
        }
        let mut sum = 0.0;
        for id in &self.active {
            let standing = self.members.get_mut(id).expect("bug: an active pool is none");
            let weight = f64::from(standing.weight);
            standing.charge += f64::from(standing.has()) * elapsed / weight;
            sum += standing.charge;
        }
        let count = u32::try_from(self.active.len()).unwrap_or(u32::MAX);
        self.average = self.average.max(sum / f64::from(count));
        for id in &self.active {
            let standing = self.members.get_mut(id).expect("bug: an active pool is none");
            let within = (self.average - MEMORY, self.average + MEMORY);
            standing.charge = standing.charge.clamp(within.0, within.1);
        }
    }

    /// Grants the free permits to the pools that want some; returns these.
    pub(super) fn assign(&mut self) -> Vec<u64> {
        let mut granted = Vec::new();
        loop {
            let room = self.room();
            let next = self.next(&BTreeMap::new(), |standing| room.of(standing) > 0);
            let Some((id, _)) = next.filter(|_| room.free > 0) else { return granted };
            self.member(id).granted += 1;
            granted.push(id);
        }
    }

    /// Returns `true` if more is wanted than is granted and being closed, or if more is held
    /// than the limit allows.
    pub(super) fn is_pressed(&self) -> bool {
        let coming: u32 = self.active().map(|standing| standing.leaving).sum();
        self.demand() > coming || self.is_over_limit()
    }

    /// Returns how many permits the pools want and may use now beyond those that were granted.
    pub(super) fn demand(&self) -> u32 {
        self.active().map(|standing| self.wants(standing).saturating_sub(standing.granted)).sum()
    }

    /// Returns the pools that want permits.
    pub(super) fn wanting(&self) -> Vec<u64> {
        let wanting = self.active.iter().filter(|id| self.members[id].wanted > 0);
        wanting.copied().collect()
    }

    /// Returns the pools that could give a connection up.
    pub(super) fn holding(&self) -> Vec<u64> {
        let holding = self.active.iter().filter(|id| self.members[id].is_above_min());
        holding.copied().collect()
    }

    /// Returns how many pools there are, and how many permits they have.
    pub(super) fn counts(&self) -> (usize, u32) {
        (self.members.len(), self.held_by_all() + self.control)
    }

    /// Returns how many permits a pool has, and how many more it could take.
    pub(super) fn counts_of(&self, id: u64) -> (u32, u32) {
        let standing = &self.members[&id];
        (standing.held, self.room().of(standing))
    }
}

impl Shares {
    fn member(&mut self, id: u64) -> &mut Standing {
        self.members.get_mut(&id).expect("bug: a pool left its group with permits")
    }

    fn active(&self) -> impl Iterator<Item = &Standing> {
        self.active.iter().map(|id| &self.members[id])
    }

    /// Returns a member, which is active from now on. Nobody begins behind the others, or far
    /// before them.
    fn activated(&mut self, id: u64) -> &mut Standing {
        let average = self.average;
        let begins = self.active.insert(id);
        let standing = self.member(id);
        if begins {
            standing.charge = standing.charge.clamp(average, average + MEMORY);
        }
        standing
    }

    fn update_active(&mut self, id: u64) {
        let standing = &self.members[&id];
        if standing.has() == 0 && standing.wanted == 0 {
            self.active.remove(&id);
        }
    }

    /// Returns the least limit: so much is reserved, and one for the pools without.
    fn needed(&self) -> u32 {
        self.mins + u32::from(self.unreserved > 0)
    }

    fn for_work(&self) -> u32 {
        self.limit - u32::from(self.reserves_control && self.limit > 1)
    }

    fn held_by_all(&self) -> u32 {
        self.active().map(Standing::has).sum()
    }

    fn is_over_limit(&self) -> bool {
        self.active().map(Standing::staying).sum::<u32>() > self.for_work()
    }

    fn room(&self) -> Room {
        let held = self.held_by_all();
        let free = self.for_work().saturating_sub(held);
        let free = free.min(self.limit.saturating_sub(held + self.control));
        let kept: u32 = self.active().map(|standing| standing.min.min(standing.has())).sum();
        Room { free, reserved: self.mins - kept }
    }

    /// Returns how many connections a pool may have in the course of being opened: its share
    /// by weight, and at least one. A server that does not answer costs no more.
    fn most_opening(&self, standing: &Standing) -> u32 {
        let share = u64::from(self.limit) * u64::from(standing.weight) / self.weights.max(1);
        u32::try_from(share).unwrap_or(u32::MAX).max(1)
    }

    /// Returns how many permits a pool wants and may use now, the granted ones included.
    fn wants(&self, standing: &Standing) -> u32 {
        standing.wanted.min(self.most_opening(standing).saturating_sub(standing.opening))
    }

    /// Returns the pool with the strongest claim to one permit more than it has and was
    /// promised, among those that want it and `may` have it; and the claim.
    fn next(
        &self,
        promised: &BTreeMap<u64, u32>,
        may: impl Fn(&Standing) -> bool,
    ) -> Option<(u64, f64)> {
        let mut best: Option<(u64, f64, u64)> = None;
        for (id, standing) in self.active.iter().map(|id| (*id, &self.members[id])) {
            let extra = promised.get(&id).copied().unwrap_or(0);
            if standing.granted + extra >= self.wants(standing) || !may(standing) {
                continue;
            }
            let having = standing.staying() + extra;
            // What is reserved comes first.
            let is_reserved = having < standing.min;
            let claim = if is_reserved { f64::NEG_INFINITY } else { standing.claim(having + 1) };
            if best.is_none_or(|(_, least, first)| (claim, standing.demand) < (least, first)) {
                best = Some((id, claim, standing.demand));
            }
        }
        best.map(|(id, claim, _)| (id, claim))
    }

    /// Returns the pool that is next when what is being closed has been granted, and its
    /// claim; `None` if that is enough for all.
    fn next_unserved(&self) -> Option<(u64, f64)> {
        let coming: u32 = self.active().map(|standing| standing.leaving).sum();
        let mut promised: BTreeMap<u64, u32> = BTreeMap::new();
        for _ in 0..coming {
            let (id, _) = self.next(&promised, |_| true)?;
            *promised.entry(id).or_default() += 1;
        }
        self.next(&promised, |_| true)
    }
}

/// What can be granted.
struct Room {
    free: u32,
    /// How much of that is reserved for pools.
    reserved: u32,
}

impl Room {
    /// Returns how many permits one pool may take: all that are free, but for what is
    /// reserved for the others.
    fn of(&self, standing: &Standing) -> u32 {
        let own = standing.min - standing.min.min(standing.has());
        self.free.saturating_sub(self.reserved - own)
    }
}
