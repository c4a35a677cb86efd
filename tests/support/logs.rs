//! Collects what the code under test logs.
//!
//! The `log` crate has one sink per process, and tests run concurrently. So a
//! test takes a [`mark`] first and afterwards looks at the records since then
//! that name its own pool. No record is kept while there is no mark.

use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Instant;

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata};

/// One call of a `log` macro.
#[derive(Clone, Debug)]
pub struct Record {
    /// The level.
    pub level: Level,
    /// The target: by default the module's path.
    pub target: String,
    /// The message, formatted.
    pub message: String,
    /// The key-values in their order, formatted by `Display`.
    pub fields: Vec<(String, String)>,
    /// The name of the thread that logged; empty if it has none.
    pub thread: String,
    /// When it was logged.
    pub at: Instant,
}

impl Record {
    /// Returns the value of the first field named `key`.
    pub fn field(&self, key: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str())
    }
}

/// Where in the log a test began; keeps all later records alive.
#[derive(Debug)]
pub struct Mark {
    start: usize,
}

/// Makes the sink panic at the records of one pool, until dropped.
#[derive(Debug)]
pub struct PanicOnLog {
    pool: String,
}

struct Sink {
    state: Mutex<State>,
}

struct State {
    records: Vec<Record>,
    /// How many marks are alive. With none, `records` is empty.
    marks: usize,
    /// Pools whose records make the sink panic.
    panics: Vec<String>,
}

static SINK: Sink =
    Sink { state: Mutex::new(State { records: Vec::new(), marks: 0, panics: Vec::new() }) };

/// Installs the sink for all levels; later calls do nothing.
///
/// # Panics
///
/// When the process has another logger already.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&SINK).expect("this process has no other logger");
        log::set_max_level(LevelFilter::Trace);
    });
}

/// Installs the sink and returns a mark at the present end of the log.
pub fn mark() -> Mark {
    install();
    let mut state = SINK.state();
    state.marks += 1;
    Mark { start: state.records.len() }
}

/// Installs the sink and makes every record whose field `pool` is this one panic in the
/// thread that logs it, as a faulty logger would.
pub fn panic_on_log(pool: &str) -> PanicOnLog {
    install();
    SINK.state().panics.push(pool.to_owned());
    PanicOnLog { pool: pool.to_owned() }
}

impl Mark {
    /// Returns all records since the mark, of all tests.
    pub fn records(&self) -> Vec<Record> {
        SINK.state().records[self.start..].to_vec()
    }

    /// Returns the records since the mark that have the field `key` with this value.
    pub fn records_of(&self, key: &str, value: &str) -> Vec<Record> {
        let state = SINK.state();
        let since = state.records[self.start..].iter();
        since.filter(|record| record.field(key) == Some(value)).cloned().collect()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut state = SINK.state();
        state.marks -= 1;
        if state.marks == 0 {
            state.records.clear();
        }
    }
}

impl Drop for PanicOnLog {
    fn drop(&mut self) {
        let mut state = SINK.state();
        if let Some(found) = state.panics.iter().position(|pool| *pool == self.pool) {
            state.panics.swap_remove(found);
        }
    }
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        let state = self.state();
        state.marks > 0 || !state.panics.is_empty()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let record = copy(record);
        let mut state = self.state();
        let pool = record.field("pool").unwrap_or_default();
        let panics = state.panics.iter().any(|name| name == pool);
        let message = record.message.clone();
        if state.marks > 0 {
            state.records.push(record);
        }
        // Never under our lock.
        drop(state);
        assert!(!panics, "the test's logger panics at {message:?}");
    }

    fn flush(&self) {}
}

// Before the lock: a value's `Display` may itself log.
fn copy(record: &log::Record<'_>) -> Record {
    let mut fields = Fields(Vec::new());
    record.key_values().visit(&mut fields).expect("our visitor never fails");
    Record {
        level: record.level(),
        target: record.target().to_owned(),
        message: record.args().to_string(),
        fields: fields.0,
        thread: thread::current().name().unwrap_or_default().to_owned(),
        at: Instant::now(),
    }
}

struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_sees_later_records_of_its_own_pool() {
        let before = mark();
        log::info!(pool = "mine"; "too early");
        let mark = mark();
        log::warn!(target: "t", pool = "mine", open = 3; "opened {}", 1);
        log::warn!(pool = "other"; "not mine");
        let records = mark.records_of("pool", "mine");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].level, Level::Warn);
        assert_eq!(records[0].target, "t");
        assert_eq!(records[0].message, "opened 1");
        assert_eq!(records[0].field("open"), Some("3"));
        assert_eq!(records[0].thread, thread::current().name().unwrap_or_default());
        assert_eq!(before.records_of("pool", "mine").len(), 2);
        assert!(mark.records().len() >= 2);
    }

    #[test]
    fn the_sink_panics_for_one_pool_only_and_only_while_the_guard_lives() {
        let log = |pool: &str| std::panic::catch_unwind(|| log::info!(pool; "x")).is_err();
        let guard = panic_on_log("faulty");
        assert!(log("faulty"));
        assert!(!log("other"));
        drop(guard);
        assert!(!log("faulty"));
    }
}
