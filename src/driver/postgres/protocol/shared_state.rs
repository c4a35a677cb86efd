//! The state of one session, shared by its transport, which writes it, and by the pool.

use super::byte_limit::ByteLimit;
use super::state::{ProtocolState, SessionStatus};
use super::transaction_scope::EarlyEnd;
use crate::driver::progress::Progress;
use crate::driver::statement_observer::StatementObserver;
use crate::observe::ServerMessage;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// Written by the transport and read by the pool, both on the thread that has the
/// connection: the lock is always free.
pub(in crate::driver::postgres) struct SharedState {
    state: Mutex<ProtocolState>,
    /// Is called when the server begins to work on requests, and when it has answered all.
    observer: OnceLock<Arc<dyn StatementObserver>>,
    /// A statement that was prepared under a name may be unknown to the next message.
    names_are_unsafe: AtomicBool,
    /// The driver took bytes and has not polled for more. It always does, unless it waits
    /// for the reader of rows that a borrower forgot; the next borrower would wait for
    /// ever.
    is_unpolled: AtomicBool,
    byte_limit: ByteLimit,
    /// The connection is about to be dropped, and no reply is to be waited for.
    is_given_up: AtomicBool,
}

impl SharedState {
    pub(in crate::driver::postgres) fn new() -> SharedState {
        SharedState {
            state: Mutex::new(ProtocolState::new()),
            observer: OnceLock::new(),
            names_are_unsafe: AtomicBool::new(false),
            is_unpolled: AtomicBool::new(false),
            byte_limit: ByteLimit::none(),
            is_given_up: AtomicBool::new(false),
        }
    }

    pub(in crate::driver::postgres) fn byte_limit(&self) -> &ByteLimit {
        &self.byte_limit
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ProtocolState> {
        self.state.lock()
    }

    pub(in crate::driver::postgres) fn session(&self) -> SessionStatus {
        match self.is_unpolled.load(Relaxed) {
            true => SessionStatus::ReplyOutstanding,
            false => self.lock().session(),
        }
    }

    /// Sets the observer of this connection's statements; returns `false` if it has one.
    pub(in crate::driver::postgres) fn observe(
        &self,
        observer: Arc<dyn StatementObserver>,
    ) -> bool {
        self.observer.set(observer).is_ok()
    }

    pub(super) fn observer(&self) -> Option<&dyn StatementObserver> {
        self.observer.get().map(|observer| &**observer)
    }

    /// Records whether the driver has taken bytes, or has polled for more than there are.
    pub(in crate::driver::postgres) fn driver_took(&self, bytes: bool) {
        self.is_unpolled.store(bytes, Relaxed);
    }

    /// If a reply is outstanding, makes the transport fail from now on, so that a driver
    /// that waits for the reply stops waiting. Returns `true` if one is.
    pub(in crate::driver::postgres) fn give_up(&self) -> bool {
        let is_outstanding = self.session() == SessionStatus::ReplyOutstanding;
        self.is_given_up.store(is_outstanding, Relaxed);
        is_outstanding
    }

    pub(in crate::driver::postgres) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Relaxed)
    }

    /// Makes the transport rewrite statement names from now on. No reply may be
    /// outstanding.
    pub(in crate::driver::postgres) fn distrust_names(&self) {
        self.names_are_unsafe.store(true, Relaxed);
    }

    pub(in crate::driver::postgres) fn names_are_unsafe(&self) -> bool {
        self.names_are_unsafe.load(Relaxed)
    }

    /// Returns `true` if the driver's own prepared statements are gone: every lookup of a
    /// type that is new to the driver would fail. Without names there are none to lose.
    pub(in crate::driver::postgres) fn has_lost_statements(&self) -> bool {
        self.lock().has_dropped_statements() && !self.names_are_unsafe()
    }

    /// Returns `true` if the messages show a change of the session since it was clean.
    pub(in crate::driver::postgres) fn is_changed(&self) -> bool {
        self.lock().changes.is_changed()
    }

    /// Records that the session is as the next borrower is to find it.
    pub(in crate::driver::postgres) fn mark_clean(&self) {
        self.lock().changes.mark_clean();
    }

    /// Returns `true` if SQL's own PREPARE was used since the last reset.
    pub(in crate::driver::postgres) fn has_prepared(&self) -> bool {
        self.lock().changes.has_prepared()
    }

    /// Records that no statement of SQL's PREPARE is left.
    pub(in crate::driver::postgres) fn deallocated(&self) {
        self.lock().changes.deallocated();
    }

    /// Returns `true` if the last ReadyForQuery reported no open transaction.
    pub(in crate::driver::postgres) fn has_left_transaction(&self) -> bool {
        self.lock().has_left_transaction()
    }

    /// Begins the scope of a closure whose transaction is open.
    pub(in crate::driver::postgres) fn open_scope(&self) {
        self.lock().scope.open();
    }

    /// Ends the scope; returns how the closure had ended its transaction, if it had.
    pub(in crate::driver::postgres) fn close_scope(&self) -> Option<EarlyEnd> {
        self.lock().scope.close()
    }

    /// Returns the process id that the server announced at start-up.
    pub(in crate::driver::postgres) fn process_id(&self) -> Option<i32> {
        self.lock().process_id()
    }

    pub(in crate::driver::postgres) fn progress(&self) -> Progress {
        self.lock().progress()
    }

    /// Returns the error that failed the open transaction.
    pub(in crate::driver::postgres) fn first_failure(&self) -> Option<ServerMessage> {
        self.lock().commits.first_failure().cloned()
    }

    /// Returns `true` if the server has sent an error that ends the session.
    pub(in crate::driver::postgres) fn has_ended(&self) -> bool {
        self.lock().has_ended()
    }

    /// Returns the error or the notice with which the server ended the session.
    pub(in crate::driver::postgres) fn final_message(&self) -> Option<ServerMessage> {
        self.lock().final_message().cloned()
    }
}
