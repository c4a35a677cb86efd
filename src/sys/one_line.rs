//! Foreign texts on one line.

use std::borrow::Cow;

/// Returns a text without line breaks and other control characters, which are escaped: no
/// text of a server or of a user can forge a log line.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_control(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// The two separators also break lines in some viewers.
fn is_control(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_other_text_is_unchanged() {
        assert_eq!(
            one_line("no \"a\r\n\u{1b}[2J\u{2028}\0é\""),
            r#"no "a\r\n\u{1b}[2J\u{2028}\u{0}é""#
        );
        assert!(matches!(one_line("relation \"é\""), Cow::Borrowed(_)));
    }
}
