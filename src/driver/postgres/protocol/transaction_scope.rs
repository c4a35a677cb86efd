//! Whether the closure of a transaction has ended it by a statement of its own.

use super::command_tag::CommandTag;

/// How a transaction was ended by a statement of its closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransactionEnd {
    /// By COMMIT: what was done before it stands.
    Committed,
    /// By ROLLBACK, or by a COMMIT that failed: nothing of what was done before stands.
    RolledBack,
    /// By PREPARE TRANSACTION: what was done before waits for COMMIT PREPARED.
    Prepared,
    /// By several statements in one text, whose tags do not show which part stands.
    Unclear,
}

/// A transaction that its closure has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EarlyEnd {
    pub(crate) by: TransactionEnd,
    /// Statements behind the end, in the same text, were carried out as well.
    pub(crate) went_on: bool,
}

/// Watches the transaction of one closure.
#[derive(Debug, Default)]
pub(in crate::driver::postgres) struct TransactionScope {
    is_open: bool,
    end: Option<EarlyEnd>,
    /// A ROLLBACK of the current reply, and whether other commands followed it: only the
    /// status at the end shows whether it was one TO SAVEPOINT.
    rollback: Option<bool>,
}

impl TransactionScope {
    /// Begins the scope: the transaction is open.
    pub(in crate::driver::postgres) fn open(&mut self) {
        *self = TransactionScope { is_open: true, ..TransactionScope::default() };
    }

    /// Ends the scope; returns how the transaction had ended before.
    pub(super) fn close(&mut self) -> Option<EarlyEnd> {
        std::mem::take(self).end
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Returns `true` if the transaction has ended and its closure has not.
    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    pub(super) fn completed(&mut self, tag: CommandTag) {
        if !self.is_open {
            return;
        }
        if let Some(end) = &mut self.end {
            end.went_on |= matches!(tag, CommandTag::Other);
            return;
        }
        let behind_rollback = self.rollback.is_some();
        let by = |by| if behind_rollback { TransactionEnd::Unclear } else { by };
        match tag {
            CommandTag::Commit => self.ended(by(TransactionEnd::Committed)),
            CommandTag::PrepareTransaction => self.ended(by(TransactionEnd::Prepared)),
            // After a ROLLBACK TO SAVEPOINT it would only be warned of.
            CommandTag::Begin if behind_rollback => self.ended(TransactionEnd::RolledBack),
            CommandTag::Rollback if !behind_rollback => self.rollback = Some(false),
            _ => {
                if let Some(went_on) = &mut self.rollback {
                    *went_on = true;
                }
            }
        }
    }

    /// Records a ReadyForQuery; `chains` if the request may have begun a transaction by
    /// the statement that ended the one before.
    pub(super) fn ready(&mut self, now: u8, chains: bool) {
        let rollback = self.rollback.take();
        if !self.is_open || self.has_ended() {
            return;
        }
        let is_left = now == b'I';
        // Without any tag it was a COMMIT that failed.
        if is_left || chains && rollback.is_some() {
            let went_on = rollback.unwrap_or(false);
            self.end = Some(EarlyEnd { by: TransactionEnd::RolledBack, went_on });
        }
    }

    fn ended(&mut self, by: TransactionEnd) {
        self.end = Some(EarlyEnd { by, went_on: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays the replies to a closure's statements, with the letters of the commit
    /// tracker's tests; a `+` says that the request has AND CHAIN.
    fn end_of(replies: &str) -> Option<(TransactionEnd, bool)> {
        let (mut scope, mut chains) = (TransactionScope::default(), false);
        scope.open();
        for letter in replies.bytes() {
            match letter {
                b'c' => scope.completed(CommandTag::Other),
                b'b' => scope.completed(CommandTag::Begin),
                b'k' => scope.completed(CommandTag::Commit),
                b'p' => scope.completed(CommandTag::PrepareTransaction),
                b'r' => scope.completed(CommandTag::Rollback),
                b'+' => chains = true,
                b'e' => {}
                now => scope.ready(now, std::mem::take(&mut chains)),
            }
        }
        scope.close().map(|end| (end.by, end.went_on))
    }

    #[test]
    fn each_statement_that_ends_a_transaction_is_told_from_those_that_do_not() {
        use TransactionEnd::{Committed, Prepared, RolledBack, Unclear};
        let table = [
            ("cTcT", None),
            ("cTeE", None),
            ("cTeErTcT", None), // ROLLBACK TO SAVEPOINT
            ("cTrcT", None),    // the same, and more in one text
            ("cTkI", Some((Committed, false))),
            ("cTrI", Some((RolledBack, false))),
            ("cTeErI", Some((RolledBack, false))), // COMMIT of a failed one
            ("cTeI", Some((RolledBack, false))),   // a COMMIT that failed
            ("cTpI", Some((Prepared, false))),
            ("cTkcI", Some((Committed, true))),
            ("cTrcI", Some((RolledBack, true))),
            ("cT+kT", Some((Committed, false))),
            ("cT+rT", Some((RolledBack, false))),
            ("cTkbT", Some((Committed, false))),
            ("cTrbT", Some((RolledBack, false))),
            ("cTrbcT", Some((RolledBack, true))),
            ("cTrkI", Some((Unclear, false))),
            ("cTrIcI", Some((RolledBack, true))),
        ];
        for (replies, end) in table {
            assert_eq!(end_of(replies), end, "{replies}");
        }
    }

    #[test]
    fn a_connection_outside_of_a_closure_ends_its_transactions_as_it_likes() {
        let mut scope = TransactionScope::default();
        scope.completed(CommandTag::Commit);
        scope.ready(b'I', false);
        assert!(!scope.has_ended());
        assert_eq!(scope.close(), None);
    }
}
