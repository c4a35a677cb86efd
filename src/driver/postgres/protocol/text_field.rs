//! The texts inside of messages.

/// Splits off a text, which ends in a zero byte.
pub(in crate::driver::postgres) fn split_text(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}
