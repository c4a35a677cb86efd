//! What the driver keeps beside each connection.

use super::ledger::Ledger;
use super::statements::Statements;
use crate::driver::Progress;
use crate::liveness::Descriptor;
use crate::observe::{Encryption, Protection, Words};
use std::fmt;
use std::sync::Arc;

/// What the driver keeps beside each connection.
pub struct Side {
    pub(super) socket: Option<Descriptor>,
    /// What our stream knows. There is none over unix sockets, which do not go
    /// through our connector; a cancel request goes the way of its connection.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// `None` over a unix socket, where there is nothing to protect.
    pub(super) protection: Option<Protection>,
    /// What the pool's own queries have prepared.
    pub(crate) statements: Statements,
}

impl Side {
    pub(super) fn is_encrypted(&self) -> bool {
        let protection = self.protection.as_ref();
        protection.is_some_and(|protection| protection.encryption != Encryption::Plain)
    }

    /// A descriptor of our own for the connection's socket.
    pub(crate) fn socket(&self) -> Option<Descriptor> {
        self.socket.clone()
    }

    /// The error with which the server ended the session, if our stream saw it.
    pub(crate) fn fatal(&self) -> Option<Words> {
        self.ledger.as_ref()?.fatal()
    }

    /// The error that failed the open transaction, if our stream saw it.
    pub(crate) fn first_failure(&self) -> Option<Words> {
        self.ledger.as_ref()?.tally().first_failure()
    }

    /// Tells whether the server said last that no transaction is open; not over a unix
    /// socket.
    pub(crate) fn has_left_transaction(&self) -> bool {
        self.ledger.as_ref().is_some_and(|ledger| ledger.has_left_transaction())
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        Some(self.ledger.as_ref()?.tally().progress())
    }

    pub(super) fn server_process(&self) -> Option<u64> {
        u64::try_from(self.ledger.as_ref()?.process_id()?).ok()
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Side").field("seen", &self.socket.is_some()).finish()
    }
}
