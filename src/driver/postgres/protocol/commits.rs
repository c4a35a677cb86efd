//! What the work on a connection has asked for, what may have been committed, and what
//! failed a transaction first.

use super::command_tag::CommandTag;
use crate::driver::progress::Progress;
use crate::observe::ServerMessage;

/// Counts requests and commits on one connection.
#[derive(Debug, Default)]
pub(in crate::driver::postgres) struct CommitTracker {
    /// Requests that make the server do something; preparing a statement is none.
    requests: u64,
    /// How often something may have been committed. In doubt it was.
    commits: u64,
    /// Commands completed since the last end of a transaction.
    uncommitted: u64,
    /// Commands completed after the last ROLLBACK of the current reply, if there was one.
    after_rollback: Option<u64>,
    /// The current reply contains an error.
    has_failed: bool,
    /// The error that failed the open transaction; those after it only say that it had
    /// failed.
    first_failure: Option<ServerMessage>,
}

/// The error of the statements that follow a failed one.
const IN_FAILED_TRANSACTION: &str = "25P02";

impl CommitTracker {
    /// Counts a message of the client that makes the server do something.
    pub(super) fn requested(&mut self) {
        self.requests += 1;
    }

    /// Records a command that is complete.
    pub(super) fn completed(&mut self, tag: CommandTag) {
        match tag {
            CommandTag::Begin => {}
            CommandTag::Commit | CommandTag::PrepareTransaction => {
                self.commits += u64::from(self.uncommitted > 0);
                self.uncommitted = 0;
                self.after_rollback = None;
            }
            // It may be TO SAVEPOINT, which undoes only a part.
            CommandTag::Rollback => self.after_rollback = Some(0),
            CommandTag::DropStatements | CommandTag::Other => {
                self.uncommitted += 1;
                self.after_rollback = self.after_rollback.map(|count| count + 1);
            }
        }
    }

    /// Records an error that leaves the session alive.
    pub(super) fn failed(&mut self, message: ServerMessage) {
        self.has_failed = true;
        if self.first_failure.is_none() && message.code != IN_FAILED_TRANSACTION {
            self.first_failure = Some(message);
        }
    }

    /// Records a ReadyForQuery: the transaction status before the request and now, and
    /// whether a statement of the request may commit inside.
    ///
    /// The server rolls back what is open when an error comes, or when the transaction
    /// had failed before; what was committed in the middle of a text has a tag. Only what
    /// commits inside has none if it fails, and it can only do so outside of a
    /// transaction.
    pub(super) fn ready(&mut self, before: u8, now: u8, commits_inside: bool) {
        let has_failed = std::mem::take(&mut self.has_failed);
        let after_rollback = self.after_rollback.take();
        if now != b'E' {
            self.first_failure = None;
        }
        if has_failed && commits_inside && before == b'I' {
            self.commits += 1;
        }
        if now == b'I' {
            // A ROLLBACK that left no transaction open has undone what was before it.
            let done = after_rollback.unwrap_or(self.uncommitted);
            self.commits += u64::from(!has_failed && done > 0);
            self.uncommitted = 0;
        }
    }

    /// Returns `true` if the current reply contains an error.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(in crate::driver::postgres) fn progress(&self) -> Progress {
        Progress { sent: self.requests, committed: self.commits }
    }

    /// Returns the error that failed the open transaction.
    pub(super) fn first_failure(&self) -> Option<&ServerMessage> {
        self.first_failure.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::CloseReason;

    fn error(code: &'static str) -> ServerMessage {
        ServerMessage::new(code, "ERROR: no".into(), CloseReason::ServerError)
    }

    /// Plays a server's replies, a letter each: `c` a command is complete, `b` BEGIN, `k`
    /// COMMIT, `p` PREPARE TRANSACTION, `r` ROLLBACK, `e` an error, `i` the request may
    /// commit inside, `I`, `T` and `E` ready. Returns how often something was committed.
    fn committed(replies: &str) -> u64 {
        let (mut commits, mut before, mut inside) = (CommitTracker::default(), b'I', false);
        for letter in replies.bytes() {
            match letter {
                b'c' => commits.completed(CommandTag::Other),
                b'b' => commits.completed(CommandTag::Begin),
                b'k' => commits.completed(CommandTag::Commit),
                b'p' => commits.completed(CommandTag::PrepareTransaction),
                b'r' => commits.completed(CommandTag::Rollback),
                b'e' => commits.failed(error("40001")),
                b'i' => inside = true,
                now => {
                    commits.ready(before, now, std::mem::take(&mut inside));
                    before = now;
                }
            }
        }
        commits.progress().committed
    }

    #[test]
    fn what_a_lone_statement_did_is_committed_unless_it_failed() {
        assert_eq!(committed("cI"), 1);
        assert_eq!(committed("eI"), 0);
        assert_eq!(committed("cIcIeI"), 2);
        // Preparing a statement completes no command.
        assert_eq!(committed("I"), 0);
    }

    #[test]
    fn of_a_text_of_several_statements_that_fails_what_had_a_commit_is_committed() {
        assert_eq!(committed("cceI"), 0, "an implicit transaction");
        assert_eq!(committed("bckeI"), 1);
        assert_eq!(committed("ckceI"), 1);
        assert_eq!(committed("bcrcI"), 1, "ROLLBACK, then a statement of its own");
        assert_eq!(committed("bcrI"), 0);
        assert_eq!(committed("bkI"), 0, "nothing was done");
    }

    #[test]
    fn what_a_transaction_did_is_committed_at_its_end_unless_it_failed() {
        assert_eq!(committed("bTcTkI"), 1);
        assert_eq!(committed("bTcTeErI"), 0, "an error, then ROLLBACK");
        assert_eq!(committed("bTcTeI"), 0, "an error at COMMIT");
        assert_eq!(committed("bTcTeErTkI"), 1, "an error undone by a savepoint");
        assert_eq!(committed("bTcT"), 0);
        assert_eq!(committed("bTcTpI"), 1, "PREPARE TRANSACTION");
    }

    #[test]
    fn a_commit_that_begins_the_next_transaction_has_committed() {
        assert_eq!(committed("bTcTkT"), 1);
        assert_eq!(committed("bTcTkTcTeEkI"), 2);
        assert_eq!(committed("bTcTrTcT"), 0, "ROLLBACK AND CHAIN");
    }

    #[test]
    fn a_failed_procedure_may_have_committed_unless_it_ran_in_a_transaction() {
        assert_eq!(committed("ieI"), 1);
        assert_eq!(committed("icI"), 1);
        assert_eq!(committed("bTieErI"), 0);
        assert_eq!(committed("ieIeI"), 1, "the next request commits nothing inside");
    }

    #[test]
    fn the_first_failure_of_a_transaction_is_kept_until_it_is_left() {
        let mut commits = CommitTracker::default();
        commits.failed(error("25P02"));
        assert_eq!(commits.first_failure(), None);
        commits.failed(error("40001"));
        commits.ready(b'T', b'E', false);
        commits.failed(error("25P02"));
        commits.ready(b'E', b'E', false);
        assert_eq!(commits.first_failure().expect("the first").code, "40001");
        commits.ready(b'E', b'I', false);
        assert_eq!(commits.first_failure(), None);
    }
}
