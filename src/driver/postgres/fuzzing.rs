//! The entry points of the fuzz targets in `tests/fuzz` that read PostgreSQL's messages.

use super::protocol::frames::{Frames, Part};
use super::protocol::messages;
use super::protocol::protocol::Protocol;
use super::protocol::shared_state::SharedState;
use super::protocol::state::{ProtocolState, keep_of_client, keep_of_server};
use crate::driver::Unsolicited;
use crate::observe::ServerMessage;
use std::sync::Arc;

/// Parses what a server sends, in these pieces. Returns the types and kept bodies of the
/// messages, and `true` if the last one is complete.
pub fn server_messages<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<(u8, Vec<u8>)>, bool) {
    messages_of(Frames::of_server(keep_of_server), pieces)
}

/// Parses what a client sends, in these pieces. Returns the types and kept bodies of the
/// messages, and `true` if the last one is complete.
pub fn client_messages<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<(u8, Vec<u8>)>, bool) {
    messages_of(Frames::of_client(keep_of_client), pieces)
}

fn messages_of<'a>(
    mut frames: Frames,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<(u8, Vec<u8>)>, bool) {
    let mut found = Vec::new();
    for piece in pieces {
        frames.read(piece, |part| {
            if let Part::Message(kind, body) = part {
                found.push((kind, body.to_vec()));
            }
        });
    }
    (found, frames.is_between())
}

/// Passes messages to the protocol state; `true` marks a message of the client.
pub fn enter_messages(messages: impl IntoIterator<Item = (bool, u8, Vec<u8>)>) {
    let mut state = ProtocolState::new();
    state.scope.open();
    for (is_sent, kind, body) in messages {
        let before = state.progress();
        match is_sent {
            true => state.sent(kind, &body),
            false => state.received(kind, &body),
        };
        let now = state.progress();
        assert!(now.sent >= before.sent && now.committed >= before.committed);
        let _ = (state.session(), state.has_left_transaction(), state.final_message());
    }
}

/// Returns the verdict on bytes that arrived on an idle connection.
pub fn unsolicited(bytes: &[u8]) -> Unsolicited {
    messages::unsolicited(bytes)
}

/// Parses bytes as a stream, as the body of an error and as the body of a closing notice;
/// returns the server's message of each.
pub fn server_message(bytes: &[u8]) -> [Option<ServerMessage>; 3] {
    [
        messages::read(bytes),
        messages::error(bytes).map(|(_, message)| message),
        messages::closing_notice(bytes),
    ]
}

/// Removes the names from prepared statements, in both directions.
pub struct Rewriter(Protocol);

impl Rewriter {
    /// Creates a rewriter for a connection that has just finished its start-up.
    pub fn begin() -> Rewriter {
        let shared = Arc::new(SharedState::new());
        let mut protocol = Protocol::new(Arc::clone(&shared));
        protocol.sent(&[0, 0, 0, 8, 0, 3, 0, 0]);
        protocol.received(b"Z\0\0\0\x05I");
        shared.distrust_names();
        assert!(protocol.is_rewriting());
        Rewriter(protocol)
    }

    /// Rewrites bytes from one peer and appends the result for the other to `out`; returns
    /// `false` if the connection must be closed.
    pub fn pass(&mut self, is_request: bool, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        if is_request {
            let admitted = self.0.admit(bytes).is_ok();
            self.0.rewrite_request(bytes, out);
            admitted
        } else {
            self.0.rewrite_reply(bytes, out).is_ok()
        }
    }
}

impl std::fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rewriter")
    }
}
