//! The live progress: a line a second, with both clients side by side.

use crate::load::Load;
use std::sync::atomic::Ordering::Relaxed;

/// Prints the lines.
pub struct Progress<'a> {
    loads: &'a [Load<'a>],
    before: Vec<Totals>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    done: u64,
    failed: u64,
    unknown: u64,
    retries: u64,
    opened: u64,
}

impl Totals {
    fn of(load: &Load<'_>) -> Totals {
        let counters = load.client.counters();
        Totals {
            done: load.results.done.load(Relaxed),
            failed: load.results.failed.load(Relaxed),
            unknown: load.results.unknown.load(Relaxed),
            retries: counters.retries,
            opened: counters.opened,
        }
    }
}

impl<'a> Progress<'a> {
    pub fn new(loads: &'a [Load<'a>]) -> Progress<'a> {
        let mut head = format!("{:>4} {:<22}", "sec", "fault");
        for load in loads {
            let columns = format!(
                "{:>6} {:>6} {:>7} {:>7} {:>6} {:>8}",
                "done", "errors", "unknown", "retries", "opened", "slowest"
            );
            head += &format!(" | {:<45}", format!("{columns}"));
            if load.client.reports_reasons() {
                head += " closed by";
            }
        }
        let names: String =
            loads.iter().map(|load| format!(" | {:<45}", load.client.name())).collect();
        println!("\n{:27}{names}\n{head}", "");
        let before = loads.iter().map(Totals::of).collect();
        Progress { loads, before }
    }

    /// Prints what has happened since the last line.
    pub fn line(&mut self, second: u64, action: &str) {
        let mut line = format!("{second:>4} {action:<22}");
        let mut reasons = String::new();
        for (load, before) in self.loads.iter().zip(&mut self.before) {
            let now = Totals::of(load);
            line += &format!(
                " | {:>6} {:>6} {:>7} {:>7} {:>6} {:>6.0}ms",
                now.done - before.done,
                now.failed - before.failed,
                now.unknown - before.unknown,
                now.retries - before.retries,
                now.opened - before.opened,
                load.results.take_slowest().as_secs_f64() * 1000.0,
            );
            reasons += &load.client.reasons();
            *before = now;
        }
        if !reasons.is_empty() {
            line += &format!(" | {reasons}");
        }
        println!("{line}");
    }
}
