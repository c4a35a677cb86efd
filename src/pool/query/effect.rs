//! What a statement may do to the database, judged by its text.
//!
//! The pool asks only when an outcome is in doubt. Where the text does not tell, the
//! statement counts as a write: a read that is taken for a write costs an imprecise
//! error, the opposite a change that is reported as failed.

/// What a text may do to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It only reads.
    Reads,
    /// It reads, and calls functions, which may write.
    Calls,
    /// It writes, or may do anything.
    Writes,
}

impl Effect {
    /// Returns the most that any statement of a text may do.
    pub(super) fn of(sql: &str) -> Effect {
        let mut effect = None;
        // A semicolon inside of a literal or a comment leaves parts that begin as no read.
        for part in sql.split(';').filter(|part| !part.trim().is_empty()) {
            match (Effect::of_one(part), effect) {
                (Effect::Writes, _) => return Effect::Writes,
                (Effect::Reads, Some(_)) => {}
                (other, _) => effect = Some(other),
            }
        }
        effect.unwrap_or(Effect::Writes)
    }

    fn of_one(sql: &str) -> Effect {
        let text = skip_to_word(sql);
        let word = first_word(text);
        let is = |other: &str| word.eq_ignore_ascii_case(other);
        if is("show") {
            Effect::Reads
        } else if is("explain") || is("describe") || is("desc") {
            // ANALYZE carries the statement out.
            if has_word(text, &["analyze", "analyse"]) { Effect::Writes } else { Effect::Reads }
        } else if !(is("select") || is("values") || is("table")) || has_word(text, &["into"]) {
            Effect::Writes
        } else if calls_functions(text) {
            Effect::Calls
        } else {
            Effect::Reads
        }
    }
}

/// Returns the text from its first word on, behind white space, comments and opening
/// parentheses.
///
/// A comment that MySQL or MariaDB carries out (`/*!`, `/*M!`), and one inside of another,
/// which only PostgreSQL has, are not skipped: what follows is no known word.
pub(super) fn skip_to_word(sql: &str) -> &str {
    let mut text = sql;
    loop {
        text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
        if text.starts_with("--") || text.starts_with('#') {
            text = text.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = text.strip_prefix("/*") {
            let Some((inside, rest)) = comment.split_once("*/") else { return text };
            if inside.starts_with('!') || inside.starts_with("M!") || inside.contains("/*") {
                return text;
            }
            text = rest;
        } else {
            return text;
        }
    }
}

/// Returns the word with which a text begins; empty if it begins with none.
pub(super) fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphabetic() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// Returns `true` if a text may have several statements: if there is anything behind a
/// semicolon, inside of a literal or not.
pub(super) fn has_several_statements(sql: &str) -> bool {
    let is_end = |c: char| c == ';' || c.is_whitespace();
    sql.trim_end_matches(is_end).contains(';')
}

/// Returns `true` if one of these words is in the text, inside of a literal or not, also right
/// behind a number: MySQL, and PostgreSQL before 15, read `1.5into` as two.
pub(super) fn has_word(text: &str, words: &[&str]) -> bool {
    let is_wanted = |word: &str| {
        let word = word.rsplit(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
        words.iter().any(|wanted| word.eq_ignore_ascii_case(wanted))
    };
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(is_wanted)
}

/// Words in front of a parenthesis that call no function, and functions of every database
/// that only compute.
const NO_CALLS: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "between",
    "by",
    "case",
    "distinct",
    "else",
    "except",
    "exists",
    "from",
    "having",
    "in",
    "intersect",
    "is",
    "join",
    "lateral",
    "like",
    "limit",
    "not",
    "offset",
    "on",
    "or",
    "over",
    "select",
    "some",
    "table",
    "then",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with", //
    "avg",
    "cast",
    "coalesce",
    "count",
    "generate_series",
    "greatest",
    "least",
    "length",
    "lower",
    "max",
    "min",
    "now",
    "nullif",
    "sum",
    "upper",
];

/// Returns `true` if a name is followed by a parenthesis, other than those that call no
/// function.
fn calls_functions(text: &str) -> bool {
    let is_call = |before: &str| {
        let before = before.trim_end();
        let is_quoted = |c: char| !c.is_ascii() || matches!(c, '"' | '`' | ']');
        let word = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
        let word = word.unwrap_or_default();
        let is_known = NO_CALLS.iter().any(|other| word.eq_ignore_ascii_case(other));
        before.ends_with(is_quoted) || !word.is_empty() && !is_known
    };
    text.match_indices('(').any(|(at, _)| is_call(&text[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_counts_as_a_write_unless_it_begins_as_a_read() {
        for reads in [
            "select 1",
            " \n(SELECT 1) union (select 2);",
            "show tables",
            "values (1), (2)",
            "select count(*) from t where n in (1, 2) and (m = 3 or exists (select 1 from u))",
            "/* route=pay */ select 1",
            "-- a note\nselect 1",
            "# a note\n(select 1)",
            "explain insert into t values (f(1))",
            "select 1; ; show tables;",
        ] {
            assert_eq!(Effect::of(reads), Effect::Reads, "{reads}");
        }
        for writes in [
            "insert into t values (1)",
            "with x as (delete from t returning n) select n from x",
            "",
            "--",
            "/* open",
            "select 1; delete from t",
            "select '; '",
            "selected",
            "select_it",
            "select n into u from t",
            "select 1.5into u",
            "select 1e5into u",
            "explain analyze insert into t values (1)",
            "explain (analyze, verbose) delete from t",
            "desc analyze select f(1)",
            "/*! insert into t values (1) */ select 1",
            "/*M! insert into t values (1) */ select 1",
            "/* /* */ delete from t; */ select 1",
            "call p()",
            "do $$ begin end $$",
        ] {
            assert_eq!(Effect::of(writes), Effect::Writes, "{writes}");
        }
    }

    #[test]
    fn a_read_that_calls_a_function_may_write() {
        for calls in [
            "select f()",
            "select n, f (n) from t",
            "select \"F\"(1)",
            "select schema.f(1)",
            "values (1, f(2))",
            "select nextval('s')",
            "select `f`(1)",
            "select é(1)",
            "select f(); select 1",
        ] {
            assert_eq!(Effect::of(calls), Effect::Calls, "{calls}");
        }
    }

    #[test]
    fn a_semicolon_at_the_end_makes_no_second_statement() {
        assert!(!has_several_statements("select 1 ; \n"));
        assert!(has_several_statements("select 1; ; select 2"));
    }
}
