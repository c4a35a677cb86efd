//! How far the work on a connection has come, counted in the stream: what was asked
//! for, what may have been committed, and what failed a transaction first.

use crate::driver::Progress;
use crate::observe::Words;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Written by the stream, read by who has the connection, on one thread at a time.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests that make the server do something; preparing is none.
    sent: AtomicU64,
    /// How often something may have been committed: in doubt, it was.
    committed: AtomicU64,
    /// Commands completed since the last time that no transaction was open.
    open: AtomicU64,
    /// Commands completed since the server was last ready.
    round: AtomicU64,
    /// An error came since the server was last ready.
    has_failed: AtomicBool,
    /// The error that failed the open transaction; the ones after it only say so.
    first: Mutex<Option<Words>>,
    /// Law: set with `first`, and read without its lock.
    has_first: AtomicBool,
}

/// What the statements after a failed one are told.
const IN_FAILED_TRANSACTION: &str = "25P02";

impl Tally {
    /// Enters a message of the client that makes the server do something.
    pub(super) fn requested(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    /// Enters a command that is complete.
    pub(super) fn completed(&self) {
        self.open.fetch_add(1, Relaxed);
        self.round.fetch_add(1, Relaxed);
    }

    /// Enters an error that leaves the session alive.
    pub(super) fn failed(&self, words: Words) {
        self.has_failed.store(true, Relaxed);
        let mut first = self.first.lock();
        if first.is_none() && words.code != IN_FAILED_TRANSACTION {
            *first = Some(words);
            self.has_first.store(true, Relaxed);
        }
    }

    /// Enters that the server is ready again, with its status before and now.
    ///
    /// What was open and ends by an error, or after one, was rolled back. A text of
    /// several statements may have committed in its middle: that is doubt enough.
    pub(super) fn ready(&self, before: u8, now: u8) {
        let has_failed = self.has_failed.swap(false, Relaxed);
        let round = self.round.swap(0, Relaxed);
        if now != b'E' && self.has_first.swap(false, Relaxed) {
            *self.first.lock() = None;
        }
        if now != b'I' {
            return;
        }
        let open = self.open.swap(0, Relaxed);
        let committed = if has_failed { round > 0 } else { before != b'E' && open > 0 };
        if committed {
            self.committed.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { sent: self.sent.load(Relaxed), committed: self.committed.load(Relaxed) }
    }

    /// The error that failed the open transaction.
    pub(super) fn first_failure(&self) -> Option<Words> {
        self.first.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::CloseReason;

    fn error(code: &'static str) -> Words {
        Words::new(code, "ERROR: no".into(), CloseReason::ServerError)
    }

    /// Plays what the server says, a letter each: `c` a command is complete, `e` an
    /// error, `I`, `T` and `E` ready; returns how often something was committed.
    fn committed(said: &str) -> u64 {
        let (tally, mut before) = (Tally::default(), b'I');
        for letter in said.bytes() {
            match letter {
                b'c' => tally.completed(),
                b'e' => tally.failed(error("40001")),
                now => {
                    tally.ready(before, now);
                    before = now;
                }
            }
        }
        tally.progress().committed
    }

    #[test]
    fn what_a_lone_statement_did_is_committed_unless_it_failed() {
        assert_eq!(committed("cI"), 1);
        assert_eq!(committed("eI"), 0);
        assert_eq!(committed("cIcIeI"), 2);
        // Of several statements in one text the first may have been a COMMIT.
        assert_eq!(committed("ceI"), 1);
        // To prepare a statement completes no command.
        assert_eq!(committed("I"), 0);
    }

    #[test]
    fn what_a_transaction_did_is_committed_at_its_end_unless_it_failed() {
        assert_eq!(committed("cTcTcI"), 1);
        assert_eq!(committed("cTcTeEcI"), 0, "an error, then ROLLBACK");
        assert_eq!(committed("cTcTeI"), 0, "an error at COMMIT");
        assert_eq!(committed("cTcTeEcTcI"), 1, "an error undone by a savepoint");
        assert_eq!(committed("cTcT"), 0);
    }

    #[test]
    fn the_first_failure_of_a_transaction_is_kept_until_it_is_left() {
        let tally = Tally::default();
        tally.failed(error("25P02"));
        assert_eq!(tally.first_failure(), None);
        tally.failed(error("40001"));
        tally.ready(b'T', b'E');
        tally.failed(error("25P02"));
        tally.ready(b'E', b'E');
        assert_eq!(tally.first_failure().expect("the first").code, "40001");
        tally.ready(b'E', b'I');
        assert_eq!(tally.first_failure(), None);
    }
}
