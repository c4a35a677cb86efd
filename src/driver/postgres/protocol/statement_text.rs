//! What the text of a statement shows that its command tag does not.

use super::session_text::SessionText;

/// What a text may do to transactions and to its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::driver::postgres) struct StatementText {
    /// A statement of it may commit inside and then fail without a command tag.
    pub(in crate::driver::postgres) commits_inside: bool,
    /// It may end a transaction and begin the next one by the same statement.
    pub(in crate::driver::postgres) chains: bool,
    /// What it may change in its session.
    pub(super) session: SessionText,
}

/// Statements that commit inside, by their first word.
///
/// PostgreSQL documentation: "CALL" (a procedure may end transactions); "VACUUM",
/// "ANALYZE", "CLUSTER" and "REINDEX" commit table by table.
const COMMIT_INSIDE: &[&str] = &["call", "vacuum", "analyze", "analyse", "cluster", "reindex"];

/// Words without which the code of a DO cannot commit, in whatever language it is.
const IN_CODE: &[&str] = &["commit", "call", "execute"];

/// First words of statements that commit inside if one of [`IN_STEPS`] follows.
const DEFINITIONS: &[&str] = &["create", "drop", "alter", "refresh"];

/// PostgreSQL documentation: what is done CONCURRENTLY is done in several transactions;
/// databases, tablespaces and subscriptions are files and remote objects, which no
/// rollback restores.
const IN_STEPS: &[&str] = &["concurrently", "database", "tablespace", "subscription"];

impl StatementText {
    /// Reads a text of one or several statements. In doubt the answer is `true`: a
    /// semicolon inside a literal, for example, counts as the end of a statement.
    pub(in crate::driver::postgres) fn read(text: &[u8]) -> StatementText {
        let session = SessionText::read(text);
        let mut found = StatementText { commits_inside: false, chains: chains(text), session };
        for statement in text.split(|byte| *byte == b';') {
            let statement = skip_blanks(statement);
            let end = statement.iter().position(|byte| !byte.is_ascii_alphabetic());
            let (first, rest) = statement.split_at(end.unwrap_or(statement.len()));
            let is_one_of = |list: &[&str], word: &[u8]| {
                list.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(word))
            };
            found.commits_inside |= is_one_of(COMMIT_INSIDE, first)
                || is_one_of(DEFINITIONS, first)
                    && words(rest).any(|word| is_one_of(IN_STEPS, word))
                || is_one_of(&["do"], first) && words(text).any(|word| is_one_of(IN_CODE, word));
        }
        found
    }
}

fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty())
}

/// Looks for the words AND CHAIN.
fn chains(text: &[u8]) -> bool {
    // Most texts do not even have the letters.
    if !text.windows(5).any(|window| window.eq_ignore_ascii_case(b"chain")) {
        return false;
    }
    let mut previous: &[u8] = b"";
    words(text).any(|word| {
        let found = previous.eq_ignore_ascii_case(b"and") && word.eq_ignore_ascii_case(b"chain");
        previous = word;
        found
    })
}

/// Skips white space, comments and opening parentheses.
fn skip_blanks(mut text: &[u8]) -> &[u8] {
    loop {
        let trimmed = match text {
            [b'(' | b'\0', rest @ ..] => rest,
            [first, rest @ ..] if first.is_ascii_whitespace() => rest,
            [b'-', b'-', rest @ ..] => after(rest, b"\n"),
            [b'/', b'*', rest @ ..] => after(rest, b"*/"),
            _ => return text,
        };
        text = trimmed;
    }
}

fn after<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    let at = text.windows(end.len()).position(|window| window == end);
    at.map_or(&[], |at| &text[at + end.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_may_commit_inside_is_found_by_its_first_word() {
        let inside = [
            "call p()",
            "  CALL p()",
            "-- pays\ncall p()",
            "/* route=pay */ do $$ begin commit; end $$",
            "select 1; call p()",
            "do $$ begin perform 1; execute 'call p()'; end $$",
            "do language plpython3u $$ plpy.commit() $$",
            "vacuum",
            "create unique index concurrently i on t (a)",
            "drop database d",
            "reindex table t",
        ];
        for text in inside {
            assert!(StatementText::read(text.as_bytes()).commits_inside, "{text}");
        }
        let not = [
            "insert into t values (1) on conflict do nothing",
            "select call from calls",
            "create table t (a int)",
            "select 'vacuum'",
            "callous",
            "do $$ begin raise sqlstate '40001'; end $$",
            "",
            "-- call",
            "/* call",
        ];
        for text in not {
            assert!(!StatementText::read(text.as_bytes()).commits_inside, "{text}");
        }
    }

    #[test]
    fn a_chained_transaction_is_found_by_its_words() {
        for text in ["commit and chain", "ROLLBACK AND\n CHAIN", "insert; rollback and chain;"] {
            assert!(StatementText::read(text.as_bytes()).chains, "{text}");
        }
        for text in ["commit and no chain", "select * from chain", "select a and chains", ""] {
            assert!(!StatementText::read(text.as_bytes()).chains, "{text}");
        }
    }
}
