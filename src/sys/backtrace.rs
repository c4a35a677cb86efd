//! The calls that led to a place, on one line.

use super::one_line::one_line;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Write as _;

/// How many calls a text has.
const MOST: usize = 16;

/// Of this crate and of the standard library: no caller looks for them.
const UNINTERESTING: &[&str] = &[
    "poolwarden::",
    "<poolwarden::",
    "std::",
    "<std::",
    "core::",
    "<core::",
    "alloc::",
    "<alloc::",
    "__rust",
    "rust_begin",
    "start_thread",
    "__libc",
    "__clone",
    "clone3",
    "_start",
];

/// The stack at one moment; the names are resolved when it is written.
#[derive(Debug)]
pub(crate) struct CallStack(Backtrace);

impl CallStack {
    /// Captures the stack of this thread, whatever `RUST_BACKTRACE` says.
    #[cold]
    pub(crate) fn capture() -> CallStack {
        CallStack(Backtrace::force_capture())
    }

    /// Returns the calls, the innermost first, without those of this crate and of the standard
    /// library; `None` if this platform has no stack.
    ///
    /// It reads the program's debug information, which the process keeps: the first time takes
    /// a while.
    pub(crate) fn to_line(&self) -> Option<String> {
        let is_known = self.0.status() == BacktraceStatus::Captured;
        is_known.then(|| on_one_line(&self.0.to_string()))
    }
}

/// The text of the standard library has two lines for each call: its number and name, and
/// `at` with its place, if that is known.
fn on_one_line(text: &str) -> String {
    let mut calls: Vec<String> = Vec::new();
    let mut is_kept = false;
    for line in text.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(call) = calls.last_mut().filter(|_| is_kept) {
                let _ = write!(call, " ({})", place.trim_start_matches("./"));
            }
            continue;
        }
        let name = line.split_once(": ").map_or(line, |(_, name)| name);
        is_kept = !UNINTERESTING.iter().any(|start| name.starts_with(start));
        if is_kept {
            calls.push(name.to_owned());
        }
    }
    let more = calls.len().saturating_sub(MOST);
    calls.truncate(MOST);
    if more > 0 {
        calls.push(format!("{more} more"));
    }
    one_line(&calls.join(" < ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_its_name_and_place_and_those_of_libraries_are_left_out() {
        let text = "   0: std::backtrace::Backtrace::force_capture\n             at /rustc/lib.rs:1:2\n   \
                    1: poolwarden::pool::pool::Pool<D>::get\n             at ./src/pool.rs:3:4\n   \
                    2: shop::orders::list\n             at ./src/orders.rs:41:20\n   \
                    3: shop::main\n   4: core::ops::function::FnOnce::call_once\n";
        assert_eq!(on_one_line(text), "shop::orders::list (src/orders.rs:41:20) < shop::main");
    }

    #[test]
    fn a_long_stack_is_cut_and_counted() {
        let text: String = (0..20).map(|n| format!("{n}: shop::f{n}\n")).collect();
        let line = on_one_line(&text);
        assert!(line.starts_with("shop::f0 < ") && line.ends_with("shop::f15 < 4 more"), "{line}");
    }
}
