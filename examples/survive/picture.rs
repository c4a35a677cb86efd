//! The live picture: a line a second, both sides beside one another.

use crate::load::Load;
use std::sync::atomic::Ordering::Relaxed;

/// Draws the lines.
pub struct Picture<'a> {
    loads: &'a [Load<'a>],
    before: Vec<Totals>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    done: u64,
    failed: u64,
    unknown: u64,
    repeats: u64,
    opened: u64,
}

impl Totals {
    fn of(load: &Load<'_>) -> Totals {
        let effort = load.teller.effort();
        Totals {
            done: load.told.done.load(Relaxed),
            failed: load.told.failed.load(Relaxed),
            unknown: load.told.unknown.load(Relaxed),
            repeats: effort.repeats,
            opened: effort.opened,
        }
    }
}

impl<'a> Picture<'a> {
    pub fn new(loads: &'a [Load<'a>]) -> Picture<'a> {
        let mut head = format!("{:>4} {:<22}", "sec", "what happens");
        for load in loads {
            let columns = format!(
                "{:>6} {:>6} {:>7} {:>6} {:>6} {:>8}",
                "done", "errors", "unknown", "again", "opened", "slowest"
            );
            head += &format!(" | {:<44}", format!("{columns}"));
            if load.teller.tells_reasons() {
                head += " closed by";
            }
        }
        let names: String =
            loads.iter().map(|load| format!(" | {:<44}", load.teller.name())).collect();
        println!("\n{:27}{names}\n{head}", "");
        let before = loads.iter().map(Totals::of).collect();
        Picture { loads, before }
    }

    /// Prints what has happened since the last line.
    pub fn line(&mut self, second: u64, deed: &str) {
        let mut line = format!("{second:>4} {deed:<22}");
        let mut reasons = String::new();
        for (load, before) in self.loads.iter().zip(&mut self.before) {
            let now = Totals::of(load);
            line += &format!(
                " | {:>6} {:>6} {:>7} {:>6} {:>6} {:>6.0}ms",
                now.done - before.done,
                now.failed - before.failed,
                now.unknown - before.unknown,
                now.repeats - before.repeats,
                now.opened - before.opened,
                load.told.take_slowest().as_secs_f64() * 1000.0,
            );
            reasons += &load.teller.reasons();
            *before = now;
        }
        if !reasons.is_empty() {
            line += &format!(" | {reasons}");
        }
        println!("{line}");
    }
}
