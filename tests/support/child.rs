//! Runs one test a second time, alone, in a child process.

use std::any;
use std::env;
use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::wait::eventually;

/// The time limit of a child; a test that hangs in it has failed.
pub(crate) const LONG_TIMEOUT: Duration = Duration::from_secs(180);

/// What a child process that must not panic was given; set there only.
const QUIET: &str = "POOLWARDEN_TEST_WITHOUT_PANICS";

/// Runs `body` in a child process that must print no panic, not even one that is caught,
/// and gives it what `prepare` returned in the parent process.
///
/// The caller is the test: the closure is written in the test's own function.
///
/// # Panics
///
/// When `body` fails in the child process, or a thread of it panics: with what it printed.
pub fn without_panics<B: FnOnce(&str)>(prepare: impl FnOnce() -> String, body: B) {
    match env::var(QUIET) {
        Ok(given) => body(&given),
        Err(_) => {
            let test = test_of::<B>();
            let output = run(test, (QUIET, &prepare()), &[], LONG_TIMEOUT);
            assert!(!output.contains("panicked at"), "{test}: a thread panicked:\n{output}");
        }
    }
}

/// Returns the name of the test in which the closure of type `B` is written, as the test
/// harness knows it.
///
/// A thread's name would do too, but not with one test thread: that is the main thread.
pub(crate) fn test_of<B>() -> &'static str {
    let path = any::type_name::<B>();
    let function = path.split("::{{closure}}").next().expect("a split has a first part");
    function.split_once("::").expect("a path begins with its crate").1
}

/// Runs `test` in a child process whose environment has the variable `inside`; returns what
/// it printed.
///
/// `launcher` is a command, empty if none is needed, that runs the program given to it.
///
/// # Panics
///
/// When the test fails there, is not found, or takes longer than `limit`: with what the
/// child printed.
pub(crate) fn run(test: &str, inside: (&str, &str), launcher: &[&str], limit: Duration) -> String {
    let myself = env::current_exe().expect("this program has a path");
    let mut command = match launcher {
        [] => Command::new(myself),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(myself);
            command
        }
    };
    // A file, not pipes: a process that outlives the child may hold its output open.
    let mut output = tempfile::tempfile().expect("a temporary file can be made");
    let copy = || Stdio::from(output.try_clone().expect("a file handle can be cloned"));
    command.args(["--exact", test, "--nocapture", "--include-ignored"]);
    command.env(inside.0, inside.1).stdin(Stdio::null()).stdout(copy()).stderr(copy());
    let child = command.spawn().expect("a test can be run a second time");
    let status = end_within(child, limit);
    let output = text(&mut output);
    let printed = indented(&output);
    let status = status.unwrap_or_else(|| panic!("{test} hangs in its child process:\n{printed}"));
    assert!(status.success(), "{test} failed in its child process:\n{printed}");
    assert!(output.contains("1 passed"), "the child process did not run {test}:\n{printed}");
    output
}

/// Indents what a child process printed, so that nobody takes its result for this process's.
fn indented(output: &str) -> String {
    output.lines().map(|line| format!("    {line}\n")).collect()
}

fn end_within(mut child: Child, limit: Duration) -> Option<ExitStatus> {
    let mut status = None;
    let ended = eventually(limit, || {
        status = child.try_wait().expect("the child is ours");
        status.is_some()
    });
    if !ended {
        let _ = child.kill();
        let _ = child.wait();
    }
    status
}

fn text(output: &mut File) -> String {
    let mut bytes = Vec::new();
    output.rewind().expect("a file can be read again");
    output.read_to_end(&mut bytes).expect("a file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
