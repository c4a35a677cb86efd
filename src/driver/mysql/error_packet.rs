//! A MySQL server's final message, read from the bytes in front of the FIN.
//!
//! MySQL documentation, "ERR_Packet": a length of three bytes, a sequence number,
//! 0xff, an error number, and, after the handshake, `#` with a SQLSTATE.

use crate::observe::{CloseReason, ServerMessage};

/// Reads an ERR packet that the server sent unsolicited, complete or truncated.
pub(super) fn read(bytes: &[u8]) -> Option<ServerMessage> {
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
    Some(ServerMessage::new(number.to_string(), text, reason_of(number)))
}

/// MySQL documentation, "Server Error Message Reference": 4031 means that the client was
/// idle too long (since 8.0.24), as did 1159, ER_NET_READ_INTERRUPTED; 1053 that the server
/// shuts down, 3169 that the session was killed; MariaDB documentation, "Error Codes": 1927,
/// the connection was killed. By ER_NET_READ_ERROR, ER_NET_ERROR_ON_WRITE and
/// ER_NET_WRITE_INTERRUPTED the server reports that it has lost its client.
fn reason_of(number: u16) -> CloseReason {
    match number {
        4031 | 1159 => CloseReason::ServerIdleTimeout,
        1053 | 1927 | 3169 => CloseReason::ServerShutdown,
        1158 | 1160 | 1161 => CloseReason::ServerClosed,
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
    fn an_idle_timeout_is_read_with_and_without_an_sqlstate() {
        let message = read(&packet(4031, "#HY000inactivity")).expect("message");
        assert_eq!((&*message.code, &*message.text), ("4031", "inactivity"));
        assert_eq!(message.reason, CloseReason::ServerIdleTimeout);
        assert_eq!(read(&packet(1053, "shutdown")).expect("message").text, "shutdown");
    }

    #[test]
    fn a_server_that_lost_its_client_has_closed_the_connection_and_reports_no_fault_of_its_own() {
        let reason = |number| read(&packet(number, "#08S01text")).expect("message").reason;
        assert_eq!([1158, 1160, 1161].map(reason), [CloseReason::ServerClosed; 3]);
        assert_eq!(reason(1159), CloseReason::ServerIdleTimeout);
        assert_eq!(reason(3169), CloseReason::ServerShutdown);
        assert_eq!(reason(1156), CloseReason::ServerError);
    }

    #[test]
    fn other_packets_and_truncated_bytes_are_no_message_and_never_panic() {
        assert_eq!(read(&[7, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]), None);
        let whole = packet(4031, "#HY000inactivity");
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
    }
}
