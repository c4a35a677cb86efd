//! A number with its noun, for messages.

use std::fmt::Display;

/// Formats a number with its noun: `1 caller`, `2 callers`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(number: N, noun: &str) -> String {
    let plural = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let texts = [counted(0_u32, "row"), counted(1_usize, "row"), counted(2_u64, "row")];
        assert_eq!(texts, ["0 rows", "1 row", "2 rows"]);
    }
}
