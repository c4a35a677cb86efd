//! Whether a pooler stands between here and the server.

use super::driver::Postgres;
use super::ledger::Ledger;
use super::limits;
use crate::error::Error as OurError;
use crate::settings::Place;
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether PostgreSQL is reached through a pooler such as pgbouncer, and for how
/// long that lends a session.
///
/// A pooler in transaction mode gives each transaction to whichever session of the
/// server is free, so that a statement prepared under a name may be unknown there
/// (SQLSTATE 26000), or the name be another program's (42P05). Behind one, no name
/// is sent: each statement is prepared within the message that uses it, at no round
/// trip, for the pool's own queries and for raw driver calls alike. What else such
/// a session forgets (`SET`, `LISTEN`, advisory locks, SQL's own `PREPARE`) it
/// forgets here too.
///
/// Should a table have changed so that a prepared statement returns other columns,
/// the connection is closed with an error: the statement has run by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooler {
    /// Each new connection asks which process of the server it talks to, one round
    /// trip, until one finds another than the start-up named: that is a pooler's
    /// work, which is treated as one in transaction mode from then on. Over a unix
    /// socket it cannot be told.
    #[default]
    Detect,
    /// There is none, or it lends a session for as long as the connection lives:
    /// nothing is asked, and the server keeps prepared statements.
    Session,
    /// There is one in transaction mode: nothing is asked. Not over a unix socket,
    /// where the driver's messages cannot be changed.
    Transaction,
}

impl Postgres {
    /// Says whether a pooler such as pgbouncer stands in between.
    ///
    /// Default [`Pooler::Detect`].
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config): [`Pooler::Transaction`] over a unix
    /// socket.
    pub fn with_pooler(mut self, pooler: Pooler) -> Result<Postgres, OurError> {
        let mut places = self.itinerary.places().iter();
        let by_unix = places.any(|place| matches!(place, Place::Unix { .. }));
        if pooler == Pooler::Transaction && by_unix {
            return Err(OurError::config(
                "Pooler::Transaction over a unix socket: the names of prepared statements can be \
                 taken off over TCP only; connect to 127.0.0.1 instead",
            ));
        }
        self.scout = Scout { policy: pooler, found: AtomicBool::new(false) };
        Ok(self)
    }
}

/// Finds out whether names are safe.
#[derive(Default)]
pub(super) struct Scout {
    policy: Pooler,
    /// A connection was behind a pooler. The others are then taken to be, too: to
    /// ask each would wait for a session of the server.
    found: AtomicBool,
}

impl Scout {
    /// Looks at a connection just opened.
    ///
    /// # Errors
    ///
    /// The connection was lost over the question.
    pub(super) fn look(&self, client: &mut Client, ledger: &Ledger) -> Result<(), Error> {
        let takes_sessions_away = match self.policy {
            Pooler::Session => false,
            Pooler::Transaction => true,
            Pooler::Detect => self.found.load(Relaxed) || is_another(client, ledger)?,
        };
        if takes_sessions_away {
            self.found.store(true, Relaxed);
            ledger.distrust_names();
        }
        Ok(())
    }
}

/// Tells whether another process answers than the start-up named; a server that
/// refuses to tell is taken to be the same.
fn is_another(client: &mut Client, ledger: &Ledger) -> Result<bool, Error> {
    let Some(named) = ledger.process_id() else { return Ok(false) };
    let row = limits::ask(client, "select pg_backend_pid()")?;
    let process: Option<i32> = row.and_then(|row| row.try_get(0).ok()??.parse().ok());
    Ok(process.is_some_and(|process| process != named))
}
