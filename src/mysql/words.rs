//! A MySQL server's parting words, read from the bytes in front of the end.
//!
//! MySQL documentation, "ERR_Packet": a length of three bytes, a sequence number,
//! 0xff, an error number, and, after the handshake, `#` with a SQLSTATE.

use crate::observe::{CloseReason, Words};

/// Reads an ERR packet that the server sent by itself, cut off or not.
pub(super) fn read(bytes: &[u8]) -> Option<Words> {
    let payload = bytes.get(4..)?;
    let (mark, rest) = payload.split_first()?;
    if *mark != 0xff {
        return None;
    }
    let (number, rest) = rest.split_at_checked(2)?;
    let number = u16::from_le_bytes([number[0], number[1]]);
    let length = usize::from(bytes[0]) | usize::from(bytes[1]) << 8 | usize::from(bytes[2]) << 16;
    let text = &rest[..rest.len().min(length.saturating_sub(3))];
    let text = match text.split_first() {
        Some((b'#', stated)) => stated.get(5..).unwrap_or_default(),
        _ => text,
    };
    let text = String::from_utf8_lossy(text).into_owned();
    Some(Words::new(number.to_string(), text, reason_of(number)))
}

/// MySQL documentation, "Server Error Message Reference": 4031 says that the
/// client was idle too long (since 8.0.24), 1053 that the server shuts down, 3169
/// that the session was killed; MariaDB documentation, "Error Codes": 1927, the
/// connection was killed.
fn reason_of(number: u16) -> CloseReason {
    match number {
        4031 => CloseReason::ServerIdleTimeout,
        1053 | 1927 | 3169 => CloseReason::ServerShutdown,
        _ => CloseReason::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u16, text: &str) -> Vec<u8> {
        let length = u8::try_from(3 + text.len()).expect("a short text");
        let number = number.to_le_bytes();
        [&[length, 0, 0, 0, 0xff, number[0], number[1]][..], text.as_bytes()].concat()
    }

    #[test]
    fn an_idle_time_out_is_read_with_and_without_a_state() {
        let words = read(&packet(4031, "#HY000inactivity")).expect("words");
        assert_eq!((&*words.code, &*words.text), ("4031", "inactivity"));
        assert_eq!(words.reason, CloseReason::ServerIdleTimeout);
        assert_eq!(read(&packet(1053, "shutdown")).expect("words").text, "shutdown");
    }

    #[test]
    fn other_packets_and_cut_off_bytes_are_no_words_and_never_panic() {
        assert_eq!(read(&[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]), None);
        let whole = packet(4031, "#HY000inactivity");
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
    }
}
