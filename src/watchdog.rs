//! The one thread that ends what takes too long.
//!
//! Armed with a deadline and something to do at it: shut down the socket of a
//! dial, a ping, a rollback or a close that does not come back. Started when
//! needed, gone when unused for a while; disarming is dropping the [`Watch`].

use crate::driver::Attempt;
use crate::fence::fence;
use crate::liveness::Descriptor;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a thread of the process stays without work. Less than a second:
/// a second after the last pool was dropped no thread is left.
pub(crate) const LINGER: Duration = Duration::from_millis(400);

/// What happens at a deadline. Returns when to come again, if at all.
///
/// Runs on the watchdog's thread, fenced, without a lock; it must not block,
/// as every other deadline of the process waits behind it.
pub(crate) type Bite = dyn Fn() -> Option<Instant> + Send + Sync;

/// An armed deadline; dropping it disarms. A bite that has begun may still run.
#[must_use]
pub(crate) struct Watch {
    id: u64,
}

struct Kennel {
    /// The bites to come, ordered by deadline.
    armed: BTreeMap<(Instant, u64), Arc<Bite>>,
    /// Law: one entry for each live [`Watch`], with its latest deadline.
    live: BTreeMap<u64, Instant>,
    next: u64,
    running: bool,
    /// While the thread sleeps: when it wakes by itself.
    sleeps_until: Option<Instant>,
}

static KENNEL: Mutex<Kennel> = Mutex::new(Kennel {
    armed: BTreeMap::new(),
    live: BTreeMap::new(),
    next: 0,
    running: false,
    sleeps_until: None,
});
static WAKE: Condvar = Condvar::new();

/// Runs the bite at the deadline unless the result is dropped before.
pub(crate) fn arm(deadline: Instant, bite: Arc<Bite>) -> Watch {
    let mut kennel = KENNEL.lock();
    let id = kennel.next;
    kennel.next += 1;
    kennel.live.insert(id, deadline);
    kennel.armed.insert((deadline, id), bite);
    if !kennel.running {
        kennel.running = spawn();
    } else if kennel.sleeps_until.is_some_and(|until| deadline < until) {
        // It wakes by itself for what lies further off: most deadlines never come.
        kennel.sleeps_until = None;
        WAKE.notify_one();
    }
    Watch { id }
}

/// Shuts a socket down at the deadline unless the result is dropped before.
pub(crate) fn cut_at(deadline: Instant, socket: Descriptor) -> Watch {
    let bite = move || {
        socket.abort();
        None
    };
    arm(deadline, Arc::new(bite))
}

impl Drop for Watch {
    fn drop(&mut self) {
        let bite = {
            let mut kennel = KENNEL.lock();
            let deadline = kennel.live.remove(&self.id);
            deadline.and_then(|deadline| kennel.armed.remove(&(deadline, self.id)))
        };
        // What the bite holds, a descriptor perhaps, goes without the lock.
        drop(bite);
    }
}

/// Without a thread nothing is bounded, but nothing is wrong either: the next
/// call of `arm` tries again.
fn spawn() -> bool {
    std::thread::Builder::new().name("poolwarden-watchdog".into()).spawn(watch).is_ok()
}

fn watch() {
    let mut kennel = KENNEL.lock();
    loop {
        let Some((due, id)) = kennel.armed.first_key_value().map(|(key, _)| *key) else {
            let timed_out = sleep(&mut kennel, Instant::now() + LINGER);
            if timed_out && kennel.armed.is_empty() {
                kennel.running = false;
                return;
            }
            continue;
        };
        let now = Instant::now();
        if due > now {
            // What is disarmed wakes nobody: a far deadline must not keep the thread.
            sleep(&mut kennel, due.min(now + LINGER));
            continue;
        }
        let bite = kennel.armed.remove(&(due, id)).expect("the lock was held since it was seen");
        let again = MutexGuard::unlocked(&mut kennel, || bite_once(&bite));
        if let Some(again) = again
            && let Some(deadline) = kennel.live.get_mut(&id)
        {
            *deadline = again;
            kennel.armed.insert((again, id), bite);
        } else {
            MutexGuard::unlocked(&mut kennel, || drop(bite));
        }
    }
}

/// Sleeps until then, or until something earlier is armed; tells whether it was so long.
fn sleep(kennel: &mut MutexGuard<'_, Kennel>, until: Instant) -> bool {
    kennel.sleeps_until = Some(until);
    let timed_out = WAKE.wait_until(kennel, until).timed_out();
    kennel.sleeps_until = None;
    timed_out
}

/// How soon an attempt is looked at for a socket that talks to itself.
const EARLY_LOOK: Duration = Duration::from_millis(100);

/// Ends an attempt to open a connection at its deadline.
pub(crate) fn bound(attempt: &Arc<Attempt>) -> Watch {
    let early = attempt.deadline().min(attempt.began() + EARLY_LOOK);
    let attempt = Arc::clone(attempt);
    arm(early, Arc::new(move || attempt.look(Instant::now())))
}

fn bite_once(bite: &Arc<Bite>) -> Option<Instant> {
    fence(|| bite()).unwrap_or(None)
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
    fn it_bites_at_the_deadline_and_never_early() {
        let (count, seen) = counter();
        let start = Instant::now();
        let (report, bitten) = crossbeam_channel::bounded(1);
        let bite = Arc::new(move || {
            count.fetch_add(1, SeqCst);
            let _ = report.send(Instant::now());
            None
        });
        let watch = arm(start + Duration::from_millis(30), bite);
        let when = bitten.recv_timeout(Duration::from_secs(10)).expect("it bites");
        assert!(when - start >= Duration::from_millis(30));
        drop(watch);
        assert_eq!(seen.load(SeqCst), 1);
    }

    #[test]
    fn a_dropped_watch_does_not_bite() {
        let (count, seen) = counter();
        let bite = Arc::new(move || {
            count.fetch_add(1, SeqCst);
            None
        });
        drop(arm(Instant::now() + Duration::from_millis(20), bite));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(seen.load(SeqCst), 0);
    }

    #[test]
    fn a_bite_comes_again_until_its_watch_is_dropped_and_a_panic_ends_only_itself() {
        let panicking = arm(Instant::now(), Arc::new(|| panic!("a bad bite")));
        let (count, seen) = counter();
        let bite = Arc::new(move || {
            count.fetch_add(1, SeqCst);
            Some(Instant::now() + Duration::from_millis(5))
        });
        let watch = arm(Instant::now(), bite);
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
