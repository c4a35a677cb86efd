//! Signals processes and reads their state from `/proc`.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::wait::eventually;

const SETTLE: Duration = Duration::from_secs(5);

/// Sends `signal` to `pid`; a process that is already gone is no error.
pub(crate) fn send(pid: i32, signal: Signal) {
    let _ = signal::kill(Pid::from_raw(pid), signal);
}

/// Returns the processes whose parent is `parent`.
pub(crate) fn children_of(parent: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is mounted");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| stat(&format!("/proc/{pid}/stat")).is_some_and(|stat| stat.parent == parent))
        .collect()
}

/// Returns `true` if there is no process `pid`, not even an unreaped one.
pub(crate) fn vanished(pid: i32) -> bool {
    stat(&format!("/proc/{pid}/stat")).is_none()
}

/// Returns `true` if `pid` has ended, reaped or not.
pub(crate) fn ended(pid: i32) -> bool {
    stat(&format!("/proc/{pid}/stat")).is_none_or(|stat| matches!(stat.state, 'Z' | 'X'))
}

/// Stops `pid` and returns once each of its threads is stopped.
pub(crate) fn freeze(pid: i32) {
    send(pid, Signal::SIGSTOP);
    let still = eventually(SETTLE, || ended(pid) || all_threads_stopped(pid));
    assert!(still, "process {pid} did not stop on SIGSTOP");
}

/// Resumes a stopped process.
pub(crate) fn thaw(pid: i32) {
    send(pid, Signal::SIGCONT);
}

fn all_threads_stopped(pid: i32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    tasks
        .flatten()
        .filter_map(|task| stat(task.path().join("stat").to_str()?))
        .all(|stat| matches!(stat.state, 'T' | 't' | 'Z' | 'X'))
}

struct Stat {
    state: char,
    parent: i32,
}

// "proc(5)": pid (comm) state ppid ..; comm may itself hold blanks and brackets.
fn stat(path: &str) -> Option<Stat> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text[text.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some(Stat { state, parent: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, id};

    #[test]
    fn a_child_is_seen_frozen_thawed_and_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep starts");
        let pid = child.id() as i32;
        assert!(children_of(id() as i32).contains(&pid));
        freeze(pid);
        assert!(all_threads_stopped(pid));
        thaw(pid);
        assert!(eventually(SETTLE, || !all_threads_stopped(pid)));
        send(pid, Signal::SIGKILL);
        assert!(eventually(SETTLE, || ended(pid)));
        assert!(!vanished(pid), "not reaped yet");
        child.wait().expect("the child is ours");
        assert!(vanished(pid));
    }
}
