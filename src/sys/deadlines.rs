//! Deadline timers: one thread of the process that ends what takes too long.
//!
//! A timer has a deadline and a callback, which shuts down the socket of a dial, a
//! ping, a rollback or a close that has not returned by then. The thread starts when
//! needed and ends when unused for a while; dropping the [`Watch`] disarms the timer.
//!
//! An open connection holds the thread: a timer that is armed for it always runs, also
//! when the process can start no further thread.

use super::catch_panic::catch_panic;
use super::clock;
use super::process::{self, DEPTH, PerProcess};
use super::sockets::Descriptor;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a shared thread of the process stays without work. Less than a second:
/// one second after the last pool was dropped no thread is left.
pub(crate) const LINGER: Duration = Duration::from_millis(400);

/// What runs at a deadline. Returns the next deadline, if there is one.
///
/// Runs on the timer thread, which catches its panics and holds no lock meanwhile; it
/// must not block, because every other timer of the process waits behind it.
pub(crate) type OnDeadline = dyn Fn() -> Option<Instant> + Send + Sync;

/// An armed timer; dropping it disarms the timer. A callback that has begun may still
/// be running afterwards.
#[must_use]
pub(crate) struct Watch {
    id: u64,
}

/// Keeps the timer thread running until it is dropped.
#[must_use]
pub(crate) struct Hold {
    /// The process that took it; a forked child has a thread of its own.
    generation: usize,
}

struct Timers {
    /// The callbacks to run, ordered by deadline.
    armed: BTreeMap<(Instant, u64), Arc<OnDeadline>>,
    /// Law: one entry for each live [`Watch`], with its latest deadline.
    live: BTreeMap<u64, Instant>,
    /// Law: the number of live [`Hold`]s of this process, and of those being taken.
    holds: usize,
    thread: ThreadState,
    /// While the thread sleeps: when its sleep times out.
    sleeps_until: Option<Instant>,
}

/// Whether there is a thread that runs the callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThreadState {
    None,
    /// A caller is starting it, without the lock.
    Starting,
    Running,
}

static TIMERS: PerProcess<Mutex<Timers>> =
    PerProcess::new([const { Mutex::new(Timers::new()) }; DEPTH]);
static WAKE: PerProcess<Condvar> = PerProcess::new([const { Condvar::new() }; DEPTH]);
/// Signalled when the thread has begun, or could not be started.
static STARTED: PerProcess<Condvar> = PerProcess::new([const { Condvar::new() }; DEPTH]);

/// A hint that spares callers the lock: timers may be armed without a thread. Law: written under
/// the lock.
static UNSERVED: AtomicBool = AtomicBool::new(false);

impl Timers {
    const fn new() -> Timers {
        Timers {
            armed: BTreeMap::new(),
            live: BTreeMap::new(),
            holds: 0,
            thread: ThreadState::None,
            sleeps_until: None,
        }
    }

    /// Returns `true` if the caller must start the thread: there is none, and no other caller
    /// starts it.
    fn claim(&mut self) -> bool {
        let is_needed = self.thread == ThreadState::None;
        if is_needed {
            self.thread = ThreadState::Starting;
            UNSERVED.store(false, Relaxed);
        }
        is_needed
    }

    fn wake(&mut self) {
        self.sleeps_until = None;
        WAKE.get().notify_one();
    }
}

/// Starts the timer thread and keeps it running.
///
/// # Errors
///
/// The system's error if it can start no thread: then nothing that may block should be
/// begun, because no timer could end it.
pub(crate) fn hold() -> io::Result<Hold> {
    let mut timers = TIMERS.get().lock();
    // Before the thread starts, which would end at once without.
    timers.holds += 1;
    let hold = Hold { generation: process::generation() };
    // Not for long, so without a deadline: the other caller makes one system call, and then the
    // call fails or the thread begins, either of which signals. Neither runs foreign code, and
    // this lock is held across no call.
    while timers.thread == ThreadState::Starting {
        STARTED.get().wait(&mut timers);
    }
    let must_start = timers.claim();
    drop(timers);
    if must_start {
        start()?;
    }
    Ok(hold)
}

/// Starts the thread, which the caller has claimed.
fn start() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("poolwarden-deadlines".into());
    let started = thread.spawn(serve);
    if started.is_err() {
        let mut timers = TIMERS.get().lock();
        timers.thread = ThreadState::None;
        UNSERVED.store(true, Relaxed);
        STARTED.get().notify_all();
    }
    started.map(drop)
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.generation != process::generation() {
            return;
        }
        let mut timers = TIMERS.get().lock();
        let left = timers.holds.checked_sub(1);
        timers.holds = left.expect("bug: the timer thread was released more often than held");
        if timers.holds == 0 {
            timers.wake();
        }
    }
}

/// Runs the callback at the deadline unless the result is dropped before.
///
/// Without a thread it runs as soon as one can be started; see [`press_on`].
pub(crate) fn arm(deadline: Instant, on_deadline: Arc<OnDeadline>) -> Watch {
    // One count for all processes: a watch that a child inherits names no timer of its own.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Relaxed);
    let mut timers = TIMERS.get().lock();
    timers.live.insert(id, deadline);
    timers.armed.insert((deadline, id), on_deadline);
    // For later deadlines its own timeout is enough: most timers are disarmed before.
    if timers.sleeps_until.is_some_and(|until| deadline < until) {
        timers.wake();
    }
    let must_start = timers.claim();
    drop(timers);
    if must_start {
        let _ = start();
    }
    Watch { id }
}

/// Starts the thread if timers are armed and it could not be started for them; returns
/// `true` if it still cannot.
pub(crate) fn press_on() -> bool {
    if !UNSERVED.load(Relaxed) {
        return false;
    }
    let must_start = {
        let mut timers = TIMERS.get().lock();
        UNSERVED.store(false, Relaxed);
        !timers.armed.is_empty() && timers.claim()
    };
    must_start && start().is_err()
}

/// Shuts a socket down at the deadline unless the result is dropped before.
pub(crate) fn abort_at(deadline: Instant, socket: Descriptor) -> Watch {
    let on_deadline = move || {
        socket.abort();
        None
    };
    arm(deadline, Arc::new(on_deadline))
}

impl Drop for Watch {
    fn drop(&mut self) {
        let on_deadline = {
            let mut timers = TIMERS.get().lock();
            let deadline = timers.live.remove(&self.id);
            deadline.and_then(|deadline| timers.armed.remove(&(deadline, self.id)))
        };
        // The callback may own a descriptor: it is dropped without the lock.
        drop(on_deadline);
    }
}

fn serve() {
    let mut timers = TIMERS.get().lock();
    timers.thread = ThreadState::Running;
    STARTED.get().notify_all();
    loop {
        let now = Instant::now();
        let first = timers.armed.first_key_value().map(|(key, _)| *key);
        let Some((due, id)) = first.filter(|(due, _)| *due <= now) else {
            if !sleep_until_due(&mut timers, first.map(|(due, _)| due), now) {
                timers.thread = ThreadState::None;
                return;
            }
            continue;
        };
        let on_deadline =
            timers.armed.remove(&(due, id)).expect("the lock was held since it was seen");
        let next = MutexGuard::unlocked(&mut timers, || run(&on_deadline));
        if let Some(next) = next
            && let Some(deadline) = timers.live.get_mut(&id)
        {
            *deadline = next;
            timers.armed.insert((next, id), on_deadline);
        } else {
            MutexGuard::unlocked(&mut timers, || drop(on_deadline));
        }
    }
}

/// Sleeps until the first deadline, or until an earlier timer is armed; returns `false`
/// if nothing needs the thread any more.
fn sleep_until_due(
    timers: &mut MutexGuard<'_, Timers>,
    first: Option<Instant>,
    now: Instant,
) -> bool {
    let far = clock::after(now, Duration::MAX);
    let until = first.unwrap_or(far);
    // Disarming does not wake the thread: unless it is held, it looks after LINGER at the
    // latest, so that a disarmed timer far ahead does not keep it.
    let until = if timers.holds > 0 { until } else { until.min(now + LINGER) };
    timers.sleeps_until = Some(until);
    let timed_out = WAKE.get().wait_until(timers, until).timed_out();
    timers.sleeps_until = None;
    !(timed_out && timers.holds == 0 && timers.armed.is_empty())
}

fn run(on_deadline: &Arc<OnDeadline>) -> Option<Instant> {
    catch_panic(|| on_deadline()).unwrap_or(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    fn counter() -> (Arc<AtomicU32>, Arc<AtomicU32>) {
        let count = Arc::new(AtomicU32::new(0));
        (Arc::clone(&count), count)
    }

    #[test]
    fn a_callback_runs_at_its_deadline_and_never_before() {
        let (count, seen) = counter();
        let start = Instant::now();
        let (report, ran) = crossbeam_channel::bounded(1);
        let on_deadline = Arc::new(move || {
            count.fetch_add(1, SeqCst);
            let _ = report.send(Instant::now());
            None
        });
        let watch = arm(start + Duration::from_millis(30), on_deadline);
        let when = ran.recv_timeout(Duration::from_secs(10)).expect("it runs");
        assert!(when - start >= Duration::from_millis(30));
        drop(watch);
        assert_eq!(seen.load(SeqCst), 1);
    }

    #[test]
    fn a_thread_that_is_held_stays_without_timers() {
        let hold = hold().expect("a thread");
        std::thread::sleep(3 * LINGER);
        let timers = TIMERS.get().lock();
        assert!(timers.thread == ThreadState::Running && timers.holds > 0);
        drop(timers);
        drop(hold);
    }

    #[test]
    fn the_callback_of_a_dropped_watch_does_not_run() {
        let (count, seen) = counter();
        let on_deadline = Arc::new(move || {
            count.fetch_add(1, SeqCst);
            None
        });
        drop(arm(Instant::now() + Duration::from_millis(20), on_deadline));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(seen.load(SeqCst), 0);
    }

    #[test]
    fn a_callback_is_repeated_until_its_watch_is_dropped_and_a_panic_ends_only_its_own_timer() {
        let panicking = arm(Instant::now(), Arc::new(|| panic!("a faulty callback")));
        let (count, seen) = counter();
        let on_deadline = Arc::new(move || {
            count.fetch_add(1, SeqCst);
            Some(Instant::now() + Duration::from_millis(5))
        });
        let watch = arm(Instant::now(), on_deadline);
        let deadline = Instant::now() + Duration::from_secs(10);
        while seen.load(SeqCst) < 3 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop((watch, panicking));
        std::thread::sleep(Duration::from_millis(20));
        let after = seen.load(SeqCst);
        assert!(after >= 3);
        std::thread::sleep(Duration::from_millis(40));
        assert_eq!(seen.load(SeqCst), after);
    }
}
