//! What the driver keeps beside each connection.

use super::fleet_slot::FleetSlot;
use super::reset;
use super::statement_cache::Statements;
use crate::config::ServerLimits;
use crate::driver::postgres::protocol::shared_state::SharedState;
use crate::driver::postgres::protocol::state::SessionStatus;
use crate::driver::postgres::transaction_watch::TransactionWatch;
use crate::driver::progress::Progress;
use crate::observe::{Encryption, Protection, ServerMessage};
use crate::sys::sockets::Descriptor;
use postgres::{Client, Error};
use std::fmt;
use std::sync::Arc;

/// What the driver keeps beside each connection.
pub struct ConnectionState {
    pub(super) socket: Option<Descriptor>,
    /// What our transport knows. `None` over a unix socket, for which the driver calls no
    /// connector; its cancel requests use a unix socket as well.
    pub(super) protocol: Option<Arc<SharedState>>,
    /// `None` over a unix socket, which needs no protection.
    pub(super) protection: Option<Protection>,
    /// The statements that the pool's own queries have prepared.
    pub(crate) statements: Statements,
    /// The server was asked, over a unix socket, and has reported no open transaction since the
    /// last statement.
    pub(super) is_known_idle: bool,
    /// The slot of the pool's fleet, if it has one.
    pub(super) fleet_slot: Option<FleetSlot>,
    /// The server's limits, if they were read while the connection was opened.
    pub(super) limits: Option<ServerLimits>,
}

impl ConnectionState {
    pub(super) fn new(
        socket: Option<Descriptor>,
        protocol: Option<Arc<SharedState>>,
        protection: Option<Protection>,
    ) -> ConnectionState {
        let statements = Statements::new();
        ConnectionState {
            socket,
            protocol,
            protection,
            statements,
            is_known_idle: false,
            fleet_slot: None,
            limits: None,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        let protection = self.protection.as_ref();
        protection.is_some_and(|protection| protection.encryption != Encryption::Plain)
    }

    /// Returns our own descriptor of the connection's socket.
    pub(crate) fn socket(&self) -> Option<Descriptor> {
        self.socket.clone()
    }

    /// Returns the error with which the server ended the session, if our transport saw it.
    pub(crate) fn fatal(&self) -> Option<ServerMessage> {
        self.protocol.as_ref()?.final_message()
    }

    /// Returns the error that failed the open transaction, if our transport saw it.
    pub(crate) fn first_failure(&self) -> Option<ServerMessage> {
        self.protocol.as_ref()?.first_failure()
    }

    /// Returns `true` if the server's last ReadyForQuery reported no open transaction;
    /// always `false` over a unix socket.
    pub(crate) fn has_left_transaction(&self) -> bool {
        self.protocol.as_ref().is_some_and(|protocol| protocol.has_left_transaction())
    }

    /// Returns `true` if a transaction is open, failed or not; `None` if that is not known,
    /// over a unix socket.
    pub(crate) fn is_in_transaction(&self) -> Option<bool> {
        Some(self.protocol.as_ref()?.session() == SessionStatus::InTransaction)
    }

    /// Returns `true` if a transaction is open; asks the server over a unix socket, and spares
    /// the check-in that question.
    ///
    /// # Errors
    ///
    /// The connection was lost.
    pub(crate) fn find_in_transaction(&mut self, client: &mut Client) -> Result<bool, Error> {
        if let Some(is_in_transaction) = self.is_in_transaction() {
            return Ok(is_in_transaction);
        }
        let is_in_transaction = reset::is_in_transaction(client)?;
        self.is_known_idle = !is_in_transaction;
        Ok(is_in_transaction)
    }

    /// Returns a handle that watches the transaction of a closure.
    pub(crate) fn transaction_watch(&self) -> TransactionWatch {
        TransactionWatch(self.protocol.clone())
    }

    /// Sets how many bytes may be received from now on; returns `true` if there were more
    /// than the limit before this one. Over a unix socket nothing is counted.
    pub(crate) fn limit_bytes(&self, limit: Option<usize>) -> bool {
        self.protocol.as_ref().is_some_and(|protocol| protocol.byte_limit().set(limit))
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        Some(self.protocol.as_ref()?.progress())
    }

    pub(super) fn server_process(&self) -> Option<u64> {
        u64::try_from(self.protocol.as_ref()?.process_id()?).ok()
    }
}

impl fmt::Debug for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionState").field("has_socket", &self.socket.is_some()).finish()
    }
}
