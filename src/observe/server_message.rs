//! The message that a server sends before it ends a connection.

use super::close_reason::CloseReason;
use crate::sys::one_line::one_line;
use std::borrow::Cow;
use std::fmt;

/// A server's own message, read in front of the end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerMessage {
    /// The server's code: a SQLSTATE or a MySQL error number; may be empty.
    pub code: Cow<'static, str>,
    /// The server's text.
    pub text: String,
    /// The close reason that this code stands for.
    pub reason: CloseReason,
}

impl ServerMessage {
    /// Creates the message with which a server sent `text` and `code`.
    ///
    /// Control characters are escaped: no server begins a new line in a log.
    pub fn new(
        code: impl Into<Cow<'static, str>>,
        text: String,
        reason: CloseReason,
    ) -> ServerMessage {
        let code = code.into();
        let code = match one_line(&code) {
            Cow::Borrowed(_) => code,
            Cow::Owned(escaped) => escaped.into(),
        };
        ServerMessage { code, text: one_line(&text).into_owned(), reason }
    }
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.code {
            "" => f.write_str(&self.text),
            code => write!(f, "{} ({code})", self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_message_begins_no_new_line() {
        let text = "no \"a\r\n\u{1b}[2Jb\u{2028}c\0\u{e9}\"".to_owned();
        let message = ServerMessage::new("5\n1", text, CloseReason::ServerError);
        let shown = r#"no "a\r\n\u{1b}[2Jb\u{2028}c\u{0}é" (5\n1)"#;
        assert_eq!(message.to_string(), shown);
    }
}
