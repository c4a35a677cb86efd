//! Waits for conditions, bounds calls, and counts this process's threads and files.

use std::fs;
use std::io::{self, Write};
use std::panic::Location;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::hang;

const POLL: Duration = Duration::from_millis(2);
/// How much longer than its limit a call may hang before the process is aborted.
const GRACE: Duration = Duration::from_secs(60);
/// Linux keeps this much of a thread's name ("proc(5)", `comm`).
const COMM_LENGTH: usize = 15;

/// Shorter timeouts are checks and not waits: nothing is printed when they pass.
const WAIT: Duration = Duration::from_secs(1);

/// Returns `true` if `condition` became true within `timeout`.
///
/// The condition is evaluated at least once, and for the last time not before the timeout.
/// A wait that timed out prints the source line of its call.
#[must_use]
#[track_caller]
pub fn eventually(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    hang::watch();
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if condition() {
            return true;
        }
        if left.is_zero() {
            if timeout >= WAIT {
                eprintln!("waited in vain for {timeout:?}: {}", source_of(Location::caller()));
            }
            return false;
        }
        thread::sleep(left.min(POLL));
    }
}

/// Returns a source location with the text of its line, if the source is there.
fn source_of(location: &Location<'_>) -> String {
    // The compiler's paths begin where the workspace does.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace");
    let source = fs::read_to_string(workspace.join(location.file())).unwrap_or_default();
    let line = source.lines().nth(location.line() as usize - 1).unwrap_or_default();
    format!("{location}: {}", line.trim())
}

/// Runs `call` on this thread and returns its result and how long it took.
///
/// # Panics
///
/// If the call took longer than `limit`. A call that has not returned a
/// minute after its limit is taken to hang: the process is aborted, so that a hang is
/// a failure that names its test.
#[track_caller]
pub fn within<T>(limit: Duration, call: impl FnOnce() -> T) -> (T, Duration) {
    hang::watch();
    let name = thread::current().name().unwrap_or("a thread").to_owned();
    let (done, is_done) = mpsc::channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(limit + GRACE) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln!`: the test harness would keep it until the test's end.
                let _ = writeln!(io::stderr(), "{name}: a call limited to {limit:?} hangs");
                std::process::abort();
            }
        });
        let start = Instant::now();
        let value = call();
        let took = start.elapsed();
        drop(done);
        (value, took)
    });
    assert!(result.1 <= limit, "took {:?}, more than {limit:?}", result.1);
    result
}

/// Returns the names of this process's threads that begin with `prefix`.
///
/// Linux cuts a thread's name after 15 bytes, so the prefix is cut as well. A thread may
/// be listed for a moment after it was joined.
pub fn threads_named(prefix: &str) -> Vec<String> {
    let prefix = &prefix.as_bytes()[..prefix.len().min(COMM_LENGTH)];
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted");
    tasks
        .flatten()
        // The file of a thread that has ended meanwhile is gone.
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok())
        .map(|comm| comm.trim_end_matches('\n').to_owned())
        .filter(|comm| comm.as_bytes().starts_with(prefix))
        .collect()
}

/// Returns how many file descriptors this process has open.
pub fn open_fds() -> usize {
    // The listing itself has one open.
    descriptors().len().saturating_sub(1)
}

/// Returns how many of this process's open file descriptors are sockets.
pub fn sockets_open() -> usize {
    descriptors().iter().filter(|target| target.starts_with("socket:")).count()
}

fn descriptors() -> Vec<String> {
    let folder = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    folder
        .flatten()
        .map(|entry| fs::read_link(entry.path()).unwrap_or_default())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn eventually_evaluates_its_condition_until_its_timeout() {
        let mut calls = 0;
        let three = || {
            calls += 1;
            calls == 3
        };
        assert!(eventually(Duration::from_secs(5), three));
        let start = Instant::now();
        assert!(!eventually(Duration::from_millis(20), || false));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_wait_that_timed_out_prints_the_line_of_its_call() {
        let here = source_of(Location::caller()); // the words of this line
        assert!(here.contains("wait.rs:"), "{here}");
        assert!(here.ends_with("// the words of this line"), "{here}");
    }

    #[test]
    fn within_returns_the_result_and_panics_past_the_limit() {
        let (seven, took) = within(Duration::from_secs(5), || 7);
        assert_eq!(seven, 7);
        assert!(took < Duration::from_secs(5));
        let slow = || within(Duration::from_millis(1), || thread::sleep(Duration::from_millis(20)));
        assert!(std::panic::catch_unwind(slow).is_err());
    }

    #[test]
    fn threads_are_found_by_the_part_of_their_name_that_linux_keeps() {
        let (stop, stopped) = mpsc::channel::<()>();
        let body = move || {
            let _ = stopped.recv();
        };
        let named = thread::Builder::new().name("support-wait-test-thread".into());
        let handle = named.spawn(body).expect("a thread can be started");
        assert!(eventually(Duration::from_secs(5), || {
            threads_named("support-wait-test-thread") == ["support-wait-te"]
        }));
        drop(stop);
        handle.join().expect("the thread does not panic");
        let gone = || threads_named("support-wait-test-thread").is_empty();
        assert!(eventually(Duration::from_secs(5), gone));
    }

    #[test]
    fn an_open_socket_is_counted() {
        let before = Instant::now();
        // Other tests open and close sockets meanwhile: look for one growth.
        assert!(eventually(Duration::from_secs(5), || {
            let (files, sockets) = (open_fds(), sockets_open());
            let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
            let grew = open_fds() == files + 1 && sockets_open() == sockets + 1;
            drop(listener);
            grew
        }));
        assert!(before.elapsed() < Duration::from_secs(5));
    }
}
