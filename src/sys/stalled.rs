//! Work that waits for a thread which could not be started, and the retries.
//!
//! The system may have no thread to give, or no memory for its stack, for a while. The
//! work stays where it is queued; its start is retried by a timer, and by every caller
//! that waits for what it would bring.

use super::deadlines::{self, Watch};
use super::process::{DEPTH, PerProcess};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How soon work that lacked a thread or a descriptor is retried.
pub(crate) const RETRY: Duration = Duration::from_millis(20);

/// Starts the thread if it is still needed; returns `true` if it still cannot start.
pub(crate) type Start = fn() -> bool;

struct Stalled {
    /// Law: each name once.
    starts: Vec<(&'static str, Start)>,
    /// Law: armed while there are starts, unless a caller is about to arm it.
    retry: Option<Watch>,
    /// A caller is arming the timer, without the lock: that may start a thread.
    is_arming: bool,
}

/// Law: no other lock is taken under it.
static STALLED: PerProcess<Mutex<Stalled>> =
    PerProcess::new([const { Mutex::new(Stalled::new()) }; DEPTH]);

impl Stalled {
    const fn new() -> Stalled {
        Stalled { starts: Vec::new(), retry: None, is_arming: false }
    }
}

/// A hint that spares callers the lock: there may be starts.
static ANY: AtomicBool = AtomicBool::new(false);

/// Retries this start, by a timer and at every [`press_on`], until it succeeds.
pub(crate) fn retry_later(name: &'static str, start: Start) {
    {
        let mut stalled = STALLED.get().lock();
        if stalled.starts.iter().all(|(known, _)| *known != name) {
            stalled.starts.push((name, start));
        }
        ANY.store(true, Relaxed);
        if stalled.retry.is_some() || stalled.is_arming {
            return;
        }
        stalled.is_arming = true;
    }
    let watch = deadlines::arm(Instant::now() + RETRY, Arc::new(retry));
    let mut stalled = STALLED.get().lock();
    (stalled.retry, stalled.is_arming) = (Some(watch), false);
}

fn retry() -> Option<Instant> {
    if press_on() {
        return Some(Instant::now() + RETRY);
    }
    let mut stalled = STALLED.get().lock();
    if !stalled.starts.is_empty() || stalled.is_arming {
        return Some(Instant::now() + RETRY);
    }
    let done = stalled.retry.take();
    drop(stalled);
    drop(done);
    None
}

/// Starts what has work and no thread; returns `true` if something still has none.
///
/// For all that wait: no thread of the crate may be running to retry by itself.
pub(crate) fn press_on() -> bool {
    let unserved = deadlines::press_on();
    if !ANY.load(Relaxed) {
        return unserved;
    }
    let starts = {
        let mut stalled = STALLED.get().lock();
        ANY.store(false, Relaxed);
        std::mem::take(&mut stalled.starts)
    };
    let mut is_left = false;
    for (name, start) in starts {
        if start() {
            is_left = true;
            retry_later(name, start);
        }
    }
    is_left || unserved
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn a_start_is_retried_until_it_succeeds_and_then_no_more() {
        static TRIES: AtomicU32 = AtomicU32::new(0);
        fn third_time() -> bool {
            TRIES.fetch_add(1, Relaxed) < 2
        }
        retry_later("test", third_time);
        retry_later("test", third_time);
        let until = Instant::now() + Duration::from_secs(20);
        while TRIES.load(Relaxed) < 3 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(4 * RETRY);
        assert_eq!(TRIES.load(Relaxed), 3);
    }
}
