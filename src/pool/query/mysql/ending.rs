//! Which statements end a transaction on MySQL or MariaDB, judged by their text.

use crate::pool::query::effect;
use crate::pool::query::effect::Effect;

/// What a text does to the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It never ends it.
    Never,
    /// It may end it: only the server can tell.
    Possible,
    /// It commits it.
    Commit,
    /// It rolls it back.
    Rollback,
}

/// First words of statements that never end a transaction.
const HARMLESS: &[&str] = &[
    "select",
    "insert",
    "update",
    "delete",
    "replace",
    "with",
    "values",
    "table",
    "show",
    "do",
    "explain",
    "describe",
    "desc",
    "savepoint",
    "release",
    "prepare",
    "deallocate",
    "load",
    "handler",
    "use",
    "kill",
];

impl Ending {
    pub(super) fn of(sql: &str) -> Ending {
        if effect::has_several_statements(sql) {
            return Ending::Possible;
        }
        let text = effect::skip_to_word(sql);
        let word = effect::first_word(text).to_ascii_lowercase();
        let second = effect::first_word(effect::skip_to_word(&text[word.len()..]));
        let second = second.to_ascii_lowercase();
        match (&*word, &*second) {
            // LOAD INDEX INTO CACHE commits, LOAD DATA does not.
            ("load", "index") => Ending::Possible,
            (word, _) if HARMLESS.contains(&word) => Ending::Never,
            // SET changes variables, of which one commits; a password or a default role is
            // written to a table, which commits as well.
            ("set", _) if !effect::has_word(text, &["autocommit", "password", "default"]) => {
                Ending::Never
            }
            ("rollback", _) if effect::has_word(text, &["to"]) => Ending::Never,
            ("rollback", _) => Ending::Rollback,
            // BEGIN NOT ATOMIC is a block of statements.
            ("begin", "" | "work") | ("start", "transaction") | ("commit", _) => Ending::Commit,
            _ => Ending::Possible,
        }
    }
}

/// Returns `true` if a part of what a text has done may be committed although it fails:
/// each of several statements, and each statement of a procedure, commits by itself.
pub(super) fn commits_parts(sql: &str) -> bool {
    let word = effect::first_word(effect::skip_to_word(sql));
    let is = |words: &[&str]| words.iter().any(|other| word.eq_ignore_ascii_case(other));
    let routines = ["procedure", "function", "trigger", "event", "package"];
    if is(&["create"]) && effect::has_word(sql, &routines) {
        // Its body has several statements, which it does not run.
        return false;
    }
    // DROP removes the tables that exist before it reports the one that does not.
    if !effect::has_several_statements(sql) {
        return is(&["call", "execute", "begin", "drop"]);
    }
    // None is run after one that fails: what the last one would do is not done.
    let mut parts = sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace()).split(';');
    parts.next_back();
    parts.any(changes_the_database)
}

fn changes_the_database(sql: &str) -> bool {
    let text = effect::skip_to_word(sql);
    let word = effect::first_word(text).to_ascii_lowercase();
    match &*word {
        "" => !text.is_empty(),
        "set" => effect::has_word(text, &["global", "persist", "persist_only", "password"]),
        "start" => !effect::has_word(text, &["transaction"]),
        _ => Effect::of(text) != Effect::Reads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_of_a_text_show_what_it_does_to_the_transaction() {
        let table = [
            (Ending::Never, "select 1"),
            (Ending::Never, " (select 1)"),
            (Ending::Never, "INSERT INTO t VALUES (1);"),
            (Ending::Never, "update t set created = 1"),
            (Ending::Never, "/* route=pay */ update t set n = 1"),
            (Ending::Never, "set @a = 1"),
            (Ending::Never, "rollback to savepoint s"),
            (Ending::Never, "rollback work to s"),
            (Ending::Never, "release savepoint s"),
            (Ending::Commit, "commit"),
            (Ending::Commit, "COMMIT AND CHAIN"),
            (Ending::Commit, "begin"),
            (Ending::Commit, "begin work"),
            (Ending::Commit, "start transaction read only"),
            (Ending::Rollback, "rollback"),
            (Ending::Rollback, "-- enough\nrollback and chain"),
            (Ending::Possible, "create table t (n int)"),
            (Ending::Possible, "ALTER TABLE t ADD m INT"),
            (Ending::Possible, "drop table t"),
            (Ending::Possible, "truncate t"),
            (Ending::Never, "load data infile 'f' into table t"),
            (Ending::Possible, "load index into cache t"),
            (Ending::Possible, "set autocommit = 1"),
            (Ending::Possible, "set password = password('')"),
            (Ending::Possible, "set default role none"),
            (Ending::Possible, "select 1; commit"),
            (Ending::Possible, "/*! commit */"),
            (Ending::Possible, "begin not atomic commit"),
            (Ending::Possible, "call p()"),
            (Ending::Possible, "execute s"),
            (Ending::Possible, ""),
        ];
        for (ending, sql) in table {
            assert_eq!(Ending::of(sql), ending, "{sql}");
        }
    }

    #[test]
    fn a_text_of_which_a_part_may_be_committed_is_recognized() {
        for parts in
            ["call p()", "insert into t values (1); insert into t values (1)", "drop table a, b"]
        {
            assert!(commits_parts(parts), "{parts}");
        }
        for whole in [
            "insert into t values (1);",
            "select 1; select 2",
            "set @a = 1; insert into t values (1)",
            "start transaction read only; insert into t values (1);",
            "create table t (n int)",
            "create procedure p() begin delete from t; commit; end",
        ] {
            assert!(!commits_parts(whole), "{whole}");
        }
    }
}
