//! The printed table: one line for each position of each server, a column for each fault.

use crate::cell::{Cell, Encryption, FaultKind, Position};
use std::collections::BTreeMap;
use std::io::Write as _;

/// The entry of a cell in the tables.
pub struct Entry {
    /// The caller's result, and after how many milliseconds.
    pub result: String,
    /// The reason for which the pool closed a connection, if it did.
    pub closed: &'static str,
}

const WIDTH: usize = 12;

/// The reports of all cells.
#[derive(Default)]
pub struct Grid {
    cells: BTreeMap<(&'static str, bool, usize, usize), Result<Entry, String>>,
}

impl Grid {
    pub fn enter(&mut self, product: &'static str, cell: Cell, report: Result<Entry, String>) {
        let tls = cell.encryption == Encryption::Tls;
        let key = (product, tls, cell.position as usize, cell.fault_kind as usize);
        self.cells.insert(key, report);
    }

    /// Returns the cells that broke a rule.
    pub fn failures(&self) -> Vec<String> {
        let failed =
            self.cells.iter().filter_map(|((product, tls, position, fault_kind), report)| {
                let encryption = if *tls { "TLS" } else { "plain" };
                let (position, fault_kind) =
                    (Position::ALL[*position], FaultKind::ALL[*fault_kind]);
                let why = report.as_ref().err()?;
                Some(format!("{product}, {encryption}, {position}, {fault_kind}: {why}"))
            });
        failed.collect()
    }

    /// Prints the callers' results, and the close reasons.
    // Not `eprintln!`: the test harness hides what a passing test prints.
    pub fn print(&self) {
        let results = self.table("caller's result / after ms", |entry| &entry.result);
        let closed = self.table("close reason", |entry| entry.closed);
        let _ = writeln!(std::io::stderr(), "{results}{closed}");
    }

    fn table(&self, title: &str, show: impl Fn(&Entry) -> &str) -> String {
        let mut text = format!("\n{title:33}");
        FaultKind::ALL.iter().for_each(|fault_kind| text += &format!(" {fault_kind:>WIDTH$}"));
        let mut rows: Vec<_> = self.cells.keys().map(|(p, tls, at, _)| (*p, *tls, *at)).collect();
        rows.dedup();
        for (product, tls, position) in rows {
            let encryption = if tls { "TLS" } else { "plain" };
            text += &format!("\n{product:10} {encryption:5} {:16}", Position::ALL[position]);
            for fault_kind in 0..FaultKind::ALL.len() {
                let report = self.cells.get(&(product, tls, position, fault_kind));
                let entry = report.map_or("", |report| report.as_ref().map_or("WRONG", &show));
                text += &format!(" {entry:>WIDTH$.WIDTH$}");
            }
        }
        text + "\n"
    }
}
