//! Running totals, kept by atomics: relaxed, because no decision hangs on them.

use super::encryption::Encryption;
use super::reason::CloseReason;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// The running totals of one pool or manager.
#[derive(Debug)]
pub(crate) struct Counters {
    opened: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    connect_attempts: AtomicU64,
    connect_failures: AtomicU64,
    checkouts: AtomicU64,
    timeouts: AtomicU64,
    peeks: AtomicU64,
    pings: AtomicU64,
    panics: AtomicU64,
    resets: AtomicU64,
    rolled_back: AtomicU64,
    /// Open connections by how they are protected: levels, not totals.
    protected: [AtomicU32; Encryption::ALL.len()],
}

impl Counters {
    pub(crate) fn new() -> Counters {
        Counters {
            opened: AtomicU64::new(0),
            closed: [const { AtomicU64::new(0) }; CloseReason::ALL.len()],
            connect_attempts: AtomicU64::new(0),
            connect_failures: AtomicU64::new(0),
            checkouts: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            peeks: AtomicU64::new(0),
            pings: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            rolled_back: AtomicU64::new(0),
            protected: [const { AtomicU32::new(0) }; Encryption::ALL.len()],
        }
    }

    /// A connection that is protected so was opened.
    pub(crate) fn enter_protected(&self, how: Encryption) {
        self.protected[how as usize].fetch_add(1, Relaxed);
    }

    /// Law: called once for each connection that was entered.
    pub(crate) fn leave_protected(&self, how: Encryption) {
        self.protected[how as usize].fetch_sub(1, Relaxed);
    }

    /// How the least protected of the open connections is protected.
    pub(crate) fn weakest_protection(&self) -> Option<Encryption> {
        let is_present = |how: &Encryption| self.protected[*how as usize].load(Relaxed) > 0;
        Encryption::ALL.into_iter().find(is_present)
    }

    pub(crate) fn count_opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_closed(&self, reason: CloseReason) {
        self.closed[reason.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_attempt(&self) {
        self.connect_attempts.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_connect_failure(&self) {
        self.connect_failures.fetch_add(1, Relaxed);
    }

    #[inline]
    pub(crate) fn count_checkout(&self) {
        self.checkouts.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_timeout(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_peek(&self) {
        self.peeks.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_ping(&self) {
        self.pings.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_reset(&self) {
        self.resets.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_rolled_back(&self) {
        self.rolled_back.fetch_add(1, Relaxed);
    }

    pub(crate) fn resets(&self) -> u64 {
        self.resets.load(Relaxed)
    }

    pub(crate) fn rolled_back(&self) -> u64 {
        self.rolled_back.load(Relaxed)
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    pub(crate) fn closed(&self) -> [u64; CloseReason::ALL.len()] {
        std::array::from_fn(|place| self.closed[place].load(Relaxed))
    }

    pub(crate) fn connect_attempts(&self) -> u64 {
        self.connect_attempts.load(Relaxed)
    }

    pub(crate) fn connect_failures(&self) -> u64 {
        self.connect_failures.load(Relaxed)
    }

    pub(crate) fn checkouts(&self) -> u64 {
        self.checkouts.load(Relaxed)
    }

    pub(crate) fn timeouts(&self) -> u64 {
        self.timeouts.load(Relaxed)
    }

    pub(crate) fn peeks(&self) -> u64 {
        self.peeks.load(Relaxed)
    }

    pub(crate) fn pings(&self) -> u64 {
        self.pings.load(Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weakest_protection_of_those_that_are_open_is_told() {
        let counters = Counters::new();
        assert_eq!(counters.weakest_protection(), None);
        counters.enter_protected(Encryption::Verified);
        counters.enter_protected(Encryption::Plain);
        counters.enter_protected(Encryption::Unverified);
        assert_eq!(counters.weakest_protection(), Some(Encryption::Plain));
        counters.leave_protected(Encryption::Plain);
        assert_eq!(counters.weakest_protection(), Some(Encryption::Unverified));
    }
}
