//! What is said of a word that is no key: which one may have been meant.

use super::Style;
use super::keys::{self, MARK};
use crate::config::Knobs;

/// Said of a word that may be a part of a password.
pub(super) const UNSHOWN: &str = "an unknown key, which is not shown because it may be part of a password: in a URL write & as \
     %26 and @ as %40, in a list of keys put the value in quotes";

/// What other pools and drivers call our knobs, without marks and in lower case.
const FOREIGN: &[(&str, &str)] = &[
    ("poolmax", "max_size"),
    ("poolsize", "max_size"),
    ("poolmaxconns", "max_size"),
    ("maxconns", "max_size"),
    ("maxconnections", "max_size"),
    ("maximumpoolsize", "max_size"),
    ("connectionlimit", "max_size"),
    ("poolmin", "min_idle"),
    ("poolminconns", "min_idle"),
    ("minconns", "min_idle"),
    ("minconnections", "min_idle"),
    ("minimumidle", "min_idle"),
    ("poolmaxconnlifetime", "max_lifetime"),
    ("maxconnlifetime", "max_lifetime"),
    ("poolmaxconnlifetimejitter", "lifetime_jitter"),
    ("poolmaxconnidletime", "idle_timeout"),
    ("maxconnidletime", "idle_timeout"),
    ("poolhealthcheckperiod", "ping_after"),
    ("acquiretimeout", "checkout_timeout"),
    ("pooltimeout", "checkout_timeout"),
    ("timeout", "checkout_timeout"),
    ("connectiontimeout", "checkout_timeout"),
];

/// Says that there is no such key, and which one may have been meant.
pub(super) fn unknown(word: &str, style: Style) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if word.is_empty() || word.len() > 40 || !word.chars().all(is_word) {
        return "an unknown key".to_owned();
    }
    let mark = if style == Style::Marked { MARK } else { "" };
    let marked = Knobs::NAMES.iter().map(|name| format!("{mark}{name}"));
    let all: Vec<String> = keys::names().map(str::to_owned).chain(marked).collect();
    let plain = plain(word);
    let foreign = FOREIGN.iter().find(|(other, _)| *other == plain);
    let meant = match foreign {
        Some((_, name)) => format!("; did you mean {mark}{name}?"),
        None if Knobs::NAMES.contains(&word) => format!("; did you mean {mark}{word}?"),
        None => match word.strip_prefix(MARK).filter(|name| Knobs::NAMES.contains(name)) {
            Some(name) => format!("; did you mean {name}?"),
            None => meant(word, &all.iter().map(String::as_str).collect::<Vec<_>>()),
        },
    };
    if looks_like_a_secret(word) {
        return format!("an unknown key{meant}");
    }
    format!("unknown key {word}{meant}")
}

/// Tells whether a word begins like the key of a secret, or has such a one in it:
/// with its = forgotten, the secret itself would follow.
fn looks_like_a_secret(word: &str) -> bool {
    let word = plain(word);
    if ["pass", "pwd", "secret", "token"].iter().any(|part| word.contains(part)) {
        return true;
    }
    let word: Vec<char> = word.chars().collect();
    keys::secrets().any(|name| {
        let lengths = name.len().saturating_sub(2)..=name.len() + 2;
        let beginnings = lengths.filter_map(|length| word.get(..length));
        let mut beginnings = beginnings.map(|letters| letters.iter().collect::<String>());
        beginnings.any(|beginning| distance(&beginning, name) <= 2)
    })
}

/// The word that was probably meant, as the end of a sentence; empty if none is near.
pub(super) fn meant(word: &str, words: &[&str]) -> String {
    let word = plain(word);
    let near = words.iter().map(|known| (distance(&word, &plain(known)), known));
    let nearest = near.min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, known)) if distance <= word.len().max(known.len()).min(12) / 4 => {
            format!("; did you mean {known}?")
        }
        _ => String::new(),
    }
}

fn plain(word: &str) -> String {
    let letters = word.chars().take(64).filter(|c| !matches!(c, '_' | '-' | '.'));
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// How many letters must be changed, added or taken away.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_and_the_words_of_other_pools_are_understood() {
        for (word, meant) in [
            ("pool_max_sise", "pool_max_size"),
            ("max_size", "pool_max_size"),
            ("pool_max_conns", "pool_max_size"),
            ("maximumPoolSize", "pool_max_size"),
            ("pool_maxLifetime", "pool_max_lifetime"),
            ("pool_max_conn_idle_time", "pool_idle_timeout"),
            ("sslMode", "sslmode"),
            ("aplication_name", "application_name"),
            ("passwd", "password"),
            ("ssl_password", "sslpassword"),
        ] {
            let text = unknown(word, Style::Marked);
            assert!(text.ends_with(&format!("; did you mean {meant}?")), "{text}");
        }
        let text = unknown("pool_max_size", Style::Bare);
        assert_eq!(text, "unknown key pool_max_size; did you mean max_size?");
    }

    #[test]
    fn what_is_far_from_everything_is_only_named_and_what_is_no_word_not_even_that() {
        assert_eq!(unknown("pgbouncer", Style::Marked), "unknown key pgbouncer");
        assert_eq!(unknown("a b", Style::Marked), "an unknown key");
        assert_eq!(unknown("passwordhushhush", Style::Marked), "an unknown key");
        assert_eq!(unknown("paswordhushhush", Style::Marked), "an unknown key");
        assert_eq!(unknown(&"x".repeat(41), Style::Marked), "an unknown key");
    }
}
