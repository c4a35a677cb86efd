//! The messages in which a PostgreSQL server says why it ends a session or refuses a
//! statement.
//!
//! PostgreSQL documentation, "Error and Notice Message Fields": fields of one letter and
//! a text that ends in a zero byte.

use super::frames::{Frames, Keep, Part};
use crate::driver::socket_access::Unsolicited;
use crate::error::fault;
use crate::observe::{CloseReason, ServerMessage};
use std::borrow::Cow;

/// Decides about messages on an idle connection.
///
/// PostgreSQL documentation, "Asynchronous Operations": notices (`N`), notifications (`A`)
/// and parameters (`S`) come unasked. Any other message is a reply that no caller waits
/// for: a ping could take it for its own reply, and the next caller would then read the
/// ping's. If a message is cut off, more may follow it, and a ping decides.
pub(in crate::driver::postgres) fn unsolicited(bytes: &[u8]) -> Unsolicited {
    let reason = read(bytes).map(|message| message.reason);
    if let Some(CloseReason::ServerShutdown | CloseReason::ServerCrash) = reason {
        return Unsolicited::Close;
    }
    let mut verdict = Unsolicited::Keep;
    let mut consider = |kind: u8, is_complete: bool| match kind {
        _ if verdict == Unsolicited::Close => {}
        b'A' | b'S' if is_complete => {}
        b'A' | b'S' | b'N' => verdict = Unsolicited::Ping,
        _ => verdict = Unsolicited::Close,
    };
    let mut frames = Frames::of_server(|_| Keep::Nothing);
    frames.read(bytes, |part| {
        if let Part::Message(kind, _) = part {
            consider(kind, true);
        }
    });
    if let Some((kind, _)) = frames.unfinished() {
        consider(kind, false);
    }
    verdict
}

/// Reads the first message that says why the server ends the session.
///
/// A crash sends a notice and an administrator a fatal error; both count. The bytes may
/// hold several messages and may be cut off: what there is of the last one is read.
pub(in crate::driver::postgres) fn read(bytes: &[u8]) -> Option<ServerMessage> {
    let keep = |kind| if matches!(kind, b'E' | b'N') { Keep::Whole } else { Keep::Nothing };
    let (mut frames, mut found) = (Frames::of_server(keep), None);
    frames.read(bytes, |part| {
        if let Part::Message(kind, body) = part {
            found = found.take().or_else(|| read_body(kind, body));
        }
    });
    let unfinished = || frames.unfinished().and_then(|(kind, body)| read_body(kind, body));
    found.or_else(unfinished)
}

fn read_body(kind: u8, body: &[u8]) -> Option<ServerMessage> {
    match kind {
        b'E' => error(body).map(|(_, message)| message),
        b'N' => closing_notice(body),
        _ => None,
    }
}

/// Reads the body of an error; returns `true` with it if it ends the session.
pub(in crate::driver::postgres) fn error(body: &[u8]) -> Option<(bool, ServerMessage)> {
    let (code, severity) = (field(body, b'C')?, severity(body)?);
    let message = field(body, b'M').unwrap_or_default();
    let reason = reason_of(&code, &message);
    let ends_session = matches!(&*severity, "FATAL" | "PANIC");
    let text = format!("{severity}: {message}");
    Some((ends_session, ServerMessage::new(Cow::Owned(code.into_owned()), text, reason)))
}

/// Reads the body of a notice that announces the session's end; `None` for any other.
pub(in crate::driver::postgres) fn closing_notice(body: &[u8]) -> Option<ServerMessage> {
    let code = field(body, b'C')?;
    // Nearly every notice ends here, without a copy of its text.
    if reason_of(&code, "") == CloseReason::ServerError && code != POOLER_ERROR {
        return None;
    }
    let (_, message) = error(body)?;
    (message.reason != CloseReason::ServerError).then_some(message)
}

/// Returns the severity: field V, which is never localized; servers before 9.6 and some
/// poolers send only S, which `lc_messages` localizes.
fn severity(body: &[u8]) -> Option<Cow<'_, str>> {
    field(body, b'V').or_else(|| field(body, b'S'))
}

fn field(body: &[u8], letter: u8) -> Option<Cow<'_, str>> {
    let mut fields = body.split(|byte| *byte == 0);
    let field = fields.find(|field| field.first() == Some(&letter))?;
    Some(String::from_utf8_lossy(&field[1..]))
}

/// Reads the server's message from an error of the driver.
pub(in crate::driver::postgres) fn of(error: &postgres::Error) -> Option<ServerMessage> {
    let server = error.as_db_error()?;
    let code = server.code().code();
    let text = format!("{}: {}", fault::postgres::severity(server), server.message());
    Some(ServerMessage::new(code.to_owned(), text, reason_of(code, server.message())))
}

/// The code of all errors of pgbouncer's own; only the text differs (measured with 1.18).
const POOLER_ERROR: &str = "08P01";

/// PostgreSQL documentation, "PostgreSQL Error Codes".
fn reason_of(code: &str, message: &str) -> CloseReason {
    match code {
        "57P01" => CloseReason::ServerShutdown,
        "57P02" => CloseReason::ServerCrash,
        "57P05" | "25P03" => CloseReason::ServerIdleTimeout,
        POOLER_ERROR => match message {
            "client_idle_timeout" | "idle transaction timeout" => CloseReason::ServerIdleTimeout,
            "database removed" => CloseReason::ServerShutdown,
            _ => CloseReason::ServerError,
        },
        _ => CloseReason::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::write;
    use super::*;

    fn raw(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, kind, &[body]);
        out
    }

    #[test]
    fn only_what_a_server_sends_unasked_is_kept() {
        let news = raw(b'A', b"\0\0\0\x01news\0\0");
        let zone = raw(b'S', b"TimeZone\0UTC\0");
        let notice = raw(b'N', b"SNOTICE\0C00000\0Mhello\0\0");
        let shutdown = raw(b'N', b"SWARNING\0C57P01\0Mterminating\0\0");
        let (answer, ready) = (raw(b'I', b""), raw(b'Z', b"I"));
        let table = [
            (vec![&news], Unsolicited::Keep),
            (vec![&zone, &news], Unsolicited::Keep),
            (vec![&notice], Unsolicited::Ping),
            (vec![&news, &notice], Unsolicited::Ping),
            (vec![&shutdown], Unsolicited::Close),
            (vec![&news, &shutdown], Unsolicited::Close),
            (vec![&answer, &ready], Unsolicited::Close),
            (vec![&ready], Unsolicited::Close),
            (vec![&news, &answer, &ready], Unsolicited::Close),
            (vec![&notice, &ready], Unsolicited::Close),
        ];
        for (messages, verdict) in table {
            let bytes: Vec<u8> = messages.into_iter().flatten().copied().collect();
            assert_eq!(unsolicited(&bytes), verdict, "{}", bytes.escape_ascii());
        }
        for end in 1..news.len() {
            assert_eq!(unsolicited(&news[..end]), Unsolicited::Ping, "{end}");
        }
        assert_eq!(unsolicited(&ready[..1]), Unsolicited::Close);
        assert_eq!(unsolicited(b"A\0\0\0\0"), Unsolicited::Ping, "no such length");
    }

    fn message(kind: u8, fields: &[(char, &str)]) -> Vec<u8> {
        let fields = fields.iter().map(|(letter, text)| format!("{letter}{text}\0"));
        raw(kind, &[fields.collect::<String>().as_bytes(), b"\0"].concat())
    }

    #[test]
    fn a_fatal_error_is_read_with_code_and_text() {
        let bytes = message(b'E', &[('S', "FATAL"), ('C', "57P01"), ('M', "terminating")]);
        let message = read(&bytes).expect("message");
        assert_eq!((&*message.code, &*message.text), ("57P01", "FATAL: terminating"));
        assert_eq!(message.reason, CloseReason::ServerShutdown);
    }

    #[test]
    fn an_error_is_fatal_by_its_severity_in_english_whatever_language_the_server_speaks() {
        let table = [
            ("ВАЖНО", "FATAL", true),
            ("PANIK", "PANIC", true),
            ("FEHLER", "ERROR", false),
            // A text in field S that means something else in English counts for nothing.
            ("FATAL", "ERROR", false),
        ];
        for (localized, severity, is_fatal) in table {
            let fields = [('S', localized), ('V', severity), ('C', "XX000"), ('M', "text")];
            let (found, message) = error(&message(b'E', &fields)[5..]).expect("an error");
            assert_eq!(found, is_fatal, "{localized}");
            assert_eq!(message.text, format!("{severity}: text"));
        }
    }

    #[test]
    fn the_errors_of_pgbouncer_are_distinguished_by_their_text() {
        let table = [
            ("client_idle_timeout", CloseReason::ServerIdleTimeout),
            ("idle transaction timeout", CloseReason::ServerIdleTimeout),
            ("database removed", CloseReason::ServerShutdown),
            ("server conn crashed?", CloseReason::ServerError),
        ];
        for (text, reason) in table {
            let bytes = message(b'E', &[('S', "FATAL"), ('C', "08P01"), ('M', text)]);
            assert_eq!(read(&bytes).expect("message").reason, reason, "{text}");
        }
    }

    #[test]
    fn the_notice_of_a_crash_counts_and_a_harmless_one_does_not() {
        let crash = message(b'N', &[('S', "WARNING"), ('C', "57P02"), ('M', "crash")]);
        assert_eq!(read(&crash).expect("message").reason, CloseReason::ServerCrash);
        let harmless = message(b'N', &[('S', "NOTICE"), ('C', "00000"), ('M', "hello")]);
        assert_eq!(read(&harmless), None);
        let both = [harmless, crash].concat();
        assert_eq!(read(&both).expect("message").reason, CloseReason::ServerCrash);
    }

    #[test]
    fn bytes_that_are_cut_off_or_nonsense_never_panic() {
        let whole = message(b'E', &[('S', "FATAL"), ('C', "57P05"), ('M', "idle")]);
        for end in 0..whole.len() {
            let found = read(&whole[..end]);
            let has_code = end >= 5 + "SFATAL\0C57P05".len();
            assert!(found.is_some() || !has_code, "{end}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            let length = random.usize(..64);
            let bytes: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let _ = read(&bytes);
            let _ = unsolicited(&bytes);
        }
    }
}
