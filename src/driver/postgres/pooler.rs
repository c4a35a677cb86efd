//! Whether there is a pooler between this process and the server.

use super::server_limits;
use crate::config::{Pooler, ServerLimits};
use crate::driver::Attempt;
use crate::driver::postgres::protocol::shared_state::SharedState;
use postgres::{Client, Error, Row};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Decides for each new connection whether statement names can be used.
#[derive(Default)]
pub(super) struct PoolerDetector {
    policy: Pooler,
    /// What was found behind the first connections. All later ones are then treated the
    /// same: each further question would have to wait for a free server session.
    found: AtomicU8,
}

/// Values of [`PoolerDetector::found`]; zero if no pooler was found.
const NAMES_ARE_UNSAFE: u8 = 1;
const NAMES_ARE_KEPT_APART: u8 = 2;

impl PoolerDetector {
    pub(super) fn new(policy: Pooler) -> PoolerDetector {
        PoolerDetector { policy, found: AtomicU8::default() }
    }

    /// Returns `true` if each connection has a session of the server for its life, as far
    /// as is known of those examined.
    pub(super) fn sessions_are_own(&self) -> bool {
        match self.policy {
            Pooler::Session => true,
            Pooler::Detect => self.found.load(Relaxed) == 0,
            Pooler::Transaction | Pooler::NamedStatements => false,
        }
    }

    /// Examines a connection that was just opened; returns the server's limits if they were
    /// wanted and could be read by the same question.
    ///
    /// # Errors
    ///
    /// The connection was lost while the question was answered.
    pub(super) fn examine(
        &self,
        client: &mut Client,
        protocol: &SharedState,
        attempt: &Attempt,
    ) -> Result<Option<ServerLimits>, Error> {
        let mut limits = None;
        let found = match (self.policy, self.found.load(Relaxed)) {
            (Pooler::Session | Pooler::NamedStatements, _) => return Ok(None),
            (Pooler::Transaction, _) => NAMES_ARE_UNSAFE,
            (Pooler::Detect, 0) => {
                if attempt.reads_limits() {
                    attempt.set_reading_limits(true);
                    limits = Some(server_limits::read(client, protocol.process_id())?);
                    attempt.set_reading_limits(false);
                }
                let is_other = match &limits {
                    Some(limits) => limits.behind_pooler == Some(true),
                    None => is_other_process(client, protocol)?,
                };
                if !is_other {
                    return Ok(limits);
                }
                // Other dials need not wait for a session to ask.
                self.found.store(NAMES_ARE_UNSAFE, Relaxed);
                match keeps_names_apart(client)? {
                    true => NAMES_ARE_KEPT_APART,
                    false => NAMES_ARE_UNSAFE,
                }
            }
            (Pooler::Detect, found) => found,
        };
        self.found.fetch_max(found, Relaxed);
        if found == NAMES_ARE_UNSAFE {
            protocol.distrust_names();
        }
        Ok(limits)
    }
}

/// Returns the name that the server knows this statement by.
const OWN_NAME: &str = "select name from pg_catalog.pg_prepared_statements \
                        where statement like '%poolwarden asks for this name%'";

/// Returns `true` if a statement has another name on the server than the driver's, which is
/// an `s` and a number: then the pooler keeps names apart.
///
/// In a transaction, in which any pooler keeps to one server session: the statement is
/// closed where it was prepared.
fn keeps_names_apart(client: &mut Client) -> Result<bool, Error> {
    let mut transaction = client.transaction()?;
    let is_renamed = match transaction.query(OWN_NAME, &[]) {
        Ok(rows) => !rows.is_empty() && rows.iter().all(is_renamed),
        // The name exists there already: of another client that is not kept apart.
        Err(error) if server_limits::is_refusal(&error) => false,
        Err(error) => return Err(error),
    };
    // The rows are dropped, and with them the statement: its Close goes ahead of this.
    transaction.rollback()?;
    Ok(is_renamed)
}

fn is_renamed(row: &Row) -> bool {
    let number = row.try_get::<_, &str>(0).ok().and_then(|name| name.strip_prefix('s'));
    !number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns `true` if another process answers than the one announced at start-up. A server
/// that refuses the question is taken to be the same process.
fn is_other_process(client: &mut Client, protocol: &SharedState) -> Result<bool, Error> {
    let Some(announced) = protocol.process_id() else { return Ok(false) };
    let row = server_limits::ask(client, "select pg_backend_pid()")?;
    let process: Option<i32> = row.and_then(|row| row.try_get(0).ok()??.parse().ok());
    Ok(process.is_some_and(|process| process != announced))
}
