//! Connection strings in libpq's format: `host=localhost password='two words'`.
//!
//! PostgreSQL documentation, "Keyword/Value Connection Strings".

use super::key_value::KeyValue;
use super::{keys, suggestions};

/// Splits a connection string into its keys and values.
///
/// # Errors
///
/// A text about the mistake, without any part of the string.
pub(super) fn parse(text: &str) -> Result<Vec<KeyValue>, String> {
    let mut pairs: Vec<KeyValue> = Vec::new();
    let mut after_secret = false;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let number = pairs.len() + 1;
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, tail) = rest.split_at(end);
        let Some(tail) = tail.trim_start().strip_prefix('=') else {
            return Err(format!(
                "word {number} has no '=': quote a value that contains spaces, such as \
                 password='two words'"
            ));
        };
        if key.is_empty() {
            return Err(format!("missing key in front of '=' (key {number})"));
        }
        let gap = tail.starts_with(char::is_whitespace);
        let tail = tail.trim_start();
        let quoted = tail.starts_with('\'');
        let (value, tail) = if quoted { quoted_value(tail)? } else { bare_value(tail) };
        let may_be_shown = !after_secret;
        // In "dbname= password=x" libpq takes the password for the database's name.
        if gap && !quoted && value.contains('=') {
            let key = if may_be_shown && keys::is_known(key) { key } else { "a key" };
            return Err(format!("{key}: empty value; omit the key, or quote a value with '='"));
        }
        // The rest of a password that contains a space or a quote would look like a key.
        let ends = tail.is_empty() || tail.starts_with(char::is_whitespace);
        let cut_short = if quoted { !ends } else { keys::is_secret(key) };
        after_secret = cut_short || suggestions::may_hold_a_secret(&value);
        pairs.push(KeyValue { key: key.to_owned(), value, may_be_shown });
        rest = tail.trim_start();
    }
    Ok(pairs)
}

/// Parses up to a space; a backslash escapes the next character.
fn bare_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            c if c.is_whitespace() => return (value, &text[place..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

/// Parses from one quote to the next; a backslash escapes the next character.
fn quoted_value(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((place, character)) = characters.next() {
        match character {
            '\'' => return Ok((value, &text[place + 1..])),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err("missing closing quote".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<(String, String)> {
        let pairs = parse(text).expect(text);
        pairs.into_iter().map(|one| (one.key, one.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_and_values_are_split_as_in_libpq() {
        // PostgreSQL documentation, "Keyword/Value Connection Strings".
        let all = listed("host=localhost port=5432 dbname=mydb connect_timeout=10");
        let wanted = [
            pair("host", "localhost"),
            pair("port", "5432"),
            pair("dbname", "mydb"),
            pair("connect_timeout", "10"),
        ];
        assert_eq!(all, wanted);
        assert_eq!(listed("a = b\n\tc= d"), [pair("a", "b"), pair("c", "d")]);
        assert_eq!(listed("p='two words' q=''"), [pair("p", "two words"), pair("q", "")]);
        assert_eq!(listed(r"p=it\'s\ one q='\\ \''"), [pair("p", "it's one"), pair("q", r"\ '")]);
        assert_eq!(listed("p='a'q=b"), [pair("p", "a"), pair("q", "b")]);
        assert_eq!(listed("p=a=b"), [pair("p", "a=b")]);
        assert_eq!(listed("p= 'a=b'"), [pair("p", "a=b")]);
        assert_eq!(listed("p="), [pair("p", "")]);
        assert_eq!(listed("  "), []);
    }

    #[test]
    fn an_empty_value_does_not_take_the_next_key_for_its_value() {
        let refusal = |text| parse(text).map(|_| ()).expect_err(text);
        for (text, key) in [
            ("host=h user=u dbname= password=hushhush", "dbname"),
            ("user=\tpassword=hushhush", "user"),
            ("password= host=hushhush", "password"),
            ("hush= password=hushhush", "a key"),
            ("password=a hush= password=hushhush", "a key"),
        ] {
            let found = refusal(text);
            assert!(found.starts_with(&format!("{key}: empty value")), "{text}: {found}");
            assert!(!found.contains("hush"), "{text}: {found}");
        }
    }

    #[test]
    fn an_error_shows_no_part_of_the_string() {
        let refusal = |text| parse(text).map(|_| ()).expect_err(text);
        assert!(refusal("host=a hushhush").starts_with("word 2 has no '='"));
        assert!(refusal("password='hushhush").contains("missing closing quote"));
        assert!(refusal("=hushhush").contains("missing key"));
        for text in ["hushhush", "password=x hushhush host=b", "=hushhush", "p='hushhush\\'"] {
            assert!(!refusal(text).contains("hush"), "{text}");
        }
    }
}
