//! The housekeeper: one thread of the process that maintains all pools (ages, idle
//! timeouts, `min_idle`).
//!
//! It knows a pool only as a [`Maintain`] value; each run returns when the next one
//! is due. The thread starts with the first pool that needs it and ends when no pool
//! has needed it for a while.
//!
//! Maintenance calls foreign code: observers, log sinks, destructors. If one run takes
//! too long, its thread is left behind and another one serves the other pools.

use super::catch_panic::catch_panic;
use super::deadlines::{self, LINGER};
use super::process::{DEPTH, PerProcess};
use super::stalled::{self, RETRY};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How long one run may take before its thread is left behind.
const RUN_LIMIT: Duration = Duration::from_millis(100);

/// When a pool whose thread was left behind is maintained again, on another thread: by
/// then its events are dropped, so that the next run is not held up as well.
const NEXT_RUN: Duration = Duration::from_secs(1);

/// How many threads one pool may hold up before it is maintained no more until one of
/// them returns.
const LEFT_AT_MOST: u32 = 2;

/// A pool that needs maintenance from time to time.
pub(crate) trait Maintain: Send + Sync {
    /// Does what is due and returns when the next run is due; `None`: not before the
    /// next [`call`].
    ///
    /// Runs on the housekeeper's thread, which catches its panics and holds no lock
    /// meanwhile. One run of a pool at a time, beside those that were left behind.
    fn maintain(self: Arc<Self>, now: Instant) -> Option<Instant>;

    /// Counts that the thread of a run was left behind. Must not block.
    fn count_left_behind(&self);
}

struct Schedule {
    maintained: Vec<Entry>,
    /// The thread that serves, by its number; the others have been left behind.
    server: Option<u64>,
    /// Numbers the threads.
    started: u64,
}

struct Entry {
    pool: Weak<dyn Maintain>,
    due: Option<Instant>,
    /// The thread of the run under way.
    running: Option<u64>,
    /// How many threads were left behind in runs of this pool.
    left: u32,
}

impl Entry {
    /// Notes that a run has ended, and when the next one is due.
    fn ended(&mut self, thread: u64, next: Option<Instant>) {
        if self.running == Some(thread) {
            self.running = None;
        } else {
            let left = self.left.checked_sub(1);
            self.left = left.expect("bug: more runs ended than were left behind");
        }
        self.due = self.due.into_iter().chain(next).min();
    }

    /// Leaves the thread of a run behind.
    fn leave(&mut self, thread: u64, now: Instant) {
        if self.running == Some(thread) && self.left < LEFT_AT_MOST {
            self.running = None;
            self.left += 1;
            self.due.get_or_insert(now + NEXT_RUN);
        }
    }
}

static SCHEDULE: PerProcess<Mutex<Schedule>> =
    PerProcess::new([const { Mutex::new(Schedule::new()) }; DEPTH]);
static WAKE: PerProcess<Condvar> = PerProcess::new([const { Condvar::new() }; DEPTH]);

impl Schedule {
    const fn new() -> Schedule {
        Schedule { maintained: Vec::new(), server: None, started: 0 }
    }

    /// Has a new thread serve, which the caller must start without the lock; returns its number.
    fn claim(&mut self) -> u64 {
        self.started += 1;
        self.server = Some(self.started);
        self.started
    }

    fn entry(&mut self, pool: &Weak<dyn Maintain>) -> Option<&mut Entry> {
        self.maintained.iter_mut().find(|entry| entry.pool.ptr_eq(pool))
    }

    fn next_due(&self) -> Option<Instant> {
        let idle = self.maintained.iter().filter(|entry| entry.running.is_none());
        idle.filter_map(|entry| entry.due).min()
    }
}

/// Schedules a run of this pool for now; the first call registers the pool.
pub(crate) fn call(pool: &Arc<impl Maintain + 'static>) {
    call_by(pool, Instant::now());
}

/// Schedules a run of this pool for this instant, unless one is due earlier.
pub(crate) fn call_by(pool: &Arc<impl Maintain + 'static>, due: Instant) {
    let pool: Weak<dyn Maintain> = Arc::downgrade(pool) as Weak<dyn Maintain>;
    let mut schedule = SCHEDULE.get().lock();
    match schedule.entry(&pool) {
        Some(entry) => entry.due = entry.due.into_iter().chain([due]).min(),
        None => {
            let due = Some(due);
            schedule.maintained.push(Entry { pool, due, running: None, left: 0 });
        }
    }
    if schedule.server.is_some() {
        WAKE.get().notify_all();
        return;
    }
    let number = schedule.claim();
    drop(schedule);
    if start(number) {
        stalled::retry_later("housekeeper", start_if_needed);
    }
}

/// Starts a thread if a run needs it; returns `true` if it cannot be started.
fn start_if_needed() -> bool {
    let claimed = {
        let mut schedule = SCHEDULE.get().lock();
        let is_needed = schedule.server.is_none() && schedule.next_due().is_some();
        is_needed.then(|| schedule.claim())
    };
    claimed.is_some_and(start)
}

/// Starts the thread with this number, which the caller has claimed; returns `true` if it cannot
/// be started: then no thread serves.
fn start(number: u64) -> bool {
    let thread = std::thread::Builder::new().name("poolwarden-housekeeper".into());
    let is_started = thread.spawn(move || serve(number)).is_ok();
    if !is_started {
        SCHEDULE.get().lock().server = None;
    }
    !is_started
}

fn serve(number: u64) {
    let mut schedule = SCHEDULE.get().lock();
    while schedule.server == Some(number) {
        // An entry is only a weak handle: dropping it runs no foreign code.
        schedule.maintained.retain(|entry| entry.pool.strong_count() > 0);
        let now = Instant::now();
        let is_due =
            |entry: &&mut Entry| entry.running.is_none() && entry.due.is_some_and(|due| due <= now);
        if let Some(entry) = schedule.maintained.iter_mut().find(is_due) {
            (entry.due, entry.running) = (None, Some(number));
            let pool = entry.pool.clone();
            let next = MutexGuard::unlocked(&mut schedule, || run(&pool, number, now));
            if let Some(entry) = schedule.entry(&pool) {
                entry.ended(number, next);
                // This thread may have been left behind: another one must see it.
                WAKE.get().notify_all();
            }
            // Its successor may have ended for want of work: then this one serves again.
            schedule.server.get_or_insert(number);
            continue;
        }
        let linger = now + LINGER;
        let until = schedule.next_due().map_or(linger, |next| next.min(linger));
        let timed_out = WAKE.get().wait_until(&mut schedule, until).timed_out();
        // No pool has a run due: one that needs a run calls.
        if timed_out && schedule.server == Some(number) && schedule.next_due().is_none() {
            schedule.server = None;
        }
    }
}

/// Runs the maintenance of one pool.
///
/// The run may own the last handle of the pool for a moment; dropping that only gives
/// work to the closer.
fn run(pool: &Weak<dyn Maintain>, server: u64, now: Instant) -> Option<Instant> {
    let kept = pool.clone();
    let watch = deadlines::arm(now + RUN_LIMIT, Arc::new(move || leave_behind(&kept, server)));
    let pool = pool.upgrade()?;
    let next = catch_panic(|| pool.maintain(now)).unwrap_or(None);
    drop(watch);
    next
}

/// Has another thread serve in the place of one whose run takes too long.
fn leave_behind(pool: &Weak<dyn Maintain>, server: u64) -> Option<Instant> {
    let number = {
        let mut schedule = SCHEDULE.get().lock();
        if schedule.server != Some(server) {
            return None;
        }
        schedule.claim()
    };
    if start(number) {
        return take_back(pool, server);
    }
    if let Some(entry) = SCHEDULE.get().lock().entry(pool) {
        entry.leave(server, Instant::now());
    }
    if let Some(pool) = pool.upgrade() {
        pool.count_left_behind();
    }
    None
}

/// Has the thread serve on that could not be replaced; returns when to replace it after all.
fn take_back(pool: &Weak<dyn Maintain>, server: u64) -> Option<Instant> {
    {
        let mut schedule = SCHEDULE.get().lock();
        let is_running = |entry: &mut Entry| entry.running == Some(server);
        if schedule.server.is_none() && schedule.entry(pool).is_some_and(is_running) {
            schedule.server = Some(server);
            return Some(Instant::now() + RETRY);
        }
    }
    // Its run has returned meanwhile, and it may have ended, because it did not serve.
    stalled::retry_later("housekeeper", start_if_needed);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{Sender, bounded};
    use std::time::Duration;

    /// Calls the housekeeper during its own first run.
    struct Caller {
        runs: Sender<u32>,
        count: Mutex<u32>,
        next: Option<Duration>,
    }

    impl Maintain for Caller {
        fn maintain(self: Arc<Self>, now: Instant) -> Option<Instant> {
            let run = {
                let mut count = self.count.lock();
                *count += 1;
                *count
            };
            if run == 1 {
                call(&self);
            }
            let _ = self.runs.send(run);
            self.next.map(|next| now + next)
        }

        fn count_left_behind(&self) {}
    }

    #[test]
    fn a_run_that_blocks_delays_no_other_pool_and_is_counted() {
        struct Blocked(Mutex<Option<crossbeam_channel::Receiver<()>>>, Sender<()>);
        impl Maintain for Blocked {
            fn maintain(self: Arc<Self>, _: Instant) -> Option<Instant> {
                let gate = self.0.lock().take();
                let _ = gate.map(|gate| gate.recv_timeout(Duration::from_secs(20)));
                None
            }

            fn count_left_behind(&self) {
                let _ = self.1.send(());
            }
        }
        let (open, gate) = bounded(1);
        let (left, was_left) = bounded(4);
        let blocked = Arc::new(Blocked(Mutex::new(Some(gate)), left));
        call(&blocked);
        let (runs, seen) = bounded(4);
        let caller = Arc::new(Caller { runs, count: Mutex::new(1), next: None });
        call(&caller);
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(2));
        assert!(was_left.recv_timeout(Duration::from_secs(10)).is_ok());
        open.send(()).expect("the run still waits");
        call(&caller);
        assert_eq!(seen.recv_timeout(Duration::from_secs(10)), Ok(3));
        assert!(was_left.try_recv().is_err(), "one thread was left behind, once");
    }

    #[test]
    fn a_call_during_a_run_is_not_lost() {
        for next in [None, Some(Duration::from_secs(3600))] {
            let (runs, seen) = bounded(4);
            let caller = Arc::new(Caller { runs, count: Mutex::new(0), next });
            call(&caller);
            for run in [1, 2] {
                let seen = seen.recv_timeout(Duration::from_secs(10));
                assert_eq!(seen, Ok(run), "the next run is due in {next:?}");
            }
            let third = seen.recv_timeout(Duration::from_millis(20));
            assert!(third.is_err(), "no call was made, and the next run is due in {next:?}");
        }
    }
}
