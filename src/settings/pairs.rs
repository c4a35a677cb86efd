//! Lists of keys as libpq reads them: `host=localhost password='two words'`.
//!
//! PostgreSQL documentation, "Keyword/Value Connection Strings".

use super::{Given, keys};

/// Splits a list into its keys and values.
///
/// # Errors
///
/// Says what is wrong, without any word of the list.
pub(super) fn read(text: &str) -> Result<Vec<Given>, String> {
    let mut given: Vec<Given> = Vec::new();
    let mut after_secret = false;
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let number = given.len() + 1;
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, behind) = rest.split_at(end);
        let Some(behind) = behind.trim_start().strip_prefix('=') else {
            return Err(format!(
                "word {number} has no = behind it: a value with spaces is written in quotes, \
                 such as password='two words'"
            ));
        };
        if key.is_empty() {
            return Err(format!("an = without a key in front of it, where key {number} should be"));
        }
        let behind = behind.trim_start();
        let quoted = behind.starts_with('\'');
        let (value, behind) = if quoted { quoted_value(behind)? } else { bare_value(behind) };
        given.push(Given { key: key.to_owned(), value, may_be_shown: !after_secret });
        // The rest of a password with a space in it would look like a key.
        let ends = behind.is_empty() || behind.starts_with(char::is_whitespace);
        after_secret = keys::is_secret(key) && !(quoted && ends);
        rest = behind.trim_start();
    }
    Ok(given)
}

/// Reads up to a space; a backslash takes the next character as it is.
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

/// Reads from one quote to the next; a backslash takes the next character as it is.
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
    Err("a quoted value has no closing quote".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<(String, String)> {
        let given = read(text).expect(text);
        given.into_iter().map(|one| (one.key, one.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn keys_and_values_are_told_apart_as_libpq_does() {
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
        assert_eq!(listed("p="), [pair("p", "")]);
        assert_eq!(listed("  "), []);
    }

    #[test]
    fn what_is_wrong_is_told_without_a_word_of_it() {
        let refusal = |text| read(text).map(|_| ()).expect_err(text);
        assert!(refusal("host=a hushhush").starts_with("word 2 has no ="));
        assert!(refusal("password='hushhush").contains("no closing quote"));
        assert!(refusal("=hushhush").contains("without a key"));
        for text in ["hushhush", "password=x hushhush host=b", "=hushhush", "p='hushhush\\'"] {
            assert!(!refusal(text).contains("hush"), "{text}");
        }
    }
}
