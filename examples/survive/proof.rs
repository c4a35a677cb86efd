//! The proof: money conserved, every acknowledged transfer there exactly once,
//! every unknown one resolved.

use crate::bank::{ACCOUNTS, FIRST_BALANCE, Told};
use crate::load::Load;
use crate::stage::Stage;
use std::collections::{BTreeMap, BTreeSet};

/// Unknown transfers that are listed by their numbers.
const LISTED: usize = 12;

/// Characters of an error's text that are shown.
const LONGEST: usize = 220;

/// Prints the proof for each load; returns whether the first, ours, holds.
pub fn of_all(stage: &Stage, loads: &[Load<'_>]) -> bool {
    println!();
    let verdicts: Vec<bool> = loads.iter().map(|load| of(stage, load)).collect();
    verdicts.first().copied().unwrap_or(false)
}

/// What the tables hold in the end.
struct Ledger {
    total: i64,
    journal: BTreeSet<i64>,
    balances: BTreeMap<i64, i64>,
    by_journal: BTreeMap<i64, i64>,
}

fn read(stage: &Stage, name: &str) -> Ledger {
    let numbers = |text: &str| -> Vec<Vec<i64>> {
        let rows = stage.sql(name, text).into_iter();
        let parse = |row: Vec<String>| {
            row.iter().map(|field| field.parse().expect("the tables hold numbers")).collect()
        };
        rows.map(parse).collect()
    };
    let balances: BTreeMap<_, _> =
        numbers("select id, balance from accounts").iter().map(|row| (row[0], row[1])).collect();
    let mut by_journal: BTreeMap<_, _> = (0..ACCOUNTS).map(|id| (id, FIRST_BALANCE)).collect();
    let mut journal = BTreeSet::new();
    for row in numbers("select id, source, target, amount from journal") {
        journal.insert(row[0]);
        *by_journal.entry(row[1]).or_default() -= row[3];
        *by_journal.entry(row[2]).or_default() += row[3];
    }
    Ledger { total: balances.values().sum(), journal, balances, by_journal }
}

fn of(stage: &Stage, load: &Load<'_>) -> bool {
    let name = load.teller.name();
    let ledger = read(stage, name);
    let answers = load.told.answers.lock().expect("no thread panics with it");
    let numbers = |wanted: fn(&Told) -> bool| -> BTreeSet<i64> {
        answers.iter().filter(|(_, told)| wanted(told)).map(|(id, _)| *id).collect()
    };
    let done = numbers(|told| matches!(told, Told::Done));
    let failed = numbers(|told| matches!(told, Told::Failed(_)));
    let unknown = numbers(|told| matches!(told, Told::Unknown(_)));

    let conserved =
        ledger.total == ACCOUNTS * FIRST_BALANCE && ledger.balances == ledger.by_journal;
    let missing = done.difference(&ledger.journal).count();
    let lied = failed.intersection(&ledger.journal).count();
    let strangers = ledger.journal.iter().filter(|id| !answers.contains_key(id)).count();
    println!("{name}");
    println!("  money: {} of {}, {}", ledger.total, ACCOUNTS * FIRST_BALANCE, told(conserved));
    println!("  told \"done\": {}, of them missing in the journal: {missing}", done.len());
    println!("  told \"failed\": {}, of them done after all: {lied}", failed.len());
    resolve(&unknown, &ledger.journal);
    if strangers > 0 {
        println!("  in the journal and never answered for: {strangers}");
    }
    for (text, count) in most_frequent(&answers) {
        println!("  {count:>6} times: {text}");
    }
    conserved && missing == 0 && lied == 0 && strangers == 0
}

fn told(fine: bool) -> &'static str {
    if fine { "conserved, and the balances are those of the journal" } else { "NOT CONSERVED" }
}

/// An unknown outcome is resolved by its number, which the journal has or has not.
fn resolve(unknown: &BTreeSet<i64>, journal: &BTreeSet<i64>) {
    let (there, absent): (Vec<i64>, Vec<i64>) = unknown.iter().partition(|id| journal.contains(id));
    println!(
        "  told \"unknown\": {}; the journal resolves them: {} done, {} not",
        unknown.len(),
        there.len(),
        absent.len()
    );
    for (what, ids) in [("done", there), ("not done", absent)] {
        if !ids.is_empty() {
            let more = if ids.len() > LISTED { ", …" } else { "" };
            let list: Vec<_> = ids.iter().take(LISTED).map(i64::to_string).collect();
            println!("    {what}: {}{more}", list.join(", "));
        }
    }
}

/// What the callers were told when it was not done, most frequent first.
fn most_frequent(answers: &BTreeMap<i64, Told>) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for told in answers.values() {
        if let Told::Failed(text) | Told::Unknown(text) = told {
            // Numbers differ from one to the next; the words are what counts.
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
