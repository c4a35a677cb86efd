//! Resetting a MySQL session, and proving that requests and replies are still in sync.
//!
//! A reply does not name its request. A borrower that ignores a protocol error, or a
//! proxy that answers twice, leaves a connection on which each request reads the reply to
//! the one before it, and nothing reports that. The proof is a random number that was
//! never sent before: the client that reads it back has read every earlier reply.

use super::session::{Origin, SessionRole, is_mariadb};
use crate::driver::session::{ResetOutcome, SlotLost, Usage};
use crate::error::BoxError;
use crate::sys::sockets;
use mysql::prelude::Queryable;
use mysql::{ChangeUserOpts, Conn};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const CLEARED: ResetOutcome = ResetOutcome { rolled_back: false, cleared: true };

/// Resets sessions, and remembers what the server, or a proxy in front of it, supports.
#[derive(Debug, Default)]
pub(super) struct SessionReset {
    /// Several statements in one text were refused, and one at a time was accepted. The
    /// server's limits are read accordingly.
    pub(super) one_by_one: AtomicBool,
}

impl SessionReset {
    /// Resets the session.
    ///
    /// `COM_RESET_CONNECTION` rolls back and clears the session. It keeps the database
    /// that `USE` selected, so after a raw borrow the default database is selected, and
    /// the same round trip proves that the protocol is in sync. If there is no default
    /// database, only a new log-in on the same connection deselects one, and the proof
    /// takes one more round trip.
    ///
    /// MariaDB (10.11) and MySQL (9.7) keep the role as well. On MariaDB the proof shows it, and
    /// one that is not the user's default role is undone; on MySQL the default roles are set
    /// in the same round trip. Each connection asks once for what is the default.
    ///
    /// The driver's own `init` statements run after that in every case: they may depend
    /// on the database, or select one.
    pub(super) fn reset(
        &self,
        connection: &mut Conn,
        origin: &mut Origin,
        usage: Usage,
    ) -> Result<ResetOutcome, BoxError> {
        // A closed connection is not quiet either; the check-in finds out which it is.
        if !sockets::is_quiet(sockets::borrow(connection)) {
            return Err("unexpected data on the connection".into());
        }
        if usage < Usage::Raw {
            connection.reset()?;
            take_slot_again(connection, origin)?;
            if reset_runs_init(connection.server_version()) {
                return Ok(CLEARED);
            }
        } else if !self.reset_raw(connection, origin)? {
            return Err("protocol out of sync (unread reply)".into());
        }
        for statement in &origin.init {
            connection.query_drop(statement)?;
        }
        Ok(CLEARED)
    }

    /// Resets the session after a raw borrow; returns `true` if requests and replies are in
    /// sync.
    fn reset_raw(&self, connection: &mut Conn, origin: &mut Origin) -> Result<bool, BoxError> {
        let question = Question::of(connection.server_version(), origin);
        match &origin.database {
            Some(_) => connection.reset()?,
            None => connection.change_user(ChangeUserOpts::new())?,
        }
        take_slot_again(connection, origin)?;
        let answer = match &origin.database {
            Some(name) => self.select_database(connection, name, &question)?,
            None => answers(connection, &question.first, question.asked)?,
        };
        let Some(answer) = answer else { return Ok(false) };
        restore_role(connection, origin, answer)?;
        Ok(true)
    }

    /// Selects the database; returns the answer if requests and replies are in sync.
    ///
    /// If several statements in one text fail, two texts prove as much: their number is a
    /// new one.
    fn select_database(
        &self,
        connection: &mut Conn,
        name: &str,
        question: &Question,
    ) -> mysql::Result<Option<Answer>> {
        // In a multi-byte character set of the session, a part of a character could be
        // taken for the quote.
        let one_by_one = self.one_by_one.load(Relaxed);
        let together = name.is_ascii() && !one_by_one;
        let Question { first, asked, asked_alone } = question;
        if together {
            let quoted = name.replace('`', "``");
            match answers(connection, &format!("{first}use `{quoted}`; "), asked) {
                Ok(Some(answer)) => return Ok(Some(answer)),
                Ok(None) | Err(mysql::Error::MySqlError(_)) => {}
                Err(error) => return Err(error),
            }
        }
        connection.select_db(name)?;
        let answer = match together || one_by_one {
            true => answers(connection, "", asked_alone)?,
            false => answers(connection, first, asked)?,
        };
        if together && answer.is_some() {
            self.one_by_one.store(true, Relaxed);
        }
        Ok(answer)
    }
}

/// Takes the slot of the fleet again, which a reset frees, if the session had one.
fn take_slot_again(connection: &mut Conn, origin: &mut Origin) -> Result<(), BoxError> {
    let Some(slot) = &mut origin.fleet_slot else { return Ok(()) };
    match slot.take_again(connection)? {
        true => Ok(()),
        false => Err(Box::new(SlotLost)),
    }
}

/// What the proof asks for besides its number, so that the role can be restored.
struct Question {
    /// The statements in front of the others.
    first: String,
    asked: &'static str,
    /// The same where each statement needs a text of its own.
    asked_alone: &'static str,
}

impl Question {
    fn of(version: (u16, u16, u16), origin: &Origin) -> Question {
        let nothing = Question { first: String::new(), asked: "", asked_alone: "" };
        match &origin.default_role {
            Some(_) if is_mariadb(version) => {
                Question { asked: ROLE, asked_alone: ROLE, ..nothing }
            }
            None if is_mariadb(version) => {
                Question { asked: ROLE_AND_DEFAULT, asked_alone: ROLE_AND_DEFAULT, ..nothing }
            }
            Some(keyword) if version >= HAS_ROLES => {
                let keyword = keyword.as_deref().unwrap_or("default");
                Question { first: format!("set role {keyword}; "), ..nothing }
            }
            None if version >= HAS_ROLES => {
                Question { first: "set role default; ".into(), asked: ALL_ROLES, ..nothing }
            }
            _ => nothing,
        }
    }
}

/// What the server answered to a [`Question`], value by value.
type Answer = Vec<SessionRole>;

const ROLE: &str = ", current_role()";

/// MariaDB documentation, "Information Schema APPLICABLE_ROLES Table".
const ROLE_AND_DEFAULT: &str = ", current_role(), (select role_name from \
    information_schema.applicable_roles where is_default = 'YES' limit 1)";

/// MySQL documentation, "Server System Variables": whether a log-in chooses all roles of the
/// user instead of the default ones.
const ALL_ROLES: &str = ", @@global.activate_all_roles_on_login";

/// MySQL documentation, "What Is New in MySQL 8.0", "Roles".
const HAS_ROLES: (u16, u16, u16) = (8, 0, 0);

/// Restores the role of a new session, unless it was restored already.
fn restore_role(connection: &mut Conn, origin: &mut Origin, answer: Answer) -> mysql::Result<()> {
    let count = answer.len();
    let mut answer = answer.into_iter();
    let (first, second) = (answer.next().flatten(), answer.next().flatten());
    if is_mariadb(connection.server_version()) {
        let default = origin.default_role.get_or_insert(second);
        if first == *default {
            return Ok(());
        }
        let name = default.as_ref().map(|name| format!("`{}`", name.replace('`', "``")));
        connection.query_drop(format!("set role {}", name.as_deref().unwrap_or("none")))
    } else if count > 0 {
        let keyword = if first.as_deref() == Some("1") { "all" } else { "default" };
        origin.default_role = Some(Some(keyword.into()));
        // The default roles were set in front of the question.
        if keyword == "all" { connection.query_drop("set role all") } else { Ok(()) }
    } else {
        Ok(())
    }
}

/// Returns `true` if the driver's `reset` runs its `init` statements: to a server that
/// reports an older version it sends `COM_CHANGE_USER` and nothing after that (mysql
/// 28.0.4, `Conn::reset`). Proxies report old versions as well.
fn reset_runs_init(version: (u16, u16, u16)) -> bool {
    version > (5, 7, 3)
}

/// Selects a random number and what is asked for after other statements; returns the rest of
/// the row if the last reply has that number.
fn answers(connection: &mut Conn, before: &str, asked: &str) -> mysql::Result<Option<Answer>> {
    let number = fastrand::u64(1 << 32..1 << 62);
    let mut result = connection.query_iter(format!("{before}select {number}{asked}"))?;
    let mut last = None;
    while let Some(rows) = result.iter() {
        last = None;
        for row in rows {
            let mut row = row?;
            let read = row.take_opt::<u64, _>(0).and_then(Result::ok);
            let rest = (1..row.len()).map(|at| row.take_opt(at).and_then(Result::ok).flatten());
            last = read.map(|read| (read, rest.collect()));
        }
    }
    Ok(last.filter(|(read, _)| *read == number).map(|(_, rest)| rest))
}
