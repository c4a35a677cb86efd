//! The error for an unknown key, with a suggestion of the intended one.

use super::key_value::Style;
use super::keys;
use super::keys::PREFIX;
use super::similar::{distance, nearest, plain};
use crate::config::options::PoolOptions;

/// The error for an unknown key that may be part of a password.
pub(super) const UNSHOWN: &str = "unknown key, not shown because it may be part of a password: in a URL write & as %26 and @ as \
     %40, in a connection string quote the value";

/// The options' names in other pools and drivers, in lower case without separators.
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
    ("leakdetectionthreshold", "held_warning"),
    ("acquiretimeout", "checkout_timeout"),
    ("pooltimeout", "checkout_timeout"),
    ("timeout", "checkout_timeout"),
    ("connectiontimeout", "checkout_timeout"),
];

/// Returns the error for an unknown key, with a suggestion.
pub(super) fn unknown(word: &str, style: Style) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if word.is_empty() || word.len() > 40 || !word.chars().all(is_word) {
        return "unknown key".to_owned();
    }
    let prefix = if style == Style::Prefixed { PREFIX } else { "" };
    let options = PoolOptions::NAMES.iter().map(|name| format!("{prefix}{name}"));
    let all: Vec<String> = keys::names().map(str::to_owned).chain(options).collect();
    let plain = plain(word);
    let foreign = FOREIGN.iter().find(|(other, _)| *other == plain);
    let suggestion = match foreign {
        Some((_, name)) => format!("; did you mean {prefix}{name}?"),
        None if PoolOptions::NAMES.contains(&word) => format!("; did you mean {prefix}{word}?"),
        None => match word.strip_prefix(PREFIX).filter(|name| PoolOptions::NAMES.contains(name)) {
            Some(name) => format!("; did you mean {name}?"),
            None => nearest(word, &all.iter().map(String::as_str).collect::<Vec<_>>()),
        },
    };
    if looks_like_a_secret(word) {
        return format!("unknown key{suggestion}");
    }
    format!("unknown key {word}{suggestion}")
}

/// Returns `true` if a value may contain the key of a secret because a separator is
/// missing: the rest of the secret would then look like the next key.
pub(super) fn may_hold_a_secret(value: &str) -> bool {
    value.contains('=') || value.split_whitespace().any(looks_like_a_secret)
}

/// Returns `true` if a word starts like the key of a secret, or contains one: if its `=`
/// is missing, the secret itself follows.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_mistakes_and_the_names_of_other_pools_get_a_suggestion() {
        for (word, intended) in [
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
            let text = unknown(word, Style::Prefixed);
            assert!(text.ends_with(&format!("; did you mean {intended}?")), "{text}");
        }
        let text = unknown("pool_max_size", Style::Bare);
        assert_eq!(text, "unknown key pool_max_size; did you mean max_size?");
    }

    #[test]
    fn a_distant_word_gets_no_suggestion_and_a_possible_secret_is_not_shown() {
        assert_eq!(unknown("pgbouncer", Style::Prefixed), "unknown key pgbouncer");
        assert_eq!(unknown("a b", Style::Prefixed), "unknown key");
        assert_eq!(unknown("passwordhushhush", Style::Prefixed), "unknown key");
        assert_eq!(unknown("paswordhushhush", Style::Prefixed), "unknown key");
        assert_eq!(unknown(&"x".repeat(41), Style::Prefixed), "unknown key");
    }
}
