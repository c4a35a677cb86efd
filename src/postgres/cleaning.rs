//! Cleaning a PostgreSQL session: as little as needed, in one message.

use super::ledger::{Ledger, Session};
use crate::error::BoxError;
use crate::reset::{Cleaned, Handling, Leftovers, Reset};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use std::time::Duration;

/// All that a session can have, but prepared statements and the driver's type
/// cache. Never `DISCARD ALL` or `DEALLOCATE ALL`: the driver keeps statements of
/// its own, and would fail for good with 26000 (measured).
const FULL: &str = "close all; set session authorization default; reset all; unlisten *; \
                    select pg_advisory_unlock_all(); discard plans; discard temp; \
                    discard sequences";

/// Tells, in a simple query, whether a transaction is open: its own start is then
/// older than the statement's. In a failed transaction it is the error 25P02.
const IN_TRANSACTION: &str = "select now() <> statement_timestamp()";

/// How long answers that were not waited for may take to come in. The server sends
/// an error at once and what ends its answer a moment later, so that after an error
/// a few bytes may be owed; rows that nobody read are not waited for.
const DRAIN: Duration = Duration::from_millis(100);

/// How long a connection may take to show that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// What the borrower left behind, as far as it is known without a round trip.
pub(super) fn leftovers(ledger: Option<&Ledger>, handling: Handling, reset: Reset) -> Leftovers {
    if handling == Handling::Untouched {
        return Leftovers::None;
    }
    let soiled = match (ledger.map(Ledger::session), reset) {
        // Whatever else may cross, another's answer may not.
        (Some(Session::Unanswered), _) | (_, Reset::Full) => true,
        (_, Reset::None) | (Some(Session::Idle), _) => false,
        // Without a stream of ours one round trip will tell.
        (Some(Session::InTransaction) | None, _) => true,
    };
    if soiled { Leftovers::Some } else { Leftovers::None }
}

/// Cleans the session.
///
/// Of one that is `unproven` only what has just answered is asked more: without a
/// socket that could be cut, nothing else would end at a frozen server; without a
/// stream that tells, nothing else where a borrower forgot rows, for whose reader the
/// driver waits first.
pub(super) fn reset(
    client: &mut Client,
    ledger: Option<&Ledger>,
    unproven: bool,
    reset: Reset,
) -> Result<Cleaned, BoxError> {
    if unproven {
        client.is_valid(SIGN_OF_LIFE)?;
    }
    if ledger.is_some_and(|ledger| ledger.session() == Session::Unanswered) {
        client.is_valid(DRAIN)?;
    }
    if reset == Reset::None {
        return Ok(Cleaned::default());
    }
    let rolled_back = match ledger {
        Some(ledger) => ledger.session() == Session::InTransaction,
        None => is_in_transaction(client)?,
    };
    // ROLLBACK without a transaction would put a warning into the server's log.
    match (rolled_back, reset == Reset::Full) {
        (true, true) => client.batch_execute(&format!("rollback; {FULL}"))?,
        (true, false) => client.batch_execute("rollback")?,
        (false, true) => client.batch_execute(FULL)?,
        (false, false) => {}
    }
    match ledger.map(Ledger::session) {
        None | Some(Session::Idle) => Ok(Cleaned { rolled_back }),
        Some(left) => Err(format!("the session is not idle after its reset: {left:?}").into()),
    }
}

fn is_in_transaction(client: &mut Client) -> Result<bool, BoxError> {
    match client.simple_query(IN_TRANSACTION) {
        Ok(answer) => Ok(answer.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
            _ => false,
        })),
        Err(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION) => Ok(true),
        Err(error) => Err(error.into()),
    }
}
