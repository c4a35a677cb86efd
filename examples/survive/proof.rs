//! The proof: money conserved, every acknowledged transfer in the journal exactly once,
//! every unknown one resolved.

use crate::bank::{ACCOUNTS, FIRST_BALANCE, Outcome};
use crate::load::Load;
use crate::testbed::Testbed;
use std::collections::{BTreeMap, BTreeSet};

/// Unknown transfers that are listed by their numbers.
const LISTED: usize = 12;

/// Characters of an error's text that are shown.
const LONGEST: usize = 220;

/// Prints the proof for each load; returns whether that of the first, poolwarden, holds.
pub fn of_all(testbed: &Testbed, loads: &[Load<'_>]) -> bool {
    println!();
    let verdicts: Vec<bool> = loads.iter().map(|load| of(testbed, load)).collect();
    verdicts.first().copied().unwrap_or(false)
}

/// The contents of the tables at the end.
struct Tables {
    total: i64,
    journal: BTreeSet<i64>,
    balances: BTreeMap<i64, i64>,
    journal_balances: BTreeMap<i64, i64>,
}

fn read(testbed: &Testbed, name: &str) -> Tables {
    let numbers = |text: &str| -> Vec<Vec<i64>> {
        let rows = testbed.sql(name, text).into_iter();
        let parse = |row: Vec<String>| {
            row.iter().map(|field| field.parse().expect("the tables hold numbers")).collect()
        };
        rows.map(parse).collect()
    };
    let balances: BTreeMap<_, _> =
        numbers("select id, balance from accounts").iter().map(|row| (row[0], row[1])).collect();
    let mut journal_balances: BTreeMap<_, _> =
        (0..ACCOUNTS).map(|id| (id, FIRST_BALANCE)).collect();
    let mut journal = BTreeSet::new();
    for row in numbers("select id, source, target, amount from journal") {
        journal.insert(row[0]);
        *journal_balances.entry(row[1]).or_default() -= row[3];
        *journal_balances.entry(row[2]).or_default() += row[3];
    }
    Tables { total: balances.values().sum(), journal, balances, journal_balances }
}

fn of(testbed: &Testbed, load: &Load<'_>) -> bool {
    let name = load.client.name();
    let tables = read(testbed, name);
    let outcomes = load.results.outcomes.lock().expect("no thread panics with it");
    let numbers = |wanted: fn(&Outcome) -> bool| -> BTreeSet<i64> {
        outcomes.iter().filter(|(_, outcome)| wanted(outcome)).map(|(id, _)| *id).collect()
    };
    let done = numbers(|outcome| matches!(outcome, Outcome::Done));
    let failed = numbers(|outcome| matches!(outcome, Outcome::Failed(_)));
    let unknown = numbers(|outcome| matches!(outcome, Outcome::Unknown(_)));

    let conserved =
        tables.total == ACCOUNTS * FIRST_BALANCE && tables.balances == tables.journal_balances;
    let missing = done.difference(&tables.journal).count();
    let wrongly_failed = failed.intersection(&tables.journal).count();
    let unreported = tables.journal.iter().filter(|id| !outcomes.contains_key(id)).count();
    println!("{name}");
    println!("  money: {} of {}, {}", tables.total, ACCOUNTS * FIRST_BALANCE, verdict(conserved));
    println!("  reported \"done\": {}, missing from the journal: {missing}", done.len());
    println!("  reported \"failed\": {}, committed nevertheless: {wrongly_failed}", failed.len());
    resolve(&unknown, &tables.journal);
    if unreported > 0 {
        println!("  in the journal without a reported outcome: {unreported}");
    }
    for (text, count) in most_frequent(&outcomes) {
        println!("  {count:>6} times: {text}");
    }
    conserved && missing == 0 && wrongly_failed == 0 && unreported == 0
}

fn verdict(fine: bool) -> &'static str {
    if fine { "conserved, and the balances are those of the journal" } else { "NOT CONSERVED" }
}

/// An unknown outcome is resolved by its number, which is in the journal or not.
fn resolve(unknown: &BTreeSet<i64>, journal: &BTreeSet<i64>) {
    let (there, absent): (Vec<i64>, Vec<i64>) = unknown.iter().partition(|id| journal.contains(id));
    println!(
        "  reported \"unknown\": {}; according to the journal: {} committed, {} not",
        unknown.len(),
        there.len(),
        absent.len()
    );
    for (what, ids) in [("committed", there), ("not committed", absent)] {
        if !ids.is_empty() {
            let more = if ids.len() > LISTED { ", …" } else { "" };
            let list: Vec<_> = ids.iter().take(LISTED).map(i64::to_string).collect();
            println!("    {what}: {}{more}", list.join(", "));
        }
    }
}

/// Returns the errors that the callers received, most frequent first.
fn most_frequent(outcomes: &BTreeMap<i64, Outcome>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for outcome in outcomes.values() {
        if let Outcome::Failed(text) | Outcome::Unknown(text) = outcome {
            // Errors that differ only in their numbers are counted as one.
            let words = text.chars().filter(|c| !c.is_ascii_digit()).collect();
            let shown = || (text.chars().take(LONGEST).collect(), 0);
            counts.entry(words).or_insert_with(shown).1 += 1;
        }
    }
    let mut sorted: Vec<_> = counts.into_values().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted.truncate(6);
    sorted
}
