//! Which statements leave a MySQL or MariaDB session as it is, judged by their text.
//!
//! A text counts as harmless only if it cannot change a session, whatever the session's
//! `sql_mode` and character set are: literals, quoted names and the rest are read alike, so
//! that at worst a harmless text is not recognized, which costs a reset.

use crate::pool::query::effect;

/// What the text of a statement shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement<'a> {
    /// It may change its session.
    Unknown,
    /// It is one SELECT of no table, and calls only functions that only compute.
    Harmless,
    /// The same, except that it reads. Each table or view that it reads is among these names.
    Reads(Vec<Name<'a>>),
}

/// A word of a text that may name a table, and the word for its database, if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name<'a> {
    pub(super) database: Option<&'a str>,
    pub(super) table: &'a str,
}

/// The most names that are worth a look at the server's catalogue.
const MAX_NAMES: usize = 64;

/// Words of a SELECT that writes variables or files, locks rows, reads a table without FROM,
/// or takes a sequence's next value.
const NOT_HARMLESS: &[&str] = &["into", "for", "lock", "table", "procedure"];

/// Words that every server reserves and that may stand before a parenthesis: none of them
/// names a table or a stored function unless it is quoted.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "as",
    "asc",
    "between",
    "binary",
    "by",
    "case",
    "char",
    "cross",
    "decimal",
    "desc",
    "distinct",
    "div",
    "else",
    "exists",
    "from",
    "group",
    "having",
    "if",
    "in",
    "inner",
    "interval",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "mod",
    "not",
    "null",
    "on",
    "or",
    "order",
    "outer",
    "regexp",
    "repeat",
    "replace",
    "right",
    "select",
    "straight_join",
    "then",
    "union",
    "using",
    "values",
    "when",
    "where",
    "xor",
];

/// Functions that only compute, and that every supported server has: a name that a server does
/// not know could be that of a stored function.
const FUNCTIONS: &[&str] = &[
    "abs",
    "acos",
    "adddate",
    "addtime",
    "ascii",
    "asin",
    "atan",
    "atan2",
    "avg",
    "bin",
    "bit_and",
    "bit_count",
    "bit_length",
    "bit_or",
    "bit_xor",
    "cast",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "connection_id",
    "conv",
    "convert",
    "convert_tz",
    "cos",
    "cot",
    "count",
    "crc32",
    "curdate",
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "curtime",
    "database",
    "date",
    "date_add",
    "date_format",
    "date_sub",
    "datediff",
    "day",
    "dayname",
    "dayofmonth",
    "dayofweek",
    "dayofyear",
    "degrees",
    "elt",
    "exp",
    "extract",
    "field",
    "find_in_set",
    "floor",
    "format",
    "from_days",
    "from_unixtime",
    "greatest",
    "group_concat",
    "hex",
    "hour",
    "ifnull",
    "inet_aton",
    "inet_ntoa",
    "instr",
    "isnull",
    "last_day",
    "lcase",
    "least",
    "length",
    "ln",
    "localtime",
    "localtimestamp",
    "locate",
    "log",
    "log10",
    "log2",
    "lower",
    "lpad",
    "ltrim",
    "makedate",
    "maketime",
    "max",
    "md5",
    "microsecond",
    "mid",
    "min",
    "minute",
    "month",
    "monthname",
    "now",
    "nullif",
    "oct",
    "octet_length",
    "ord",
    "period_add",
    "period_diff",
    "pi",
    "pow",
    "power",
    "quarter",
    "quote",
    "radians",
    "rand",
    "reverse",
    "round",
    "rpad",
    "rtrim",
    "schema",
    "sec_to_time",
    "second",
    "sha1",
    "sha2",
    "sign",
    "sin",
    "soundex",
    "space",
    "sqrt",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "str_to_date",
    "strcmp",
    "subdate",
    "substr",
    "substring",
    "substring_index",
    "subtime",
    "sum",
    "sysdate",
    "tan",
    "time",
    "time_format",
    "time_to_sec",
    "timediff",
    "timestamp",
    "timestampadd",
    "timestampdiff",
    "to_days",
    "trim",
    "truncate",
    "ucase",
    "unhex",
    "unix_timestamp",
    "upper",
    "user",
    "utc_date",
    "utc_time",
    "utc_timestamp",
    "uuid",
    "var_pop",
    "var_samp",
    "variance",
    "version",
    "week",
    "weekday",
    "weekofyear",
    "year",
    "yearweek",
];

/// Judges a text.
pub(super) fn judge(sql: &str) -> Judgement<'_> {
    let text = effect::skip_to_word(sql);
    let text = text.trim_end_matches(|c: char| c == ';' || c.is_ascii_whitespace());
    let is_strange = |c: char| matches!(c, '@' | ';' | '#') || c.is_control() && !c.is_whitespace();
    if !effect::first_word(text).eq_ignore_ascii_case("select")
        || text.contains(is_strange)
        || text.contains("--")
        || text.contains("/*")
        || hides_words(text)
        || words(text).any(|word| is_among(word, NOT_HARMLESS))
        || !text.match_indices('(').all(|(at, _)| is_harmless_before(&text[..at]))
    {
        return Judgement::Unknown;
    }
    if !words(text).any(|word| word.eq_ignore_ascii_case("from")) {
        return Judgement::Harmless;
    }
    names(text).map_or(Judgement::Unknown, Judgement::Reads)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    placed_words(text).map(|(_, word, _)| word)
}

/// Returns each word of a text, with what is in front of it and behind it.
fn placed_words(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(is_word)?;
        at = text[start..].find(|c| !is_word(c)).map_or(text.len(), |length| start + length);
        Some((&text[..start], &text[start..at], &text[at..]))
    })
}

/// Returns `true` if a word may begin in the middle of what looks like one: behind a number,
/// as in `select 1.5from t`, or behind `\N`, which is NULL.
fn hides_words(text: &str) -> bool {
    let mut parts = text.split(|c: char| !is_word(c) && c != '.');
    let begins_as_number =
        |part: &str| part.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    text.contains("\\N") || parts.any(|part| begins_as_number(part) && !is_number(part))
}

/// Returns `true` if the text is a number, or one up to the sign of its exponent.
fn is_number(text: &str) -> bool {
    fn behind_digits(text: &str) -> &str {
        text.trim_start_matches(|c: char| c.is_ascii_digit())
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    }
    let rest = behind_digits(text);
    let rest = rest.strip_prefix('.').map_or(rest, behind_digits);
    rest.strip_prefix(['e', 'E']).map_or(rest, behind_digits).is_empty()
}

fn is_among(word: &str, list: &[&str]) -> bool {
    list.iter().any(|other| word.eq_ignore_ascii_case(other))
}

/// Returns `true` if a parenthesis behind this text calls no function, or a harmless one.
///
/// Between the name of some built-in functions and its parenthesis there is no space: with
/// one it may be a stored function of that name.
fn is_harmless_before(text: &str) -> bool {
    let trimmed = text.trim_end();
    let word = last_word(trimmed);
    if word.is_empty() {
        return trimmed.ends_with(|c: char| "(,+-*/%=<>!|&^~".contains(c)) || trimmed.is_empty();
    }
    let is_qualified = trimmed[..trimmed.len() - word.len()].trim_end().ends_with('.');
    let is_function = trimmed.len() == text.len() && is_among(word, FUNCTIONS);
    !is_qualified && (is_function || is_among(word, RESERVED))
}

/// Words in front of the name of a table, as a comma, a parenthesis, or `{` and any word.
const BEFORE_TABLE: &[&str] = &["from", "join", "straight_join"];

/// Returns everything in a text that may name a table; `None` if a name may be missed, or if
/// there are too many.
fn names(text: &str) -> Option<Vec<Name<'_>>> {
    let is_plain = |inside: &str| inside.chars().all(is_word);
    if !text.is_ascii() || text.contains('"') || !text.split('`').skip(1).step_by(2).all(is_plain) {
        return None;
    }
    let (is_quoted, has_braces) = (text.contains('`'), text.contains('{'));
    let named = placed_words(text).filter_map(|(before, word, after)| {
        let is_placed = has_braces || is_before_table(before);
        // Behind a dot each word is a name.
        let may_name = is_quoted
            || before.ends_with('.')
            || !is_among(word, RESERVED) && !word.bytes().all(|c| c.is_ascii_digit());
        if !is_placed || !may_name || after.starts_with('(') {
            return None;
        }
        let Some(after) = after.trim_start_matches(is_between).strip_prefix('.') else {
            return Some(Name { database: None, table: word });
        };
        let table = words(after.trim_start_matches(is_between)).next()?;
        Some(Name { database: Some(word), table })
    });
    let mut names: Vec<_> = named.collect();
    names.sort_unstable();
    names.dedup();
    (names.len() <= MAX_NAMES).then_some(names)
}

fn is_between(c: char) -> bool {
    c == '`' || c.is_whitespace()
}

/// Returns `true` if the word behind this text may name a table, or its database.
fn is_before_table(text: &str) -> bool {
    let text = text.trim_end_matches(is_between);
    if let Some(text) = text.strip_suffix('.') {
        // Without a database, as in `from .t`.
        return is_before_table(text);
    }
    if let Some(text) = text.strip_suffix('(') {
        return !is_among(last_word(text), FUNCTIONS);
    }
    text.ends_with(',') || is_among(last_word(text), BEFORE_TABLE)
}

fn last_word(text: &str) -> &str {
    text.rsplit(|c: char| !is_word(c)).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_select_without_tables_and_with_known_functions_is_harmless() {
        for harmless in [
            "select 1",
            "SELECT ? + 22;",
            "/* route=pay */ select now(), 'it''s', (1 + 2) * -(3)",
            "-- a note\nselect case when ? in (1, 2) then upper('é') else concat('a', ?) end",
            "(select 1) union (select 2)",
            "select cast(? as decimal (10, 2)), interval(2, 1, 3)",
        ] {
            assert_eq!(judge(harmless), Judgement::Harmless, "{harmless}");
        }
    }

    #[test]
    fn what_may_change_its_session_is_not_harmless() {
        for unknown in [
            "",
            "insert into t values (1)",
            "set names latin1",
            "with x as (select 1) select 1",
            "select @a := 1",
            "select 1 into @a",
            "select 1 into dumpfile 'f'",
            "select get_lock('a', 1)",
            "select GET_LOCK ('a', 1)",
            "select get_lock/**/('a', 1)",
            "select get_lock -- a note\n('a', 1)",
            "select get_lock # a note\n('a', 1)",
            "select /*!50000 get_lock('a', 1) */",
            "/*M! set names latin1 */",
            "select `get_lock`('a', 1)",
            "select \"f\"(1)",
            "select d.abs(1)",
            "select d . in (1)",
            "select count (1)",
            "select f(1)",
            "select éabs(1)",
            "select {fn get_lock('a', 1)}",
            "select last_insert_id(7)",
            "select release_all_locks()",
            "select 1; set names latin1",
            "select 1 from t for update",
            "select next value for s",
            "select n in (table t)",
            "select n from t lock in share mode",
            "select n from t procedure analyse()",
            "select 'a\0b'",
            "select 1.5from t",
            "select .5from t",
            "select 1e5from t",
            "select 1e+5from t",
            "select 1.e5from t",
            "select 1.5e-5from t",
            "select 1.5into outfile 'f'",
            "select \\Nfrom t",
            "select 0x1ffrom t",
        ] {
            assert_eq!(judge(unknown), Judgement::Unknown, "{unknown}");
        }
    }

    fn names_of(sql: &str) -> Option<Vec<String>> {
        let Judgement::Reads(names) = judge(sql) else { return None };
        let text = |name: Name<'_>| match name.database {
            Some(database) => format!("{database}.{}", name.table),
            None => name.table.to_owned(),
        };
        Some(names.into_iter().map(text).collect())
    }

    #[test]
    fn each_word_that_may_name_a_table_is_a_name() {
        for (sql, expected) in [
            ("select name from item where id = ?", &["item"][..]),
            ("select count(*) from item where name = ?", &["item"]),
            ("select name, count(*), max(`n`) from`item`", &["item"]),
            ("select n from count join `max`", &["count", "max"]),
            ("select i.n from shop.item as i where n > 1.5", &["shop.item"]),
            (
                "select `o` . * from shop . item i, `other` . `it$em` o",
                &["other.it$em", "shop.item"],
            ),
            ("select 1 from t join u natural left join v straight_join w", &["t", "u", "v", "w"]),
            ("select 1 from (t, (u)) where n in (select m from v)", &["t", "u", "v"]),
            ("select 1 from .t join .order", &["order", "t"]),
            ("select 1 from shop.select", &["shop.select"]),
            ("select -1.5 + 1e-5 * .5 = 0x1f from t", &["t"]),
            ("select 1 from `from`", &["from"]),
        ] {
            assert_eq!(names_of(sql).unwrap_or_default(), expected, "{sql}");
        }
        let names = names_of("select 1 from { oj t left join u on 1 }").expect("it reads");
        assert!(["t", "u"].iter().all(|name| names.contains(&(*name).to_owned())), "{names:?}");
    }

    #[test]
    fn a_text_with_a_name_that_may_be_missed_is_not_judged() {
        for unknown in [
            "select n from `my table`",
            "select n from `a-b`",
            "select n from \"t\"",
            "select n from tablé",
            "select '`', n from `my table` where m = '`'",
        ] {
            assert_eq!(judge(unknown), Judgement::Unknown, "{unknown}");
        }
        let many = (0..100).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
        assert_eq!(judge(&format!("select {many} from t")), Judgement::Unknown);
    }
}
