//! How many connections may exist: permits that release themselves.
//!
//! A connection can be opened only with a [`Permit`], and the permit is released only
//! when the connection has ended as the server sees it. Dropping a permit calls the
//! listener, which may take the pool's lock: no permit may be dropped under that lock.
//!
//! Where several pools share a group of permits, each permit is one of the group's as well.

use crate::connection::permit_counts::{PermitCounts, PermitUsage};
use crate::connection::permit_group::{Member, Released};
use crate::sys::sync::{Arc, Condvar, Mutex, wait_until};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often a control connection asks for a shared permit, whose release signals nothing to
/// this pool.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// The permits of one pool or manager.
pub(crate) struct Permits {
    /// Law: `used` equals the number of live permits, and never exceeds `limit`
    /// except after the limit was lowered.
    counts: Mutex<PermitCounts>,
    /// A hint for the hot path: more connections are open than the limit allows.
    over: AtomicBool,
    freed: Condvar,
    listener: Mutex<Option<Listener>>,
    /// The pool's part of a group; its lock is taken under that of `counts`.
    member: OnceLock<Member>,
}

type Listener = Arc<dyn Fn() + Send + Sync>;

impl Permits {
    pub(crate) fn new(limit: u32) -> Arc<Permits> {
        Arc::new(Permits {
            counts: Mutex::new(PermitCounts::new(limit)),
            over: AtomicBool::new(false),
            freed: Condvar::new(),
            listener: Mutex::new(None),
            member: OnceLock::new(),
        })
    }

    /// Makes each permit one of a group as well. Before the first one is taken, and once.
    pub(crate) fn share(&self, member: Member) {
        let joined = self.member.set(member);
        assert!(joined.is_ok(), "bug: a pool joined two groups of permits");
    }

    /// Returns the pool's part of a group, if it shares permits.
    #[inline]
    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.get()
    }

    /// Calls this after every released permit, without a lock held.
    pub(crate) fn listen(&self, listener: Listener) {
        *self.listener.lock() = Some(listener);
    }

    /// Reserves one permit for control connections from now on, if the limit is above one.
    pub(crate) fn reserve(&self) {
        let mut counts = self.counts.lock();
        counts.reserve = true;
        self.member().into_iter().for_each(Member::reserve_control);
        self.update_over(&counts);
    }

    /// Takes a permit if one is free. Never blocks.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Permit> {
        let mut counts = self.counts.lock();
        let is_free = counts.has_room() && self.member().is_none_or(Member::try_take);
        is_free.then(|| self.grant(&mut counts))
    }

    /// Tells the group how many permits the pool would take now beyond those it has, as far
    /// as its own limit allows. The caller settles the group when it has released its locks.
    #[inline]
    pub(crate) fn want(&self, permits: usize) {
        if let Some(member) = self.member() {
            self.want_of(member, permits);
        }
    }

    fn want_of(&self, member: &Member, permits: usize) {
        let mut counts = self.counts.lock();
        let room = counts.for_work().saturating_sub(counts.used - counts.control);
        let wanted = u32::try_from(permits).unwrap_or(u32::MAX).min(room);
        if wanted > 0 || counts.wanted > 0 {
            counts.wanted = wanted;
            member.want(wanted);
        }
    }

    /// Waits until `deadline` for the permit that is reserved for control connections, or,
    /// if none is reserved, until `any` for any permit. Returns `None` immediately if the
    /// limit, or that of the group, allows no control connection.
    pub(crate) fn take_control_until(
        self: &Arc<Self>,
        deadline: Instant,
        any: Instant,
    ) -> Option<Permit> {
        let mut counts = self.counts.lock();
        loop {
            let (is_reserved, limit) = (counts.reserve, counts.limit);
            let (free, deadline) = if is_reserved {
                (counts.control == 0 && counts.used < limit, deadline)
            } else {
                (counts.has_room(), any)
            };
            let is_allowed = limit > 1 && self.member().is_none_or(Member::allows_control);
            if is_allowed && free && self.member().is_none_or(Member::take_control) {
                return Some(self.grant_control(&mut counts, is_reserved));
            }
            let now = Instant::now();
            if !is_allowed || now >= deadline {
                return None;
            }
            let asks = self.member().map_or(deadline, |_| deadline.min(now + ASK_EVERY));
            wait_until(&self.freed, &mut counts, asks);
        }
    }

    fn grant(self: &Arc<Self>, counts: &mut PermitCounts) -> Permit {
        counts.used += 1;
        let kind = Kind { opening: true, ..Kind::default() };
        Permit { permits: Some(Arc::clone(self)), kind }
    }

    fn grant_control(self: &Arc<Self>, counts: &mut PermitCounts, reserved: bool) -> Permit {
        counts.used += 1;
        counts.control += u32::from(reserved);
        let kind = Kind { control: true, reserved, ..Kind::default() };
        Permit { permits: Some(Arc::clone(self)), kind }
    }

    /// Waits for a permit until the deadline.
    pub(crate) fn take_until(self: &Arc<Self>, deadline: Instant) -> Option<Permit> {
        let mut counts = self.counts.lock();
        while !counts.has_room() {
            if Instant::now() >= deadline {
                return None;
            }
            wait_until(&self.freed, &mut counts, deadline);
        }
        Some(self.grant(&mut counts))
    }

    /// Changes the limit. Permits beyond it are released by their owners in time; the
    /// caller tells the pool of a higher limit.
    pub(crate) fn set_limit(&self, limit: u32) {
        let mut counts = self.counts.lock();
        counts.limit = limit;
        self.freed.notify_all();
        self.update_over(&counts);
    }

    /// Returns `true`, without a lock, if more connections are open than the limit allows, or
    /// if another pool wants one of the shared permits; [`Permit::leave_if_surplus`] decides
    /// for one.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Relaxed) || self.member().is_some_and(|member| member.group().is_pressed())
    }

    fn update_over(&self, counts: &PermitCounts) {
        self.over.store(counts.staying() > counts.for_work(), Relaxed);
    }

    /// Returns how many connections may do work: all but the one that may be reserved.
    pub(crate) fn for_work(&self) -> u32 {
        self.counts.lock().for_work()
    }

    /// Returns the limit, the used permits, and the abandoned connections beyond them.
    pub(crate) fn usage(&self) -> PermitUsage {
        self.counts.lock().usage()
    }

    /// Marks that no pool is left that waits for what is still being closed.
    pub(crate) fn orphan(&self) {
        self.counts.lock().orphaned = true;
        *self.listener.lock() = None;
        self.retire();
    }

    /// Ends what the pool wants of its group and what is reserved for it there. Without a
    /// lock held.
    pub(crate) fn retire(&self) {
        if let Some(member) = self.member() {
            member.retire();
            member.group().call_granted();
        }
    }

    pub(crate) fn is_orphaned(&self) -> bool {
        self.counts.lock().orphaned
    }

    fn release(&self, kind: Kind, change: impl FnOnce(&mut PermitCounts)) {
        {
            let mut counts = self.counts.lock();
            counts.release(kind.leaving, kind.reserved);
            change(&mut counts);
            self.update_over(&counts);
            // The waiters may wait for different kinds of permits.
            self.freed.notify_all();
        }
        match self.member() {
            Some(member) if kind.control => member.release_control(),
            Some(member) => member.release(kind.released()),
            None => {}
        }
        let listener = self.listener.lock().clone();
        if let Some(listener) = listener {
            listener();
        }
        if let Some(member) = self.member() {
            member.group().call_granted();
        }
    }
}

/// The right to have one connection open; dropping it releases the right.
#[must_use]
pub(crate) struct Permit {
    /// `None` only after `abandon` has released the permit.
    permits: Option<Arc<Permits>>,
    kind: Kind,
}

/// What a permit is used for.
#[derive(Clone, Copy, Default)]
struct Kind {
    /// Its connection was not opened yet.
    opening: bool,
    leaving: bool,
    /// It is for a control connection.
    control: bool,
    /// It is the one reserved for control connections.
    reserved: bool,
}

impl Kind {
    fn released(self) -> Released {
        Released { leaving: self.leaving, opening: self.opening }
    }
}

impl Permit {
    pub(crate) fn is_orphaned(&self) -> bool {
        self.permits.as_ref().is_none_or(|permits| permits.is_orphaned())
    }

    /// Returns what tells the pools of permits apart.
    pub(crate) fn pool(&self) -> usize {
        self.permits.as_ref().map_or(0, |permits| Arc::as_ptr(permits).addr())
    }

    /// Marks the connection as open. Without a lock held.
    pub(crate) fn opened(&mut self) {
        let was_opening = std::mem::take(&mut self.kind.opening);
        let permits = self.permits.as_ref().filter(|_| was_opening);
        if let Some(member) = permits.and_then(|permits| permits.member()) {
            member.opened();
            member.group().call_granted();
        }
    }

    /// Marks the connection as being closed.
    pub(crate) fn leave(&mut self) {
        self.leave_if(|_, member| {
            member.into_iter().for_each(Member::leaving);
            true
        });
    }

    /// Marks the connection as being closed if more are open than the limit allows; returns
    /// `true` if it did.
    pub(crate) fn leave_if_surplus(&mut self) -> bool {
        self.leave_if(|counts, member| {
            let is_surplus = counts.staying() > counts.for_work();
            if is_surplus {
                member.into_iter().for_each(Member::leaving);
            }
            is_surplus
        })
    }

    /// Marks the connection as being closed if another pool is to have its shared permit; it
    /// has been idle for this long. Returns `true` if it did.
    pub(crate) fn leave_if_given_up(&mut self, idle: Duration) -> bool {
        self.leave_if(|_, member| member.is_some_and(|member| member.give_up(idle)))
    }

    fn leave_if(&mut self, wanted: impl FnOnce(&PermitCounts, Option<&Member>) -> bool) -> bool {
        let kind = self.kind;
        let Some(permits) = self.permits.as_ref().filter(|_| !kind.leaving && !kind.reserved)
        else {
            return false;
        };
        let mut counts = permits.counts.lock();
        // The group counts control connections apart.
        self.kind.leaving = wanted(&counts, permits.member().filter(|_| !kind.control));
        counts.leaving += u32::from(self.kind.leaving);
        permits.update_over(&counts);
        self.kind.leaving
    }

    /// Releases the permit although the server has not confirmed the close; the
    /// connection counts as abandoned until the result is dropped.
    pub(crate) fn abandon(mut self) -> Option<Abandoned> {
        let permits = self.permits.take()?;
        permits.release(self.kind, |counts| counts.abandoned += 1);
        Some(Abandoned { permits })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(permits) = self.permits.take() {
            permits.release(self.kind, |_| ());
        }
    }
}

/// A connection that the server may still have open although its permit was released.
#[must_use]
pub(crate) struct Abandoned {
    permits: Arc<Permits>,
}

impl Abandoned {
    pub(crate) fn is_orphaned(&self) -> bool {
        self.permits.is_orphaned()
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let mut counts = self.permits.counts.lock();
        counts.abandoned_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::permit_group::{PermitGroup, Share};
    use std::time::Duration;

    #[test]
    fn no_more_permits_than_the_limit_are_given_and_each_is_released() {
        let permits = Permits::new(2);
        let (one, two) = (permits.try_take(), permits.try_take());
        assert!(one.is_some() && two.is_some() && permits.try_take().is_none());
        drop(one);
        assert!(permits.try_take().is_some());
        drop(two);
        assert_eq!(permits.usage(), PermitUsage { limit: 2, used: 0, abandoned: 0 });
    }

    #[test]
    fn a_lowered_limit_marks_exactly_the_surplus_as_being_closed() {
        let permits = Permits::new(4);
        let mut held: Vec<Permit> = (0..4).filter_map(|_| permits.try_take()).collect();
        held[3].leave();
        assert!(!permits.is_over());
        permits.set_limit(2);
        assert!(permits.is_over());
        let gone: Vec<bool> = held.iter_mut().map(Permit::leave_if_surplus).collect();
        assert_eq!(gone, [true, false, false, false]);
        assert!(!permits.is_over() && permits.try_take().is_none());
        drop(held);
        assert_eq!(permits.usage(), PermitUsage { limit: 2, used: 0, abandoned: 0 });
    }

    fn control(permits: &Arc<Permits>) -> Option<Permit> {
        permits.take_control_until(Instant::now(), Instant::now())
    }

    #[test]
    fn one_permit_is_reserved_for_control_and_the_limit_holds_for_all() {
        let permits = Permits::new(3);
        permits.reserve();
        let (one, two) = (permits.try_take(), permits.try_take());
        assert!(one.is_some() && two.is_some() && permits.try_take().is_none());
        let kept = control(&permits);
        assert!(kept.is_some() && control(&permits).is_none());
        drop(two);
        let three = permits.try_take();
        assert!(three.is_some() && permits.try_take().is_none());
        assert!(!permits.is_over());
        drop(kept);
        assert!(permits.try_take().is_none(), "the reserved one is not for work");
        assert!(control(&permits).is_some());
        permits.set_limit(1);
        assert!(permits.is_over() && control(&permits).is_none());
        drop((one, three));
        assert!(permits.try_take().is_some(), "a limit of one reserves none");
    }

    #[test]
    fn the_limit_holds_for_a_control_connection_too() {
        let permits = Permits::new(3);
        let mut held: Vec<Permit> = (0..3).filter_map(|_| permits.try_take()).collect();
        permits.reserve();
        assert_eq!(held.len(), 3, "all were taken before one was reserved");
        assert!(control(&permits).is_none());
        held.pop();
        assert!(control(&permits).is_some());
        let only = Permits::new(1);
        only.reserve();
        assert!(control(&only).is_none(), "a limit of one reserves none");
    }

    #[test]
    fn if_none_is_reserved_a_control_connection_takes_any_free_permit() {
        let permits = Permits::new(2);
        let one = control(&permits);
        let two = permits.try_take();
        assert!(one.is_some() && two.is_some());
        assert!(control(&permits).is_none());
        drop((one, two));
        assert_eq!(permits.usage(), PermitUsage { limit: 2, used: 0, abandoned: 0 });
    }

    #[test]
    fn a_group_of_one_permit_allows_no_control_connection_and_nobody_waits_for_one() {
        let permits = Permits::new(3);
        let group = PermitGroup::new(1);
        permits.share(group.join(Share { min: 0, weight: 1 }).expect("the first"));
        permits.reserve();
        let start = Instant::now();
        let deadline = start + Duration::from_secs(120);
        assert!(permits.take_control_until(deadline, deadline).is_none());
        assert!(start.elapsed() < Duration::from_secs(60), "it waited for none");
        assert!(permits.try_take().is_some(), "the one permit is for work");
    }

    #[test]
    fn an_abandoned_permit_is_free_and_its_connection_counted_until_its_end() {
        let permits = Permits::new(1);
        let abandoned = permits.try_take().expect("a permit").abandon();
        assert_eq!(permits.usage(), PermitUsage { limit: 1, used: 0, abandoned: 1 });
        drop(abandoned);
        assert_eq!(permits.usage().abandoned, 0);
    }

    #[test]
    fn a_wait_for_a_permit_ends_with_a_permit_or_at_its_deadline() {
        let permits = Permits::new(1);
        let held = permits.try_take();
        let start = Instant::now();
        assert!(permits.take_until(start + Duration::from_millis(30)).is_none());
        assert!(start.elapsed() >= Duration::from_millis(30));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| permits.take_until(start + Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(10));
            drop(held);
            assert!(waiter.join().expect("no panic").is_some());
        });
    }
}
