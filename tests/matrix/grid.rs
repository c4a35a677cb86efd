//! The printed table: one line for each position of each server, a column for each fault.

use crate::cell::{Blow, Cell, Position, Security};
use std::collections::BTreeMap;
use std::io::Write as _;

/// What the tables show of a cell.
pub struct Shown {
    /// What its caller was told, and after how many milliseconds.
    pub told: String,
    /// Why the pool closed a connection, if it did.
    pub closed: &'static str,
}

const WIDTH: usize = 12;

/// What came of each cell.
#[derive(Default)]
pub struct Grid {
    cells: BTreeMap<(&'static str, bool, usize, usize), Result<Shown, String>>,
}

impl Grid {
    pub fn enter(&mut self, product: &'static str, cell: Cell, report: Result<Shown, String>) {
        let tls = cell.security == Security::Tls;
        let place = (product, tls, cell.position as usize, cell.blow as usize);
        self.cells.insert(place, report);
    }

    /// Everything that was not as the rules say.
    pub fn failures(&self) -> Vec<String> {
        let failed = self.cells.iter().filter_map(|((product, tls, position, blow), report)| {
            let security = if *tls { "TLS" } else { "plain" };
            let (position, blow) = (Position::ALL[*position], Blow::ALL[*blow]);
            let why = report.as_ref().err()?;
            Some(format!("{product}, {security}, {position}, {blow}: {why}"))
        });
        failed.collect()
    }

    /// Prints what callers saw, and why the pool closed what it closed.
    // Not `eprintln!`: the test harness hides what a passing test prints.
    pub fn print(&self) {
        let told = self.table("what callers saw / after ms", |shown| &shown.told);
        let closed = self.table("why a connection was closed", |shown| shown.closed);
        let _ = writeln!(std::io::stderr(), "{told}{closed}");
    }

    fn table(&self, title: &str, show: impl Fn(&Shown) -> &str) -> String {
        let mut text = format!("\n{title:33}");
        Blow::ALL.iter().for_each(|blow| text += &format!(" {blow:>WIDTH$}"));
        let mut rows: Vec<_> = self.cells.keys().map(|(p, tls, at, _)| (*p, *tls, *at)).collect();
        rows.dedup();
        for (product, tls, position) in rows {
            let security = if tls { "TLS" } else { "plain" };
            text += &format!("\n{product:10} {security:5} {:16}", Position::ALL[position]);
            for blow in 0..Blow::ALL.len() {
                let report = self.cells.get(&(product, tls, position, blow));
                let shown = report.map_or("", |report| report.as_ref().map_or("WRONG", &show));
                text += &format!(" {shown:>WIDTH$.WIDTH$}");
            }
        }
        text + "\n"
    }
}
