//! Names that were replaced by the field's terms: none may be used again.

use super::source::{files, package};

/// Exact identifiers, not words of prose.
const RETIRED: &[&str] = &[
    "Warden",
    "Knobs",
    "Budget",
    "Cap",
    "Delivery",
    "Duty",
    "Visit",
    "Doing",
    "Tend",
    "Rounds",
    "Kennel",
    "Bite",
    "Desk",
    "Farewell",
    "Manner",
    "Discard",
    "Doomed",
    "FORM",
    "Marked",
    "Words",
    "Look",
    "Kept",
    "Brake",
    "Fittings",
    "Parting",
    "Flight",
    "Gauge",
    "Holder",
    "Holders",
    "Roster",
    "Link",
    "Side",
    "Handling",
    "Leftovers",
    "Cleaned",
    "Ledger",
    "Tally",
    "Wire",
    "Edited",
    "Unnamed",
    "Pieces",
    "Scout",
    "Demand",
    "Itinerary",
    "Preference",
    "Login",
    "Inquiry",
    "Terms",
    "Panicked",
    "Journal",
    "Repeat",
    "RowCount",
    "Sizing",
    "Squeeze",
    "Bounds",
    "Since",
    "Condemned",
    "autopsy",
    "bury",
    "doom",
    "fence",
    "wash",
    "squeeze",
    "unbegun",
    "retell",
    "retold",
    "distrust",
    "undial",
    "cut_at",
    "take_off",
    "fly",
    "shun",
    "shunned",
    "AskServer",
    "Doubted",
    "Soiled",
    "Untouched",
    "Calm",
    "Shaken",
    "Orderly",
    "Deaf",
    "Drip",
    "CutAfter",
    "Dawdle",
    "Outlast",
    "WordsAndFin",
    "Hysteric",
    "Nosy",
    "Heard",
    "Bell",
    "Lane",
    "Blow",
    "Sieve",
    "Talk",
    "Sleeper",
    "asynchrony",
    "babble",
    "brake",
    "distrusted",
    "doubt",
    "enrol",
    "farewell",
    "fate",
    "flavour",
    "gauge",
    "harass",
    "has_rung",
    "heal",
    "itinerary",
    "judged",
    "keeper",
    "kennel",
    "knobs",
    "last_words",
    "ledger",
    "obey",
    "parting_words",
    "roster",
    "soil",
    "soiled",
    "stillborn",
    "strike",
    "suspicion",
    "swallow",
    "tally",
    "warden",
    "watchdog",
];

/// Identifiers that are words of another language or crate where they stand.
fn is_elsewhere(name: &str, before: &str) -> bool {
    match name {
        // Variants of public enums, always written behind their enum or declared alone.
        "Panicked" | "RowCount" => true,
        // Of the crate `metrics`.
        "Gauge" | "gauge" => before.ends_with("metrics::"),
        // Of the crate `tracing`.
        "Visit" => before.ends_with("field::"),
        _ => before.ends_with('"'),
    }
}

#[test]
fn no_retired_name_is_in_use() {
    let mut found = Vec::new();
    for folder in ["../src", ".", "../examples", "../benches"] {
        for (path, text) in files(&package().join(folder)) {
            if path.ends_with("layers/names.rs") {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                let is_name = |c: char| c.is_alphanumeric() || c == '_';
                for name in RETIRED {
                    for (place, _) in code.match_indices(name) {
                        let (before, after) = (&code[..place], &code[place + name.len()..]);
                        let whole = !before.ends_with(is_name) && !after.starts_with(is_name);
                        if whole && !is_elsewhere(name, before) && !before.contains('"') {
                            found.push(format!("{}:{}: {name}", path.display(), number + 1));
                        }
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
