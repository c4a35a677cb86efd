//! Cleaning a MySQL session, and the proof that it still answers in step.
//!
//! A reply names no request. A borrower who swallows an error of the protocol, or a
//! proxy that answers twice, leaves a connection on which each request reads the
//! answer to the one before it, and nothing says so. What proves the step is a number
//! that was never sent before: whoever reads it has read all that came before it.

use crate::error::BoxError;
use crate::liveness;
use crate::reset::{Cleaned, Handling};
use mysql::prelude::Queryable;
use mysql::{ChangeUserOpts, Conn};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Cleans sessions, and remembers how the server or a proxy in front of it lets us.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// Two statements in one text were refused, and one at a time was not.
    one_by_one: AtomicBool,
}

impl Cleaning {
    /// `COM_RESET_CONNECTION` rolls back and clears the session. It keeps what `USE`
    /// chose, so after a raw borrow the default database is chosen again, and the
    /// same round trip proves the step; where there is none, only a new log-in on the
    /// same connection forgets it, and the proof takes a round trip more.
    pub(super) fn reset(
        &self,
        connection: &mut Conn,
        database: Option<&str>,
        handling: Handling,
    ) -> Result<Cleaned, BoxError> {
        // The end of a connection is no less a reason; the check-in finds out which.
        if !liveness::is_quiet(liveness::borrow(connection)) {
            return Err("there is something on the wire that nobody has asked for".into());
        }
        let in_step = match database {
            _ if handling < Handling::Raw => {
                connection.reset()?;
                true
            }
            Some(name) => {
                connection.reset()?;
                self.choose(connection, name)?
            }
            None => {
                connection.change_user(ChangeUserOpts::new())?;
                answers(connection, "")?
            }
        };
        match in_step {
            true => Ok(Cleaned::default()),
            false => Err("it answers out of step: a reply was left unread".into()),
        }
    }

    /// Chooses the database; tells whether the connection is in step.
    ///
    /// Whatever came of both in one text, the second way proves as much: its number
    /// is a new one.
    fn choose(&self, connection: &mut Conn, name: &str) -> mysql::Result<bool> {
        // In a multi-byte character set of the session's a part of a character could
        // pass for the quote.
        let together = name.is_ascii() && !self.one_by_one.load(Relaxed);
        if together {
            let quoted = name.replace('`', "``");
            match answers(connection, &format!("use `{quoted}`; ")) {
                Ok(true) => return Ok(true),
                Ok(false) | Err(mysql::Error::MySqlError(_)) => {}
                Err(error) => return Err(error),
            }
        }
        connection.select_db(name)?;
        let in_step = answers(connection, "")?;
        if together && in_step {
            self.one_by_one.store(true, Relaxed);
        }
        Ok(in_step)
    }
}

/// Asks for a number after other statements; tells whether it was the last answer.
fn answers(connection: &mut Conn, before: &str) -> mysql::Result<bool> {
    let number = fastrand::u64(1 << 32..1 << 62);
    let mut result = connection.query_iter(format!("{before}select {number}"))?;
    let mut last = None;
    while let Some(rows) = result.iter() {
        last = None;
        for row in rows {
            last = row?.take_opt::<u64, _>(0).and_then(Result::ok);
        }
    }
    Ok(last == Some(number))
}
