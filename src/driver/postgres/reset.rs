//! The reset of a PostgreSQL session: only what is needed, in one message.

use super::fleet_slot::{self, FleetSlot};
use crate::config::Reset;
use crate::driver::postgres::protocol::shared_state::SharedState;
use crate::driver::postgres::protocol::state::SessionStatus;
use crate::driver::session::{ResetOutcome, SessionState, SlotLost, Usage};
use crate::error::BoxError;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, SimpleQueryMessage};
use std::time::Duration;

/// Clears everything that a session can hold, except for prepared statements. Never
/// `DISCARD ALL` or `DEALLOCATE ALL`: they drop the statements by which the driver looks
/// types up, and every later lookup on that connection fails with 26000 (measured).
fn full(slot: Option<FleetSlot>) -> String {
    let unlock = match slot {
        Some(slot) => slot.unlock_others(),
        None => "select pg_advisory_unlock_all()".to_owned(),
    };
    format!(
        "close all; set session authorization default; reset all; unlisten *; {unlock}; \
         discard plans; discard temp; discard sequences"
    )
}

/// Deallocates what SQL's own PREPARE has prepared, and no statement of the driver.
const DEALLOCATE: &str = "; do $$ declare prepared text; begin for prepared in select name from \
                          pg_catalog.pg_prepared_statements where from_sql loop \
                          execute pg_catalog.format('deallocate %I', prepared); \
                          end loop; end $$";

/// Returns `t`, as a simple query, if a transaction is open: it then began before the
/// statement did. In a failed transaction the server answers with the error 25P02.
const IN_TRANSACTION: &str = "select now() <> statement_timestamp()";

/// How long outstanding replies may take to arrive. The server sends an error
/// immediately and the ReadyForQuery after it a moment later, so that a few bytes may be
/// outstanding after an error. The reset does not wait for unread rows.
const DRAIN: Duration = Duration::from_millis(100);

/// How long a connection may take to answer a ping.
const PING: Duration = Duration::from_secs(1);

/// Drops the notifications that the driver has buffered for a former borrower. No I/O.
pub(super) fn drop_notifications(client: &mut Client) {
    let mut notifications = client.notifications();
    // Beyond their number, the iterator would read the socket.
    for _ in 0..notifications.len() {
        drop(notifications.iter().next());
    }
}

/// Returns what the borrower left behind, as far as it is known without a round trip.
pub(super) fn session_state(
    protocol: Option<&SharedState>,
    usage: Usage,
    reset: Reset,
) -> SessionState {
    if protocol.is_some_and(SharedState::has_lost_statements) {
        return SessionState::OutOfSync;
    }
    let is_dirty = match (protocol.map(SharedState::session), reset) {
        // Even with `Reset::None` no reply and no COPY may cross to the next borrower.
        (Some(SessionStatus::ReplyOutstanding), _) | (_, Reset::Full) => true,
        (None, Reset::None) => usage == Usage::Raw,
        (_, Reset::None) => false,
        (Some(SessionStatus::Idle), _) => protocol.is_some_and(SharedState::is_changed),
        // Without a transport of ours it takes a round trip to know.
        (Some(SessionStatus::InTransaction) | None, _) => true,
    };
    if is_dirty { SessionState::Dirty } else { SessionState::Clean }
}

/// Resets the session.
///
/// A connection that is `unproven` is pinged first, with a timeout. Without a socket
/// that could be shut down, the statements of the reset would never return from a frozen
/// server; without a transport of ours they would never return if a borrower forgot
/// rows, because the driver first waits for the reader of those.
///
/// The slot of a fleet is kept; a session that has lost it is an error.
pub(super) fn reset(
    client: &mut Client,
    protocol: Option<&SharedState>,
    slot: Option<FleetSlot>,
    (unproven, reset): (bool, Reset),
) -> Result<ResetOutcome, BoxError> {
    if unproven {
        client.is_valid(PING)?;
    }
    if protocol.is_some_and(|protocol| protocol.session() == SessionStatus::ReplyOutstanding) {
        client.is_valid(DRAIN)?;
    }
    if reset == Reset::None {
        return Ok(ResetOutcome::default());
    }
    let rolled_back = match protocol {
        Some(protocol) => protocol.session() == SessionStatus::InTransaction,
        None => is_in_transaction(client)?,
    };
    let cleared = reset == Reset::Full || protocol.is_some_and(SharedState::is_changed);
    let deallocates = cleared && protocol.is_some_and(SharedState::has_prepared);
    // ROLLBACK without a transaction would put a warning into the server's log.
    let mut statements = match (rolled_back, cleared) {
        (true, true) => format!("rollback; {}", full(slot)),
        (true, false) => "rollback".to_owned(),
        (false, true) => full(slot),
        (false, false) => String::new(),
    };
    if deallocates {
        statements.push_str(DEALLOCATE);
    }
    if !statements.is_empty() {
        let answer = client.simple_query(&statements)?;
        if cleared && slot.is_some() && !fleet_slot::is_true(&answer) {
            return Err(Box::new(SlotLost));
        }
    }
    drop_notifications(client);
    let Some(protocol) = protocol else { return Ok(ResetOutcome { rolled_back, cleared }) };
    if deallocates {
        protocol.deallocated();
    }
    match protocol.session() {
        SessionStatus::Idle => Ok(ResetOutcome { rolled_back, cleared }),
        left => Err(format!("the session is not idle after its reset: {left:?}").into()),
    }
}

/// Asks the server whether a transaction is open.
pub(super) fn is_in_transaction(client: &mut Client) -> Result<bool, postgres::Error> {
    match client.simple_query(IN_TRANSACTION) {
        Ok(answer) => Ok(answer.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
            _ => false,
        })),
        Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => Ok(true),
        Err(error) => Err(error),
    }
}
