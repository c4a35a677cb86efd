//! Both directions of one connection: what passes is recorded, and statement names are
//! rewritten where they are unsafe.

use super::frames::{Frames, Keep, Part};
use super::rewrite::{self, StatementRewriter};
use super::shared_state::SharedState;
use super::state::{ProtocolState, keep_of_client, keep_of_server};
use parking_lot::MutexGuard;
use std::io;
use std::sync::Arc;

/// The protocol of one connection; its transport calls it for all bytes.
pub(in crate::driver::postgres) struct Protocol {
    from_client: Frames,
    from_server: Frames,
    shared: Arc<SharedState>,
    rewriter: Option<Box<StatementRewriter>>,
}

impl Protocol {
    pub(in crate::driver::postgres) fn new(shared: Arc<SharedState>) -> Protocol {
        Protocol {
            from_client: Frames::of_client(keep_of_client),
            from_server: Frames::of_server(keep_of_server),
            shared,
            rewriter: None,
        }
    }

    pub(in crate::driver::postgres) fn shared(&self) -> &SharedState {
        &self.shared
    }

    /// Decides whether bytes of the driver may be sent.
    ///
    /// Blocks while a cancel request is under way that was sent for an earlier statement:
    /// it could cancel the one that begins now.
    ///
    /// # Errors
    ///
    /// The connection is given up; the transaction of a closure has ended, and the closure
    /// goes on; or a cancel request is not known to have been carried out.
    pub(in crate::driver::postgres) fn admit(&self, bytes: &[u8]) -> io::Result<()> {
        if self.shared.is_given_up() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        // Data of a COPY and the end of the session are for no new statement.
        let begins = self.from_client.is_between()
            && !matches!(bytes.first(), None | Some(b'd' | b'c' | b'f' | b'X'));
        if !begins {
            return Ok(());
        }
        if self.shared.lock().scope.has_ended() && self.runs_something(bytes) {
            return Err(io::Error::other(
                "the transaction has already been ended by a statement of its own; the statements \
                 after that one are not sent",
            ));
        }
        if self.shared.observer().is_some_and(|observer| !observer.before_request()) {
            return Err(io::Error::other(
                "a cancel request for an earlier statement may still arrive; the next statement \
                 is not sent",
            ));
        }
        Ok(())
    }

    /// Returns `true` if these bytes must wait for the server: an error may have ended the
    /// transaction of a closure, and the next statement would run outside of it. A Sync
    /// does not wait, without which the server would not go on.
    pub(in crate::driver::postgres) fn must_wait(&self, bytes: &[u8]) -> bool {
        let begins = matches!(bytes.first(), Some(b'Q' | b'P' | b'B' | b'D' | b'E' | b'F'));
        // A connection that is given up fails instead.
        begins
            && !self.shared.is_given_up()
            && self.from_client.is_between()
            && self.shared.lock().is_end_in_doubt()
    }

    /// Closing a statement and Sync run nothing.
    fn runs_something(&self, bytes: &[u8]) -> bool {
        let (mut frames, mut runs) = (self.from_client.clone(), false);
        frames.set_keep(|_| Keep::Nothing);
        frames.read(bytes, |part| {
            if let Part::Message(kind, _) = part {
                runs |= matches!(kind, b'Q' | b'P' | b'B' | b'E' | b'F');
            }
        });
        runs || frames.unfinished().is_some_and(|(kind, _)| kind != b'C')
    }

    /// Records bytes that were sent as they are.
    pub(in crate::driver::postgres) fn sent(&mut self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let mut started = false;
        self.from_client.read(bytes, |part| {
            if let Part::Message(kind, body) = part {
                started |= state.sent(kind, body);
            }
        });
        self.note(state, started, false);
    }

    /// Counts bytes that were received, and those that the unfinished message still has,
    /// against the limit of one of the pool's own queries.
    ///
    /// # Errors
    ///
    /// There are too many: reading ends here.
    pub(in crate::driver::postgres) fn check_bytes(&self, count: usize) -> io::Result<()> {
        self.shared.byte_limit().count(count, self.from_server.missing())
    }

    /// Records bytes that were received and are passed on as they are.
    pub(in crate::driver::postgres) fn received(&mut self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let mut finished = false;
        self.from_server.read(bytes, |part| {
            if let Part::Message(kind, body) = part {
                finished |= state.received(kind, body);
            }
        });
        self.note(state, false, finished);
    }

    /// Notes where both directions have stopped; calls the observer without the lock.
    fn note(&self, mut state: MutexGuard<'_, ProtocolState>, started: bool, finished: bool) {
        let between = self.from_server.is_between() && self.from_client.is_between();
        state.set_inside_message(!between);
        drop(state);
        if let Some(observer) = self.shared.observer().filter(|_| started || finished) {
            if started { observer.started() } else { observer.finished() }
        }
    }

    /// Returns `true` if statement names are rewritten; it begins when they are first
    /// known to be unsafe, between two messages and with no reply outstanding.
    pub(in crate::driver::postgres) fn is_rewriting(&mut self) -> bool {
        if self.rewriter.is_none() && self.shared.names_are_unsafe() {
            self.rewriter = Some(Box::default());
            self.from_client.set_keep(rewrite::keep_of_client);
            self.from_server.set_keep(rewrite::keep_of_server);
        }
        self.rewriter.is_some()
    }

    /// Records bytes of the driver, which may end anywhere; adds what is to be sent
    /// instead.
    pub(in crate::driver::postgres) fn rewrite_request(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Some(rewriter) = &mut self.rewriter else { return };
        let mut state = self.shared.lock();
        let mut started = false;
        self.from_client.read(bytes, |part| match part {
            Part::Raw(bytes) => out.extend_from_slice(bytes),
            Part::Message(kind, body) => {
                started |= state.sent(kind, body);
                rewriter.request(kind, body, out);
            }
        });
        self.note(state, started, false);
    }

    /// Records bytes of the server, which may end anywhere; adds what the driver is to
    /// receive instead.
    ///
    /// # Errors
    ///
    /// A statement returns different columns than when it was prepared, and the driver
    /// would misread its rows; or the bytes are no messages.
    pub(in crate::driver::postgres) fn rewrite_reply(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Some(rewriter) = &mut self.rewriter else { return Ok(()) };
        let mut state = self.shared.lock();
        let (mut finished, mut outcome) = (false, Ok(()));
        self.from_server.read(bytes, |part| match part {
            // After a failure the driver receives nothing more.
            _ if outcome.is_err() => {}
            Part::Raw(bytes) => out.extend_from_slice(bytes),
            Part::Message(kind, body) => {
                finished |= state.received(kind, body);
                outcome = rewriter.reply(kind, body, out);
            }
        });
        self.note(state, false, finished);
        if self.from_server.is_lost() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        outcome
    }
}

#[cfg(test)]
impl Protocol {
    pub(super) fn rewriter(&self) -> &StatementRewriter {
        self.rewriter.as_ref().expect("names are rewritten")
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::write;
    use super::*;

    /// In a closure's transaction, behind a start-up.
    fn in_a_transaction() -> Protocol {
        let mut protocol = Protocol::new(Arc::new(SharedState::new()));
        protocol.sent(&[0, 0, 0, 8, 0, 3, 0, 0]);
        protocol.received(&message(b'Z', b"T"));
        protocol.shared().open_scope();
        protocol
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, kind, &[body]);
        out
    }

    #[test]
    fn behind_an_error_the_next_statement_waits_until_the_server_is_ready() {
        let (query, sync) = (message(b'Q', b"select 1\0"), message(b'S', b""));
        let mut protocol = in_a_transaction();
        assert!(!protocol.must_wait(&query));
        protocol.sent(&message(b'Q', b"commit\0"));
        assert!(!protocol.must_wait(&query));
        protocol.received(&message(b'E', b"SERROR\0VERROR\0C23505\0Mno\0\0"));
        assert!(protocol.must_wait(&query));
        assert!(!protocol.must_wait(&sync), "the server would not go on");
        protocol.received(&message(b'Z', b"I"));
        assert!(!protocol.must_wait(&query));
    }

    #[test]
    fn a_connection_that_is_given_up_fails_and_does_not_wait() {
        let query = message(b'Q', b"select 1\0");
        let mut protocol = in_a_transaction();
        protocol.sent(&message(b'Q', b"commit\0"));
        protocol.received(&message(b'E', b"SERROR\0VERROR\0C23505\0Mno\0\0"));
        assert!(protocol.shared().give_up(), "a reply is outstanding");
        assert!(!protocol.must_wait(&query));
        protocol.admit(&query).expect_err("it is given up");
    }

    #[test]
    fn when_the_transaction_has_ended_only_what_runs_nothing_is_sent() {
        let mut protocol = in_a_transaction();
        protocol.sent(&message(b'Q', b"rollback\0"));
        protocol.received(&message(b'C', b"ROLLBACK\0"));
        protocol.received(&message(b'Z', b"I"));
        let (close, sync) = (message(b'C', b"Ss1\0"), message(b'S', b""));
        let bind = [close.clone(), message(b'B', b"\0s2\0"), sync.clone()].concat();
        protocol.admit(&bind).expect_err("it runs a statement");
        protocol.admit(&message(b'Q', b"insert\0")).expect_err("it runs a statement");
        protocol.admit(&[close, sync].concat()).expect("it only closes one");
        assert!(protocol.shared().close_scope().is_some());
        protocol.admit(&bind).expect("the closure has ended");
    }
}
