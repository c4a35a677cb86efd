//! The one thread that keeps house for all pools: ages, idle times, `min_idle`.
//!
//! It knows pools only as something to be tended; each says when it wants to be
//! visited next. Started when the first pool needs it, gone when unused.

use crate::fence::fence;
use crate::watchdog::LINGER;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Something that wants a visit from time to time.
pub(crate) trait Tend: Send + Sync {
    /// Does what is due and says when to come again; `None`: when called.
    ///
    /// Runs on the keeper's thread, fenced, without a lock of the keeper.
    fn tend(self: Arc<Self>, now: Instant) -> Option<Instant>;
}

struct Rounds {
    tended: Vec<Entry>,
    running: bool,
}

struct Entry {
    whom: Weak<dyn Tend>,
    due: Option<Instant>,
}

static ROUNDS: Mutex<Rounds> = Mutex::new(Rounds { tended: Vec::new(), running: false });
static WAKE: Condvar = Condvar::new();

/// Asks for a visit soon; the first call also enters the one who asks.
pub(crate) fn call(whom: &Arc<impl Tend + 'static>) {
    let whom: Weak<dyn Tend> = Arc::downgrade(whom) as Weak<dyn Tend>;
    let mut rounds = ROUNDS.lock();
    let now = Instant::now();
    match rounds.tended.iter_mut().find(|entry| entry.whom.ptr_eq(&whom)) {
        Some(entry) => entry.due = Some(now),
        None => rounds.tended.push(Entry { whom, due: Some(now) }),
    }
    if rounds.running {
        WAKE.notify_one();
    } else {
        let thread = std::thread::Builder::new().name("poolwarden-keeper".into());
        rounds.running = thread.spawn(keep).is_ok();
    }
}

fn keep() {
    let mut rounds = ROUNDS.lock();
    loop {
        // An entry is only a weak handle: dropping it runs no foreign code.
        rounds.tended.retain(|entry| entry.whom.strong_count() > 0);
        let now = Instant::now();
        let due = rounds.tended.iter_mut().find(|entry| entry.due.is_some_and(|due| due <= now));
        if let Some(entry) = due {
            entry.due = None;
            let whom = entry.whom.clone();
            let next = MutexGuard::unlocked(&mut rounds, || visit(&whom, now));
            let entry = rounds.tended.iter_mut().find(|entry| entry.whom.ptr_eq(&whom));
            if let (Some(entry), Some(next)) = (entry, next) {
                entry.due = Some(entry.due.map_or(next, |due| due.min(next)));
            }
            continue;
        }
        let next = rounds.tended.iter().filter_map(|entry| entry.due).min();
        let linger = now + LINGER;
        let until = next.map_or(linger, |next| next.min(linger));
        let timed_out = WAKE.wait_until(&mut rounds, until).timed_out();
        // Nobody has anything to keep: whoever has, calls.
        if timed_out && next.is_none() && rounds.tended.iter().all(|entry| entry.due.is_none()) {
            rounds.running = false;
            return;
        }
    }
}

/// The visit may own the last handle of a pool for a moment; what drops then only
/// gives work to the closer.
fn visit(whom: &Weak<dyn Tend>, now: Instant) -> Option<Instant> {
    let whom = whom.upgrade()?;
    fence(|| whom.tend(now)).unwrap_or(None)
}
