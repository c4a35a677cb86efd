//! A handle on the scope of a closure's transaction, for use while the driver's
//! `Transaction` borrows the connection.

use crate::driver::postgres::protocol::shared_state::SharedState;
use crate::driver::postgres::protocol::transaction_scope::EarlyEnd;
use std::sync::Arc;

/// Watches the transaction of one closure; without effect over a unix socket.
pub(crate) struct TransactionWatch(pub(super) Option<Arc<SharedState>>);

impl TransactionWatch {
    /// Begins to watch: the transaction has just been opened. If a statement of the closure
    /// ends it, the statements after that one are not sent, and the driver's connection is
    /// closed by the attempt.
    pub(crate) fn begin(&self) {
        if let Some(state) = &self.0 {
            state.open_scope();
        }
    }

    /// Ends the watch; returns how the closure had ended its transaction, if it had.
    pub(crate) fn end(&self) -> Option<EarlyEnd> {
        self.0.as_ref()?.close_scope()
    }
}
