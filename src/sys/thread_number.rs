//! Numbers for threads, which cost a thread-local read, and what is known of the threads.

use parking_lot::Mutex;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of a thread whose own can no longer be stored.
const UNKNOWN: u64 = u64::MAX;

/// The threads that have a number and have not ended, with their names. Locked when a
/// thread gets its number, when it ends, and for a report.
static RUNNING: Mutex<BTreeMap<u64, Option<String>>> = Mutex::new(BTreeMap::new());

thread_local! {
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    /// Apart from the number, so that reading that needs no check for a destructor.
    static END: RefCell<Option<End>> = const { RefCell::new(None) };
}

struct End(u64);

impl Drop for End {
    fn drop(&mut self) {
        RUNNING.lock().remove(&self.0);
    }
}

/// Returns the number of this thread; it gets one at the first call.
#[inline]
pub(crate) fn assign() -> u64 {
    // A destructor of another thread-local may call after ours was destroyed.
    NUMBER
        .try_with(|number| if number.get() == 0 { first(number) } else { number.get() })
        .unwrap_or(UNKNOWN)
}

#[cold]
fn first(number: &Cell<u64>) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let this = NEXT.fetch_add(1, Relaxed);
    number.set(this);
    let name = std::thread::current().name().map(str::to_owned);
    RUNNING.lock().insert(this, name);
    // Where the end can no longer be noticed, it counts as having ended.
    if END.try_with(|end| end.replace(Some(End(this)))).is_err() {
        RUNNING.lock().remove(&this);
    }
    this
}

/// Returns the number of this thread, if it has one.
pub(crate) fn current() -> Option<u64> {
    NUMBER.try_with(Cell::get).ok().filter(|number| *number != 0)
}

/// Returns the name of the thread with this number, if it has one; `None` if the thread
/// has ended.
pub(crate) fn running(number: u64) -> Option<Option<String>> {
    RUNNING.lock().get(&number).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_one_number_and_its_end_is_known() {
        let named = std::thread::Builder::new().name("a worker".into());
        let work = || {
            let number = assign();
            assert_eq!((assign(), current()), (number, Some(number)));
            assert_eq!(running(number), Some(Some("a worker".to_owned())));
            number
        };
        let number = named.spawn(work).expect("a thread").join().expect("no panic");
        assert_ne!(assign(), number);
        assert_eq!(running(number), None, "it has ended");
    }
}
