//! The label of a tenant's series.

use crate::sys::one_line::one_line;
use std::borrow::Cow;
use std::sync::Arc;

/// The label of the series that has what the tenants without a series of their own do.
pub(crate) const OTHER: &str = "other";

/// The most characters that a label has.
const LONGEST: usize = 64;

/// How many characters of a name stand in front of the number that takes the place of the rest.
const KEPT: usize = 47;

/// Returns the label of a tenant whose pool has this name: on one line, at most 64 characters
/// long, and never that of [`OTHER`].
pub(crate) fn tenant_label(name: &str) -> Arc<str> {
    let name = one_line(name);
    let name = if name == OTHER { Cow::Borrowed("other (tenant)") } else { name };
    match name.chars().nth(LONGEST) {
        None => name.into(),
        // Two long names with one beginning are told apart by a number of the whole.
        Some(_) => {
            let kept: String = name.chars().take(KEPT).collect();
            format!("{kept}…{:016x}", number_of(&name)).into()
        }
    }
}

/// Returns a number of a text that is the same in every process and every version: 64 bits of
/// FNV-1a (IETF draft "The FNV Non-Cryptographic Hash Algorithm", 64-bit parameters).
fn number_of(text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    text.bytes().fold(start, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_short_line_and_never_that_of_the_others() {
        assert_eq!(&*tenant_label("acme"), "acme");
        assert_eq!(&*tenant_label("a\nb\u{1b}"), "a\\nb\\u{1b}");
        assert_eq!(&*tenant_label("other"), "other (tenant)");
        assert_eq!(&*tenant_label(&"é".repeat(64)), "é".repeat(64));
    }

    #[test]
    fn long_names_with_one_beginning_have_different_labels_of_64_characters() {
        let long = |end: &str| tenant_label(&format!("{}{end}", "ä".repeat(64)));
        let (one, two) = (long("one"), long("two"));
        assert_eq!((one.chars().count(), two.chars().count()), (64, 64));
        assert!(one.starts_with(&"ä".repeat(47)) && one != two, "{one} {two}");
        assert_eq!(one, long("one"));
        // "foobar" is a test vector of the draft.
        assert_eq!(number_of("foobar"), 0x8594_4171_f739_67e8);
    }
}
