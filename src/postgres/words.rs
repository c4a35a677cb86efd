//! A PostgreSQL server's parting words, read from the bytes in front of the end.
//!
//! PostgreSQL documentation, "Message Formats", ErrorResponse and NoticeResponse:
//! a type byte, a length, then fields of one letter and a text ended by zero.

use crate::driver::Unsolicited;
use crate::observe::{CloseReason, Words};
use std::borrow::Cow;

/// A message's type byte and length, which counts itself and not the type.
const HEAD: usize = 5;

/// Decides about messages on an idle connection.
///
/// PostgreSQL documentation, "Asynchronous Operations": notices (`N`),
/// notifications (`A`) and parameters (`S`) come unasked. Any other is an answer that
/// nobody waits for: a ping could take it for its own, and whoever asks next would
/// read the ping's. What may hide behind the end of what is seen is asked about.
pub(super) fn unsolicited(mut bytes: &[u8]) -> Unsolicited {
    let ends = read(bytes).map(|words| words.reason);
    if let Some(CloseReason::ServerShutdown | CloseReason::ServerCrash) = ends {
        return Unsolicited::Discard;
    }
    let mut verdict = Unsolicited::Keep;
    while let Some(kind) = bytes.first() {
        match kind {
            b'A' | b'S' => {}
            b'N' => verdict = Unsolicited::Ping,
            _ => return Unsolicited::Discard,
        }
        bytes = match next_message(bytes) {
            Some((_, body, rest)) if is_whole(bytes, body) => rest,
            _ => return Unsolicited::Ping,
        };
    }
    verdict
}

/// Tells whether nothing of the first of these messages is missing.
fn is_whole(message: &[u8], body: &[u8]) -> bool {
    let length = message.get(1..HEAD).and_then(|length| length.try_into().ok());
    let length = length.map(u32::from_be_bytes).and_then(|length| usize::try_from(length).ok());
    length.is_some_and(|length| length - (HEAD - 1) == body.len())
}

/// Reads the first message with a code that ends sessions.
///
/// A crash sends a notice and an administrator a fatal error; both count. The
/// bytes may hold several messages and may be cut off.
pub(super) fn read(mut bytes: &[u8]) -> Option<Words> {
    while let Some((kind, body, rest)) = next_message(bytes) {
        if matches!(kind, b'E' | b'N')
            && let Some(words) = read_fields(kind, body)
        {
            return Some(words);
        }
        bytes = rest;
    }
    None
}

fn next_message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let length = rest.get(..4)?.try_into().ok().map(u32::from_be_bytes)?;
    // The length counts itself; a message that is cut off is read as far as it goes.
    let body = usize::try_from(length).ok()?.checked_sub(4)?;
    let rest = rest.get(4..)?;
    let (body, rest) = rest.split_at(body.min(rest.len()));
    Some((*kind, body, rest))
}

/// Reads the body of any error.
pub(super) fn error(body: &[u8]) -> Option<Words> {
    read_fields(b'E', body)
}

/// Reads the body of an error that ends the session; none for any other error.
pub(super) fn fatal(body: &[u8]) -> Option<Words> {
    let words = read_fields(b'E', body)?;
    (words.text.starts_with("FATAL") || words.text.starts_with("PANIC")).then_some(words)
}

/// Reads the body of a notice that announces the session's end; none for any other.
pub(super) fn farewell(body: &[u8]) -> Option<Words> {
    read_fields(b'N', body)
}

fn read_fields(kind: u8, body: &[u8]) -> Option<Words> {
    let field = |letter: u8| {
        body.split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&letter))
            .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
    };
    let code = field(b'C')?;
    let message = field(b'M').unwrap_or_default();
    let reason = reason_of(&code, &message);
    // An idle session gets no notice but one that announces its end.
    if kind == b'N' && reason == CloseReason::ServerError {
        return None;
    }
    let text = format!("{}: {message}", field(b'S')?);
    Some(Words::new(Cow::Owned(code), text, reason))
}

/// Reads the words from an error that the driver made of them.
pub(super) fn of(error: &postgres::Error) -> Option<Words> {
    let server = error.as_db_error()?;
    let code = server.code().code();
    let text = format!("{}: {}", server.severity(), server.message());
    Some(Words::new(code.to_owned(), text, reason_of(code, server.message())))
}

/// PostgreSQL documentation, "Error Codes"; pgbouncer gives all its own errors
/// 08P01, told apart by text alone (measured with 1.18).
fn reason_of(code: &str, message: &str) -> CloseReason {
    match code {
        "57P01" => CloseReason::ServerShutdown,
        "57P02" => CloseReason::ServerCrash,
        "57P05" | "25P03" => CloseReason::ServerIdleTimeout,
        "08P01" => match message {
            "client_idle_timeout" | "idle transaction timeout" => CloseReason::ServerIdleTimeout,
            "database removed" => CloseReason::ServerShutdown,
            _ => CloseReason::ServerError,
        },
        _ => CloseReason::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_server_says_unasked_is_kept() {
        let message = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).expect("a short body").to_be_bytes();
            [&[kind], &length[..], body].concat()
        };
        let news = message(b'A', b"\0\0\0\x01news\0\0");
        let zone = message(b'S', b"TimeZone\0UTC\0");
        let notice = message(b'N', b"SNOTICE\0C00000\0Mhello\0\0");
        let shutdown = message(b'N', b"SWARNING\0C57P01\0Mterminating\0\0");
        let (answer, ready) = (message(b'I', b""), message(b'Z', b"I"));
        let table = [
            (vec![&news], Unsolicited::Keep),
            (vec![&zone, &news], Unsolicited::Keep),
            (vec![&notice], Unsolicited::Ping),
            (vec![&news, &notice], Unsolicited::Ping),
            (vec![&shutdown], Unsolicited::Discard),
            (vec![&news, &shutdown], Unsolicited::Discard),
            (vec![&answer, &ready], Unsolicited::Discard),
            (vec![&ready], Unsolicited::Discard),
            (vec![&news, &answer, &ready], Unsolicited::Discard),
            (vec![&notice, &ready], Unsolicited::Discard),
        ];
        for (messages, verdict) in table {
            let bytes: Vec<u8> = messages.into_iter().flatten().copied().collect();
            assert_eq!(unsolicited(&bytes), verdict, "{}", bytes.escape_ascii());
        }
        for end in 1..news.len() {
            assert_eq!(unsolicited(&news[..end]), Unsolicited::Ping, "{end}");
        }
        assert_eq!(unsolicited(b"A\0\0\0\0"), Unsolicited::Ping, "no such length");
    }

    fn message(kind: u8, fields: &[(char, &str)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (letter, text) in fields {
            body.extend(format!("{letter}{text}\0").bytes());
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).expect("a short message");
        [&[kind][..], &length.to_be_bytes(), &body].concat()
    }

    #[test]
    fn a_fatal_error_is_read_with_code_and_text() {
        let bytes = message(b'E', &[('S', "FATAL"), ('C', "57P01"), ('M', "terminating")]);
        let words = read(&bytes).expect("words");
        assert_eq!((&*words.code, &*words.text), ("57P01", "FATAL: terminating"));
        assert_eq!(words.reason, CloseReason::ServerShutdown);
    }

    #[test]
    fn the_words_of_pgbouncer_are_told_apart_by_their_text() {
        let table = [
            ("client_idle_timeout", CloseReason::ServerIdleTimeout),
            ("idle transaction timeout", CloseReason::ServerIdleTimeout),
            ("database removed", CloseReason::ServerShutdown),
            ("server conn crashed?", CloseReason::ServerError),
        ];
        for (text, reason) in table {
            let bytes = message(b'E', &[('S', "FATAL"), ('C', "08P01"), ('M', text)]);
            assert_eq!(read(&bytes).expect("words").reason, reason, "{text}");
        }
    }

    #[test]
    fn the_notice_of_a_crash_counts_and_a_harmless_one_does_not() {
        let crash = message(b'N', &[('S', "WARNING"), ('C', "57P02"), ('M', "crash")]);
        assert_eq!(read(&crash).expect("words").reason, CloseReason::ServerCrash);
        let harmless = message(b'N', &[('S', "NOTICE"), ('C', "00000"), ('M', "hello")]);
        assert_eq!(read(&harmless), None);
        let both = [harmless, crash].concat();
        assert_eq!(read(&both).expect("words").reason, CloseReason::ServerCrash);
    }

    #[test]
    fn bytes_that_are_cut_off_or_nonsense_never_panic() {
        let whole = message(b'E', &[('S', "FATAL"), ('C', "57P05"), ('M', "idle")]);
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let length = random.usize(..64);
            let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let _ = read(&bytes);
        }
    }
}
