//! Running totals in atomics: relaxed, because no decision depends on them.

use super::close_reason::CloseReason;
use super::encryption::Encryption;
use super::histogram::{Histogram, HistogramCells};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How often connections were checked out and peeked at: counted with each connection while
/// it is open, so that threads share no counter at every check-out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Uses {
    pub(crate) checkouts: u64,
    pub(crate) peeks: u64,
    /// How long connections were in use.
    pub(crate) times: Histogram,
}

/// The running totals of one pool or manager.
#[derive(Debug)]
pub(crate) struct Counters {
    opened: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    connect_attempts: AtomicU64,
    connect_failures: AtomicU64,
    /// Of connections that were closed, as the peeks.
    checkouts: AtomicU64,
    timeouts: AtomicU64,
    peeks: AtomicU64,
    pings: AtomicU64,
    keepalive_pings: AtomicU64,
    panics: AtomicU64,
    left_behind: AtomicU64,
    events_dropped: AtomicU64,
    resets: AtomicU64,
    rolled_back: AtomicU64,
    slow_checkouts: AtomicU64,
    slow_statements: AtomicU64,
    held_too_long: AtomicU64,
    outages: AtomicU64,
    /// The time that each connection took to open.
    connect: HistogramCells,
    /// The time that check-outs waited, except for those that did not wait.
    wait: HistogramCells,
    /// How many check-outs did not wait, as last calculated: it never falls, so that no bucket
    /// of the waits does.
    immediate: AtomicU64,
    /// Open connections by their encryption: levels, not totals.
    encryption: [AtomicU32; Encryption::ALL.len()],
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
            keepalive_pings: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            left_behind: AtomicU64::new(0),
            events_dropped: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            rolled_back: AtomicU64::new(0),
            slow_checkouts: AtomicU64::new(0),
            slow_statements: AtomicU64::new(0),
            held_too_long: AtomicU64::new(0),
            outages: AtomicU64::new(0),
            connect: HistogramCells::new(),
            wait: HistogramCells::new(),
            immediate: AtomicU64::new(0),
            encryption: [const { AtomicU32::new(0) }; Encryption::ALL.len()],
        }
    }

    /// Counts an open connection with this encryption.
    pub(crate) fn enter_encryption(&self, encryption: Encryption) {
        self.encryption[encryption as usize].fetch_add(1, Relaxed);
    }

    /// Law: called once for each connection that was counted.
    pub(crate) fn leave_encryption(&self, encryption: Encryption) {
        self.encryption[encryption as usize].fetch_sub(1, Relaxed);
    }

    /// Returns the weakest encryption among the open connections.
    pub(crate) fn weakest_encryption(&self) -> Option<Encryption> {
        let is_present = |level: &Encryption| self.encryption[*level as usize].load(Relaxed) > 0;
        Encryption::ALL.into_iter().find(is_present)
    }

    pub(crate) fn count_opened(&self, took: Duration) {
        self.opened.fetch_add(1, Relaxed);
        self.connect.record(took);
    }

    /// Counts how long a check-out waited; law: not called for one that did not wait.
    pub(crate) fn count_wait(&self, waited: Duration) {
        self.wait.record(waited);
    }

    pub(crate) fn count_slow_checkout(&self) {
        self.slow_checkouts.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_slow_statement(&self) {
        self.slow_statements.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_held_too_long(&self) {
        self.held_too_long.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_outage(&self) {
        self.outages.fetch_add(1, Relaxed);
    }

    pub(crate) fn connect(&self) -> Histogram {
        self.connect.load()
    }

    /// Returns the waits of this many check-outs, which were counted before this call.
    pub(crate) fn wait(&self, checkouts: u64) -> Histogram {
        let waited = self.wait.load();
        // The waits of further check-outs may be among them: it can only be too low.
        let least = checkouts.saturating_sub(waited.count());
        let immediate = self.immediate.fetch_max(least, Relaxed).max(least);
        waited.with_zeros(immediate)
    }

    pub(crate) fn slow_checkouts(&self) -> u64 {
        self.slow_checkouts.load(Relaxed)
    }

    pub(crate) fn slow_statements(&self) -> u64 {
        self.slow_statements.load(Relaxed)
    }

    pub(crate) fn held_too_long(&self) -> u64 {
        self.held_too_long.load(Relaxed)
    }

    pub(crate) fn outages(&self) -> u64 {
        self.outages.load(Relaxed)
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

    /// Adds the uses of a connection that is closed.
    pub(crate) fn add_uses(&self, checkouts: u64, peeks: u64) {
        self.checkouts.fetch_add(checkouts, Relaxed);
        self.peeks.fetch_add(peeks, Relaxed);
    }

    pub(crate) fn count_timeout(&self) {
        self.timeouts.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_ping(&self) {
        self.pings.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_keepalive_ping(&self) {
        self.keepalive_pings.fetch_add(1, Relaxed);
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
        std::array::from_fn(|index| self.closed[index].load(Relaxed))
    }

    pub(crate) fn connect_attempts(&self) -> u64 {
        self.connect_attempts.load(Relaxed)
    }

    pub(crate) fn connect_failures(&self) -> u64 {
        self.connect_failures.load(Relaxed)
    }

    /// Returns the uses of the connections that were closed.
    pub(crate) fn uses_of_closed(&self) -> (u64, u64) {
        (self.checkouts.load(Relaxed), self.peeks.load(Relaxed))
    }

    pub(crate) fn timeouts(&self) -> u64 {
        self.timeouts.load(Relaxed)
    }

    pub(crate) fn pings(&self) -> u64 {
        self.pings.load(Relaxed)
    }

    pub(crate) fn keepalive_pings(&self) -> u64 {
        self.keepalive_pings.load(Relaxed)
    }

    pub(crate) fn count_left_behind(&self) {
        self.left_behind.fetch_add(1, Relaxed);
    }

    pub(crate) fn left_behind(&self) -> u64 {
        self.left_behind.load(Relaxed)
    }

    pub(crate) fn count_event_dropped(&self) {
        self.events_dropped.fetch_add(1, Relaxed);
    }

    pub(crate) fn events_dropped(&self) -> u64 {
        self.events_dropped.load(Relaxed)
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bucket_of_the_waits_falls_while_check_outs_are_counted() {
        let counters = Counters::new();
        let times = |checkouts| {
            let times = counters.wait(checkouts);
            (times.buckets().next().map(|(_, count)| count), times.count())
        };
        assert_eq!(times(5), (Some(5), 5));
        // The next two have waited; their check-outs are not counted yet.
        counters.count_wait(Duration::from_secs(1));
        counters.count_wait(Duration::from_secs(1));
        assert_eq!(times(5), (Some(5), 7));
        assert_eq!(times(7), (Some(5), 7));
        assert_eq!(times(9), (Some(7), 9));
    }

    #[test]
    fn the_weakest_encryption_among_open_connections_is_reported() {
        let counters = Counters::new();
        assert_eq!(counters.weakest_encryption(), None);
        counters.enter_encryption(Encryption::Verified);
        counters.enter_encryption(Encryption::Plain);
        counters.enter_encryption(Encryption::Unverified);
        assert_eq!(counters.weakest_encryption(), Some(Encryption::Plain));
        counters.leave_encryption(Encryption::Plain);
        assert_eq!(counters.weakest_encryption(), Some(Encryption::Unverified));
    }
}
