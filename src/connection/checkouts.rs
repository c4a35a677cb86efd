//! Which thread holds which connection, for the text of timeouts and warnings, and how often and
//! for how long each connection was used, for reports.
//!
//! Written at every check-out and check-in by plain stores, without a lock. The loads of one
//! entry may mix two check-outs: which thread holds it is a hint.

use crate::observe::{
    ConnectionInfo, ConnectionStatus, Counters, HistogramCells, HolderThread, Uses,
};
use crate::sys::backtrace::CallStack;
use crate::sys::clock::Tick;
use crate::sys::counted::counted;
use crate::sys::thread_number;
use crossbeam_utils::atomic::AtomicCell;
use parking_lot::Mutex;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

/// Which thread has one connection checked out, since when, and from which call site.
pub(crate) struct CheckoutInfo {
    connection: u64,
    /// The server's number of the session.
    server_process: Option<u64>,
    birth: Instant,
    /// The end of its lifetime.
    deadline: Option<Instant>,
    /// The nanoseconds of a [`Tick`]; zero while the connection is idle.
    since: AtomicU64,
    /// The same of the check-out that was last reported as held too long.
    reported: AtomicU64,
    thread: AtomicU64,
    site: AtomicCell<Option<&'static Location<'static>>>,
    /// How long it was in use each time; written only by the thread that has the connection.
    usage: HistogramCells,
    /// Law: written only by the thread that has the connection, as those that follow.
    checkouts: AtomicU64,
    peeks: AtomicU64,
    pings: AtomicU64,
    resets: AtomicU64,
    calls: Option<Box<SampledCalls>>,
}

/// The calls that led to some of the check-outs.
struct SampledCalls {
    /// One in so many; not 0.
    one_in: u64,
    /// The last ones, and the nanoseconds of the check-out's [`Tick`]. Law: nothing is captured
    /// or written under the lock.
    last: Mutex<Option<(u64, Arc<CallStack>)>>,
}

impl CheckoutInfo {
    pub(crate) fn new(
        (connection, server_process): (u64, Option<u64>),
        birth: Instant,
        deadline: Option<Instant>,
        one_in: u32,
    ) -> CheckoutInfo {
        let sampled = |one_in| Box::new(SampledCalls { one_in, last: Mutex::new(None) });
        CheckoutInfo {
            connection,
            server_process,
            birth,
            deadline,
            since: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            thread: AtomicU64::new(0),
            site: AtomicCell::new(None),
            usage: HistogramCells::new(),
            checkouts: AtomicU64::new(0),
            peeks: AtomicU64::new(0),
            pings: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            calls: (one_in > 0).then(|| sampled(u64::from(one_in))),
        }
    }

    #[inline]
    pub(crate) fn check_out(&self, site: &'static Location<'static>, now: Tick) {
        self.site.store(Some(site));
        self.thread.store(thread_number::assign(), Relaxed);
        if let Some(calls) = &self.calls {
            calls.sample(self.checkouts.load(Relaxed), now.as_nanos());
        }
        self.since.store(now.as_nanos(), Relaxed);
        // Released with the wait that was counted before.
        self.checkouts.store(self.checkouts.load(Relaxed).wrapping_add(1), Release);
    }

    /// Ends the check-out, if there is one.
    #[inline]
    pub(crate) fn check_in(&self, now: Tick) -> Option<EndedCheckout> {
        let since = self.since.load(Relaxed);
        if since == 0 {
            return None;
        }
        self.since.store(0, Relaxed);
        let nanos = now.nanos_since(Tick::from_nanos(since));
        self.usage.record_alone(nanos);
        let is_late = self.reported.load(Relaxed) == since;
        Some(EndedCheckout { nanos, is_late })
    }

    #[inline]
    pub(super) fn count_peek(&self) {
        add_one(&self.peeks);
    }

    pub(super) fn count_ping(&self) {
        self.pings.fetch_add(1, Relaxed);
    }

    pub(super) fn count_reset(&self) {
        self.resets.fetch_add(1, Relaxed);
    }

    /// Returns the call site of the last check-out.
    pub(crate) fn site(&self) -> Site {
        Site(self.site.load())
    }

    fn info(&self, now: Instant) -> ConnectionInfo {
        self.info_of(self.since.load(Relaxed), now)
    }

    /// Returns the entry for this check-out, which may have ended meanwhile; 0 is none.
    fn info_of(&self, since: u64, now: Instant) -> ConnectionInfo {
        let age = now.saturating_duration_since(self.birth);
        let left = |deadline: Instant| deadline.saturating_duration_since(now);
        let status = match since {
            0 => ConnectionStatus::Idle { since: None },
            since => ConnectionStatus::InUse {
                // The coarse clock may have been late when it was new.
                since: CheckoutStart(since).elapsed(now).min(age),
                site: self.site.load(),
                thread: match thread_number::running(self.thread.load(Relaxed)) {
                    Some(name) => HolderThread::Running { name },
                    None => HolderThread::Ended,
                },
            },
        };
        ConnectionInfo {
            id: self.connection,
            age,
            retires_in: self.deadline.map(left),
            server_process: self.server_process,
            checkouts: self.checkouts.load(Relaxed),
            peeks: self.peeks.load(Relaxed),
            pings: self.pings.load(Relaxed),
            resets: self.resets.load(Relaxed),
            calls: None,
            status,
        }
    }
}

impl SampledCalls {
    /// Records the calls of this check-out, if its turn has come.
    fn sample(&self, number: u64, since: u64) {
        if number.is_multiple_of(self.one_in) {
            let stack = Arc::new(CallStack::capture());
            // Not dropped under the lock.
            let _former = self.last.lock().replace((since, stack));
        }
    }

    /// Returns the calls of the check-out that began then, if they were recorded.
    fn of(&self, since: u64) -> Option<Arc<CallStack>> {
        let last = self.last.lock();
        last.as_ref().filter(|(began, _)| *began == since).map(|(_, stack)| Arc::clone(stack))
    }
}

/// A check-out that has ended.
pub(crate) struct EndedCheckout {
    nanos: u64,
    /// It was reported as held too long.
    pub(crate) is_late: bool,
}

impl EndedCheckout {
    /// Returns how long the connection was in use.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// The beginning of a check-out.
#[derive(Clone, Copy)]
struct CheckoutStart(u64);

impl CheckoutStart {
    fn elapsed(self, now: Instant) -> Duration {
        Duration::from_nanos(Tick::of(now).nanos_since(Tick::from_nanos(self.0)))
    }
}

/// Adds to a counter with one writer, which costs less than an atomic addition.
#[inline]
fn add_one(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}

/// A call site, for a message.
pub(crate) struct Site(Option<&'static Location<'static>>);

impl Site {
    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        self.0
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(site) => write!(f, "{}:{}", site.file(), site.line()),
            None => f.write_str("an unknown call site"),
        }
    }
}

/// All open connections of one pool or manager, with their holders.
pub(crate) struct Checkouts {
    /// Locked when a connection is opened or closed, and for a report.
    holders: Mutex<Vec<Arc<CheckoutInfo>>>,
    /// How long the connections that were closed had been in use. Law: changed under the lock
    /// of `holders`, so that a report counts each connection once.
    ended: HistogramCells,
    /// Somebody has asked for the times in use, is told of each, or tells check-outs apart by
    /// their beginning: the times are measured to the nanosecond.
    is_exact: AtomicBool,
}

impl Checkouts {
    pub(crate) fn new(is_exact: bool) -> Checkouts {
        let (holders, ended) = (Mutex::default(), HistogramCells::new());
        Checkouts { holders, ended, is_exact: AtomicBool::new(is_exact) }
    }

    pub(crate) fn register(&self, checkout: &Arc<CheckoutInfo>) {
        self.holders.lock().push(Arc::clone(checkout));
    }

    /// Removes a connection that is closed, and adds its uses to the totals.
    pub(crate) fn unregister(&self, checkout: &Arc<CheckoutInfo>, totals: &Counters) {
        let mut holders = self.holders.lock();
        if let Some(index) = holders.iter().position(|other| Arc::ptr_eq(other, checkout)) {
            // Under the lock, so that they are counted once at every moment.
            holders.swap_remove(index);
            totals.add_uses(checkout.checkouts.load(Relaxed), checkout.peeks.load(Relaxed));
            self.ended.add(&checkout.usage);
        }
    }

    /// Returns `true` if the times in use are measured to the nanosecond.
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.is_exact.load(Relaxed)
    }

    /// Returns the uses of all connections, of those that were closed as well; from now on
    /// exact ones.
    pub(crate) fn uses(&self, totals: &Counters) -> Uses {
        self.is_exact.store(true, Relaxed);
        let times = HistogramCells::new();
        let holders = self.holders.lock();
        let (mut checkouts, mut peeks) = totals.uses_of_closed();
        for checkout in holders.iter() {
            checkouts += checkout.checkouts.load(Acquire);
            peeks += checkout.peeks.load(Relaxed);
            times.add(&checkout.usage);
        }
        times.add(&self.ended);
        Uses { checkouts, peeks, times: times.load() }
    }

    /// Returns every open connection, the oldest first; of the idle ones it does not know
    /// for how long they have been idle.
    pub(crate) fn list(&self, now: Instant) -> Vec<ConnectionInfo> {
        let all = self.holders.lock().clone();
        let mut list: Vec<_> = all.iter().map(|checkout| checkout.info(now)).collect();
        list.sort_by_key(|info| (std::cmp::Reverse(info.age), info.id));
        list
    }

    /// Returns the connections that have been held for this long or longer, each once for
    /// each check-out.
    pub(crate) fn newly_held_for(&self, limit: Duration, now: Instant) -> Vec<ConnectionInfo> {
        let due = |checkout: &Arc<CheckoutInfo>| {
            let since = checkout.since.load(Relaxed);
            let is_due = since != 0
                && CheckoutStart(since).elapsed(now) >= limit
                && checkout.reported.swap(since, Relaxed) != since;
            is_due.then(|| (Arc::clone(checkout), since))
        };
        let due: Vec<_> = self.holders.lock().iter().filter_map(due).collect();
        let info = |(checkout, since): &(Arc<CheckoutInfo>, u64)| {
            let calls = checkout.calls.as_ref().and_then(|calls| calls.of(*since));
            let calls = calls.and_then(|stack| stack.to_line());
            ConnectionInfo { calls, ..checkout.info_of(*since, now) }
        };
        due.iter().map(info).collect()
    }

    /// Reports which threads hold connections, the longest first.
    pub(crate) fn report(&self, now: Instant) -> HolderReport {
        let here = thread_number::current();
        let all = self.holders.lock().clone();
        let mut held: Vec<_> = all
            .iter()
            .map(|checkout| (checkout.info(now), here == Some(checkout.thread.load(Relaxed))))
            .filter(|(info, _)| info.held_for().is_some())
            .collect();
        held.sort_by_key(|(info, _)| std::cmp::Reverse(info.held_for()));
        HolderReport(held)
    }
}

/// The connections in use at one moment, each with `true` if the calling thread has it.
pub(crate) struct HolderReport(Vec<(ConnectionInfo, bool)>);

/// How many holders a message names; the others are counted.
const NAMED: usize = 5;

impl HolderReport {
    /// Returns a warning if the calling thread itself holds connections.
    pub(crate) fn warning(&self) -> Option<String> {
        let own = self.0.iter().filter(|(_, is_own)| *is_own).count();
        (own > 0).then(|| {
            format!(
                "this thread already holds {} (possible self-deadlock from a nested check-out)",
                counted(own, "connection")
            )
        })
    }

    /// Returns an entry for each of the longest holders, and one that counts the others.
    pub(crate) fn entries(&self) -> Vec<String> {
        let more = self.0.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more"));
        let entry = |(info, is_own): &(ConnectionInfo, bool)| {
            let own = if *is_own { " (this thread)" } else { "" };
            format!("connection {} {}{own}", info.id, info.status)
        };
        self.0.iter().take(NAMED).map(entry).chain(more).collect()
    }
}
