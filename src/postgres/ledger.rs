//! What the stream of one connection tells about it, at no cost in round trips:
//! the state of its transaction, what is still owed, the last fatal error.

use super::tally::Tally;
use super::words;
use crate::driver::Gauge;
use crate::observe::Words;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Written by the stream, read at check-in; both on the thread that has the
/// connection, so that relaxed loads see the last stores.
pub(super) struct Ledger {
    /// The status of the last ReadyForQuery: `I`, `T` or `E`; zero before it.
    status: AtomicU8,
    /// Law: requests sent that end in a ReadyForQuery, less those received. The
    /// start-up is one.
    owed: AtomicI64,
    /// Either direction stands in the middle of a message.
    inside: AtomicBool,
    process_id: OnceLock<i32>,
    fatal: Mutex<Option<Words>>,
    /// Law: set with `fatal`, and read without its lock.
    ended: AtomicBool,
    /// Who wants to know when something begins to be owed, and when nothing is.
    gauge: OnceLock<Arc<dyn Gauge>>,
    /// What one message prepares under a name may not be there for the next.
    names_are_unsafe: AtomicBool,
    tally: Tally,
    /// The driver took bytes and has not come back for more. It always does, unless
    /// it waits for the reader of rows that a borrower forgot: whoever comes next
    /// would wait for ever.
    stuck: AtomicBool,
    /// The connection is about to be dropped, and no answer is to be waited for.
    given_up: AtomicBool,
}

/// How a session was left, as far as the stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// No transaction, nothing owed.
    Idle,
    /// Inside a transaction, failed or not.
    InTransaction,
    /// An answer is owed, unread, or cut off.
    Unanswered,
}

/// Messages from the server whose bodies are read.
pub(super) const WANTED: &[u8] = b"ZKEN";

impl Ledger {
    pub(super) fn new() -> Ledger {
        Ledger {
            status: AtomicU8::new(0),
            owed: AtomicI64::new(1),
            inside: AtomicBool::new(true),
            process_id: OnceLock::new(),
            fatal: Mutex::new(None),
            ended: AtomicBool::new(false),
            gauge: OnceLock::new(),
            names_are_unsafe: AtomicBool::new(false),
            tally: Tally::default(),
            stuck: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }
    }

    /// Enters a message that the client has sent.
    ///
    /// Query, Sync and FunctionCall are answered by one ReadyForQuery each.
    pub(super) fn sent(&self, kind: u8) {
        if matches!(kind, b'Q' | b'S' | b'F') {
            let owed = self.owed.fetch_add(1, Relaxed);
            if let Some(gauge) = self.gauge.get().filter(|_| owed == 0) {
                gauge.sent();
            }
        }
        // Query, Execute, FunctionCall.
        if matches!(kind, b'Q' | b'E' | b'F') {
            self.tally.requested();
        }
    }

    fn answered(&self) {
        let owed = self.owed.fetch_sub(1, Relaxed);
        if let Some(gauge) = self.gauge.get().filter(|_| owed == 1) {
            gauge.answered();
        }
    }

    /// Tells this one from now on.
    pub(super) fn tell(&self, gauge: Arc<dyn Gauge>) -> bool {
        self.gauge.set(gauge).is_ok()
    }

    /// Enters a message that the server has sent.
    pub(super) fn received(&self, kind: u8, body: &[u8]) {
        match kind {
            b'Z' => {
                let status = body.first().copied().unwrap_or(0);
                self.tally.ready(self.status.swap(status, Relaxed), status);
                self.answered();
            }
            // The driver has sent a Sync behind the COPY; the server ignores it while
            // it takes the data in, and answers the one behind the data.
            b'G' => self.answered(),
            // Set by nobody else: one connection, one start-up.
            b'K' if body.len() >= 4 => {
                let id = i32::from_be_bytes([body[0], body[1], body[2], body[3]]);
                let _ = self.process_id.set(id);
            }
            b'E' => {
                if let Some(words) = words::fatal(body) {
                    *self.fatal.lock() = Some(words);
                    self.ended.store(true, Relaxed);
                } else if let Some(words) = words::error(body) {
                    self.tally.failed(words);
                }
            }
            b'N' => {
                if let Some(words) = words::farewell(body) {
                    self.fatal.lock().get_or_insert(words);
                }
            }
            // CommandComplete.
            b'C' => self.tally.completed(),
            _ => {}
        }
    }

    pub(super) fn stands_inside(&self, inside: bool) {
        self.inside.store(inside, Relaxed);
    }

    pub(super) fn session(&self) -> Session {
        let stuck = self.stuck.load(Relaxed);
        if stuck || self.owed.load(Relaxed) != 0 || self.inside.load(Relaxed) {
            return Session::Unanswered;
        }
        match self.status.load(Relaxed) {
            b'I' => Session::Idle,
            _ => Session::InTransaction,
        }
    }

    /// Enters whether the driver has taken bytes, or has come back for more than
    /// there are.
    pub(super) fn driver_took(&self, bytes: bool) {
        self.stuck.store(bytes, Relaxed);
    }

    /// If an answer is owed, has the stream fail from now on, so that a driver that
    /// waits for it stops waiting; tells whether one is.
    pub(super) fn give_up(&self) -> bool {
        let owed = self.session() == Session::Unanswered;
        self.given_up.store(owed, Relaxed);
        owed
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Relaxed)
    }

    /// Has the stream take the names off statements from now on. Nothing may be
    /// unanswered.
    pub(super) fn distrust_names(&self) {
        self.names_are_unsafe.store(true, Relaxed);
    }

    pub(super) fn names_are_unsafe(&self) -> bool {
        self.names_are_unsafe.load(Relaxed)
    }

    /// Tells whether the server said last that no transaction is open.
    pub(super) fn has_left_transaction(&self) -> bool {
        self.status.load(Relaxed) == b'I'
    }

    /// The process that the server named at start-up.
    pub(super) fn process_id(&self) -> Option<i32> {
        self.process_id.get().copied()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Tells whether the server has said that it ends the session.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// The error or the notice with which the server ended the session, if it did;
    /// the driver loses the one in a part of the terminations, the other always.
    pub(super) fn fatal(&self) -> Option<Words> {
        self.fatal.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Ledger {
        let ledger = Ledger::new();
        ledger.received(b'K', &[0, 0, 0, 9, 1, 2, 3, 4]);
        ledger.received(b'Z', b"I");
        ledger.stands_inside(false);
        ledger
    }

    #[test]
    fn a_start_up_is_unanswered_until_the_server_is_ready() {
        let ledger = Ledger::new();
        ledger.stands_inside(false);
        assert_eq!(ledger.session(), Session::Unanswered);
        assert_eq!((ready().session(), ready().process_id()), (Session::Idle, Some(9)));
    }

    #[test]
    fn a_request_is_owed_until_the_server_is_ready_again() {
        let ledger = ready();
        for (request, status) in [(b'Q', b'T'), (b'S', b'E'), (b'F', b'I')] {
            ledger.sent(b'B');
            ledger.sent(request);
            assert_eq!(ledger.session(), Session::Unanswered);
            ledger.received(b'D', b"");
            ledger.received(b'Z', &[status]);
            let wanted = if status == b'I' { Session::Idle } else { Session::InTransaction };
            assert_eq!(ledger.session(), wanted);
        }
    }

    #[test]
    fn copying_in_answers_two_syncs_once() {
        let ledger = ready();
        ledger.sent(b'S');
        ledger.received(b'G', b"");
        ledger.sent(b'd');
        ledger.sent(b'S');
        assert_eq!(ledger.session(), Session::Unanswered);
        ledger.received(b'Z', b"I");
        assert_eq!(ledger.session(), Session::Idle);
    }

    #[test]
    fn an_unsent_close_is_no_dirt_and_a_cut_off_message_is() {
        let ledger = ready();
        ledger.stands_inside(true);
        assert_eq!(ledger.session(), Session::Unanswered);
        ledger.stands_inside(false);
        assert_eq!(ledger.session(), Session::Idle);
    }

    #[test]
    fn a_fatal_error_is_kept_and_a_plain_one_is_not() {
        let ledger = ready();
        ledger.received(b'E', b"SERROR\0VERROR\0C42703\0Mno column\0\0");
        assert_eq!(ledger.fatal(), None);
        ledger.received(b'E', b"SFATAL\0VFATAL\0C57P01\0Mterminating\0\0");
        assert_eq!(ledger.fatal().expect("words").code, "57P01");
    }

    #[test]
    fn a_notice_that_announces_the_end_is_kept_and_a_plain_one_is_not() {
        let ledger = ready();
        ledger.received(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0");
        assert_eq!(ledger.fatal(), None);
        ledger.received(b'N', b"SWARNING\0VWARNING\0C57P02\0Mcrash\0\0");
        assert_eq!(ledger.fatal().expect("words").code, "57P02");
    }
}
