//! What the messages of one connection show about its session, without a round trip:
//! transaction status, outstanding replies, COPY, the server's final message.

use super::command_tag::CommandTag;
use super::commits::CommitTracker;
use super::frames::Keep;
use super::messages;
use super::session_changes::SessionChanges;
use super::statement_text::StatementText;
use super::text_field::split_text;
use super::transaction_scope::TransactionScope;
use crate::driver::progress::Progress;
use crate::observe::ServerMessage;
use std::collections::HashMap;

/// The state of one session, as libpq's `PGTransactionStatus` and more.
#[derive(Debug)]
pub(in crate::driver::postgres) struct ProtocolState {
    /// The status of the last ReadyForQuery: `I`, `T` or `E`; zero before the first.
    status: u8,
    /// Law: requests sent that end in a ReadyForQuery, less those received. The start-up
    /// is one.
    outstanding: u64,
    /// The server receives a COPY, and ignores a Sync, until the client ends the data. The
    /// request that began the COPY is outstanding until after that.
    copying_in: bool,
    /// Either direction has stopped in the middle of a message.
    inside_message: bool,
    process_id: Option<i32>,
    final_message: Option<ServerMessage>,
    /// The server has sent an error that ends the session.
    has_ended: bool,
    /// The session has lost its prepared statements, those of the driver included.
    has_dropped_statements: bool,
    /// What the texts of the outstanding requests may do to transactions.
    requested: StatementText,
    /// The same of the unnamed statement.
    unnamed: StatementText,
    /// The same of the named statements, as far as they may do anything to transactions.
    named: HashMap<Box<[u8]>, StatementText>,
    pub(super) changes: SessionChanges,
    pub(in crate::driver::postgres) commits: CommitTracker,
    pub(in crate::driver::postgres) scope: TransactionScope,
}

/// What a session is doing, as far as its messages show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver::postgres) enum SessionStatus {
    /// No transaction is open and no reply outstanding.
    Idle,
    /// Inside a transaction, failed or not.
    InTransaction,
    /// A reply is outstanding, unread or cut off, or a COPY has not ended.
    ReplyOutstanding,
}

/// How much is kept of a client's messages: what begins a statement, and its text.
pub(in crate::driver::postgres) fn keep_of_client(kind: u8) -> Keep {
    match kind {
        b'Q' | b'P' => Keep::Whole,
        b'B' => Keep::Beginning,
        _ => Keep::Nothing,
    }
}

/// How much is kept of a server's messages.
pub(in crate::driver::postgres) fn keep_of_server(kind: u8) -> Keep {
    match kind {
        b'Z' | b'K' | b'E' | b'N' | b'C' | b'S' => Keep::Beginning,
        _ => Keep::Nothing,
    }
}

impl ProtocolState {
    pub(in crate::driver::postgres) fn new() -> ProtocolState {
        ProtocolState {
            status: 0,
            outstanding: 1,
            copying_in: false,
            inside_message: true,
            process_id: None,
            final_message: None,
            has_ended: false,
            has_dropped_statements: false,
            requested: StatementText::default(),
            unnamed: StatementText::default(),
            named: HashMap::new(),
            changes: SessionChanges::default(),
            commits: CommitTracker::default(),
            scope: TransactionScope::default(),
        }
    }

    /// Records a message that the client has sent; returns `true` if the server has
    /// something to do from now on and had nothing before.
    ///
    /// Query, Sync and FunctionCall are answered by one ReadyForQuery each.
    pub(in crate::driver::postgres) fn sent(&mut self, kind: u8, body: &[u8]) -> bool {
        match kind {
            b'Q' => self.request(StatementText::read(body)),
            b'P' => self.prepare(body),
            b'B' => self.request(self.text_of(body)),
            b'F' => self.changes.called(),
            _ => {}
        }
        // Query, Execute, FunctionCall.
        if matches!(kind, b'Q' | b'E' | b'F') {
            self.commits.requested();
        }
        // The Sync behind the data is answered instead of the one before it, which the
        // server ignored. While the data comes, the server waits for the client.
        if kind == b'S' && self.copying_in {
            self.copying_in = false;
            return true;
        }
        let is_answered = matches!(kind, b'Q' | b'S' | b'F');
        self.outstanding += u64::from(is_answered);
        is_answered && self.outstanding == 1
    }

    fn request(&mut self, text: StatementText) {
        self.requested.commits_inside |= text.commits_inside;
        self.requested.chains |= text.chains;
        self.requested.session.add(text.session);
        self.changes.requested(text.session);
    }

    /// Parse: a name and a text, each ended by a zero byte.
    fn prepare(&mut self, body: &[u8]) {
        let (name, rest) = split_text(body);
        let text = StatementText::read(split_text(rest).0);
        if name.is_empty() {
            self.unnamed = text;
        } else if text != StatementText::default() {
            self.named.insert(name.into(), text);
        } else if !self.named.is_empty() {
            self.named.remove(name);
        }
    }

    /// Bind: the names of a portal and of a statement.
    fn text_of(&self, bind: &[u8]) -> StatementText {
        match split_text(split_text(bind).1).0 {
            b"" => self.unnamed,
            _ if self.named.is_empty() => StatementText::default(),
            name => self.named.get(name).copied().unwrap_or_default(),
        }
    }

    /// Records a message that the server has sent; returns `true` if it has nothing to do
    /// from now on.
    pub(in crate::driver::postgres) fn received(&mut self, kind: u8, body: &[u8]) -> bool {
        match kind {
            b'Z' => return self.ready(body.first().copied().unwrap_or(0)),
            // CopyInResponse.
            b'G' => {
                self.copying_in = true;
                return true;
            }
            b'C' => {
                self.changes.completed(body, self.requested.session);
                self.completed(CommandTag::read(body));
            }
            b'S' => self.changes.parameter(body),
            // PortalSuspended: a part of a command is done.
            b's' => self.completed(CommandTag::Other),
            b'K' => {
                let id = body.first_chunk().map(|id| i32::from_be_bytes(*id));
                self.process_id = self.process_id.or(id);
            }
            b'E' => match messages::error(body) {
                Some((true, message)) => {
                    self.final_message = Some(message);
                    self.has_ended = true;
                }
                Some((false, message)) => self.commits.failed(message),
                None => {}
            },
            b'N' => {
                if let Some(message) = messages::closing_notice(body) {
                    self.final_message.get_or_insert(message);
                }
            }
            _ => {}
        }
        false
    }

    fn completed(&mut self, tag: CommandTag) {
        self.has_dropped_statements |= tag == CommandTag::DropStatements;
        self.commits.completed(tag);
        self.scope.completed(tag);
    }

    fn ready(&mut self, status: u8) -> bool {
        let before = std::mem::replace(&mut self.status, status);
        self.commits.ready(before, status, self.requested.commits_inside);
        self.scope.ready(status, self.requested.chains);
        self.copying_in = false;
        self.outstanding = self.outstanding.saturating_sub(1);
        if self.outstanding == 0 {
            self.requested = StatementText::default();
        }
        self.outstanding == 0
    }

    /// Returns how far the work has come. The driver reports an error before the
    /// ReadyForQuery behind it has arrived: what that will show is included.
    pub(in crate::driver::postgres) fn progress(&self) -> Progress {
        let mut progress = self.commits.progress();
        let will_be_ready = self.outstanding > 0 && self.commits.has_failed();
        let may_have_committed = self.requested.commits_inside && self.status == b'I';
        progress.committed += u64::from(will_be_ready && may_have_committed);
        progress
    }

    /// Returns `true` if the error that has just arrived may have ended the transaction of
    /// a closure: only the ReadyForQuery behind it will show that.
    pub(in crate::driver::postgres) fn is_end_in_doubt(&self) -> bool {
        self.scope.is_open() && self.outstanding > 0 && self.commits.has_failed()
    }

    pub(in crate::driver::postgres) fn set_inside_message(&mut self, inside: bool) {
        self.inside_message = inside;
    }

    pub(in crate::driver::postgres) fn session(&self) -> SessionStatus {
        match self.status {
            _ if self.outstanding != 0 || self.inside_message => SessionStatus::ReplyOutstanding,
            b'I' => SessionStatus::Idle,
            _ => SessionStatus::InTransaction,
        }
    }

    /// Returns `true` if the last ReadyForQuery reported no open transaction.
    pub(in crate::driver::postgres) fn has_left_transaction(&self) -> bool {
        self.status == b'I'
    }

    /// Returns the process id that the server announced at start-up.
    pub(in crate::driver::postgres) fn process_id(&self) -> Option<i32> {
        self.process_id
    }

    /// Returns `true` if the server has sent an error that ends the session.
    pub(in crate::driver::postgres) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Returns `true` if DISCARD ALL or DEALLOCATE ALL was carried out, or a DEALLOCATE that
    /// may have named a statement of the driver.
    pub(in crate::driver::postgres) fn has_dropped_statements(&self) -> bool {
        self.has_dropped_statements || self.changes.has_deallocated_drivers()
    }

    /// Returns the error or the notice with which the server ended the session. The driver
    /// sometimes loses the error, and always the notice.
    pub(in crate::driver::postgres) fn final_message(&self) -> Option<&ServerMessage> {
        self.final_message.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> ProtocolState {
        let mut state = ProtocolState::new();
        state.received(b'K', &[0, 0, 0, 9, 1, 2, 3, 4]);
        state.received(b'Z', b"I");
        state.set_inside_message(false);
        state
    }

    #[test]
    fn a_start_up_is_outstanding_until_the_server_is_ready() {
        let mut state = ProtocolState::new();
        state.set_inside_message(false);
        assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
        assert_eq!((ready().session(), ready().process_id()), (SessionStatus::Idle, Some(9)));
    }

    #[test]
    fn a_request_is_outstanding_until_the_server_is_ready_again() {
        let mut state = ready();
        for (request, status) in [(b'Q', b'T'), (b'S', b'E'), (b'F', b'I')] {
            assert!(!state.sent(b'B', b""));
            assert!(state.sent(request, b""));
            assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
            assert!(!state.received(b'D', b""));
            assert!(state.received(b'Z', &[status]));
            let idle = status == b'I';
            let wanted = if idle { SessionStatus::Idle } else { SessionStatus::InTransaction };
            assert_eq!(state.session(), wanted);
        }
    }

    #[test]
    fn copying_in_answers_two_syncs_once_and_is_outstanding_until_then() {
        let mut state = ready();
        for _ in 0..2 {
            assert!(state.sent(b'S', b""));
            assert!(state.received(b'G', b""), "the server waits for the client");
            assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
            state.sent(b'd', b"");
            state.sent(b'f', b"");
            assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
            assert!(state.sent(b'S', b""));
            state.received(b'E', b"SERROR\0VERROR\0C57014\0MCOPY failed\0\0");
            assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
            assert!(state.received(b'Z', b"I"));
            assert_eq!(state.session(), SessionStatus::Idle);
        }
    }

    #[test]
    fn a_copy_that_a_plain_query_began_is_outstanding_until_the_server_is_ready() {
        let mut state = ready();
        state.sent(b'Q', b"copy t from stdin\0");
        state.received(b'G', b"");
        assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
        state.sent(b'c', b"");
        state.received(b'C', b"COPY 0\0");
        state.received(b'Z', b"I");
        assert_eq!(state.session(), SessionStatus::Idle);
        state.sent(b'S', b"");
        assert_eq!(state.session(), SessionStatus::ReplyOutstanding, "the COPY has ended");
    }

    #[test]
    fn copying_out_is_outstanding_until_the_server_is_ready() {
        let mut state = ready();
        state.sent(b'S', b"");
        for kind in *b"2HddcC" {
            assert!(!state.received(kind, b""));
            assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
        }
        assert!(state.received(b'Z', b"I"));
        assert_eq!(state.session(), SessionStatus::Idle);
    }

    #[test]
    fn an_unsent_close_is_not_dirty_and_a_message_cut_off_is() {
        let mut state = ready();
        state.set_inside_message(true);
        assert_eq!(state.session(), SessionStatus::ReplyOutstanding);
        state.set_inside_message(false);
        assert_eq!(state.session(), SessionStatus::Idle);
    }

    #[test]
    fn a_fatal_error_is_kept_and_a_plain_one_is_not() {
        let mut state = ready();
        state.received(b'E', b"SERROR\0VERROR\0C42703\0Mno column\0\0");
        assert_eq!(state.final_message(), None);
        // A Russian server.
        state.received(b'E', "SВАЖНО\0VFATAL\0C57P01\0Mterminating\0\0".as_bytes());
        assert_eq!(state.final_message().expect("message").code, "57P01");
        assert!(state.has_ended());
    }

    #[test]
    fn a_notice_that_announces_the_end_is_kept_and_a_plain_one_is_not() {
        let mut state = ready();
        state.received(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0");
        assert_eq!(state.final_message(), None);
        state.received(b'N', b"SWARNING\0VWARNING\0C57P02\0Mcrash\0\0");
        assert_eq!(state.final_message().expect("message").code, "57P02");
    }

    #[test]
    fn a_session_without_its_prepared_statements_is_known() {
        for (tag, dropped) in [(&b"DEALLOCATE\0"[..], false), (b"DISCARD ALL\0", true)] {
            let mut state = ready();
            state.sent(b'Q', b"\0");
            state.received(b'C', tag);
            assert_eq!(state.has_dropped_statements(), dropped);
        }
    }

    #[test]
    fn after_an_error_it_is_in_doubt_for_a_moment_whether_the_transaction_goes_on() {
        let mut state = ready();
        state.sent(b'Q', b"begin\0");
        state.received(b'C', b"BEGIN\0");
        state.received(b'Z', b"T");
        state.scope.open();
        state.sent(b'Q', b"commit\0");
        assert!(!state.is_end_in_doubt());
        state.received(b'E', b"SERROR\0VERROR\0C23505\0Mno\0\0");
        assert!(state.is_end_in_doubt());
        state.received(b'Z', b"I");
        assert!(!state.is_end_in_doubt() && state.scope.has_ended());
    }

    /// What a failed request may have committed, if these messages of the client asked
    /// for it.
    fn may_have_committed(request: &[(u8, &[u8])]) -> bool {
        let mut state = ready();
        state.sent(b'P', b"p\0call p()\0\0\0");
        state.sent(b'P', b"q\0select 1\0\0\0");
        state.sent(b'S', b"");
        state.received(b'Z', b"I");
        for (kind, body) in request {
            state.sent(*kind, body);
        }
        state.received(b'E', b"SERROR\0VERROR\0C40001\0Mno\0\0");
        let before = state.progress().committed;
        state.received(b'Z', b"I");
        assert_eq!(state.progress().committed, before, "it is known as soon as the error is");
        before > 0
    }

    #[test]
    fn a_procedure_that_failed_may_have_committed_however_it_was_called() {
        let sync: (u8, &[u8]) = (b'S', b"");
        assert!(may_have_committed(&[(b'Q', b"call p()\0")]));
        assert!(may_have_committed(&[(b'B', b"\0p\0"), sync]));
        assert!(may_have_committed(&[
            (b'P', b"\0do $$ begin commit; end $$\0"),
            (b'B', b"\0\0"),
            sync
        ]));
        assert!(!may_have_committed(&[(b'Q', b"select 1\0")]));
        assert!(!may_have_committed(&[(b'B', b"\0q\0"), sync]));
        assert!(!may_have_committed(&[(b'P', b"p\0select 1\0"), (b'B', b"\0p\0"), sync]));
    }
}
