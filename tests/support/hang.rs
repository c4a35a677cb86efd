//! Ends the process when one of its tests hangs: no test waits without a bound.
//!
//! The test harness sets no time limit. Every test that starts something of this crate is
//! watched from then on, and has to end or to start something else within [`LIMIT`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::process;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Several times what the slowest test takes on a loaded computer.
const LIMIT: Duration = Duration::from_secs(600);

static WATCHED: Mutex<Option<Watched>> = Mutex::new(None);

/// The threads that are watched, with their names: a test's thread has the test's name.
type Watched = HashMap<ThreadId, (String, Instant)>;

thread_local! {
    /// Set once the thread is watched; its drop ends that when the thread ends.
    static ENTRY: RefCell<Option<Entry>> = const { RefCell::new(None) };
}

struct Entry(ThreadId);

impl Drop for Entry {
    fn drop(&mut self) {
        watched(|all| drop(all.remove(&self.0)));
    }
}

/// Watches the calling thread, if it is a test's: the process is aborted, and the thread
/// named, if it neither ends nor calls this again within ten minutes.
///
/// The waits of this module, servers and proxies call it. The main thread is that of a
/// program, such as a benchmark, which may take as long as it likes.
pub fn watch() {
    static WATCHDOG: Once = Once::new();
    let current = thread::current();
    if current.name() == Some("main") {
        return;
    }
    WATCHDOG.call_once(|| drop(thread::spawn(abort_if_one_hangs)));
    let name = current.name().unwrap_or("a thread without a name").to_owned();
    watched(|all| drop(all.insert(current.id(), (name, Instant::now()))));
    // A thread that is ending has lost this variable, and ends without it.
    let _ = ENTRY.try_with(|entry| {
        entry.borrow_mut().get_or_insert_with(|| Entry(current.id()));
    });
}

fn watched<T>(read: impl FnOnce(&mut Watched) -> T) -> T {
    let mut all: MutexGuard<'_, Option<Watched>> =
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    read(all.get_or_insert_default())
}

fn abort_if_one_hangs() {
    loop {
        thread::sleep(Duration::from_secs(1));
        if let Some(name) = watched(|all| overdue(all, Instant::now())) {
            // Not `eprintln!`: the test harness would keep it until the test's end.
            let _ = writeln!(io::stderr(), "{name}: the test has hung for {LIMIT:?}");
            process::abort();
        }
    }
}

fn overdue(all: &Watched, now: Instant) -> Option<String> {
    let mut late = all.values().filter(|(_, since)| now.duration_since(*since) > LIMIT);
    late.next().map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_watched_until_it_ends_and_named_when_it_hangs() {
        let (before, id) = thread::spawn(|| {
            watch();
            watch();
            let id = thread::current().id();
            (watched(|all| all.contains_key(&id)), id)
        })
        .join()
        .expect("no panic");
        assert!(before && !watched(|all| all.contains_key(&id)));
        let now = Instant::now();
        let all = Watched::from([(id, ("the_test".to_owned(), now))]);
        assert_eq!(overdue(&all, now + LIMIT), None);
        let later = now + LIMIT + Duration::from_millis(1);
        assert_eq!(overdue(&all, later).as_deref(), Some("the_test"));
    }
}
