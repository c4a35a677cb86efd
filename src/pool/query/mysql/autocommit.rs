//! Whether a statement that was carried out outside of a transaction is committed.
//!
//! With autocommit off (in the server's configuration, by `init_connect` or by the pool's
//! `init`) each statement begins a transaction, which the check-in rolls back. The driver
//! shows neither of the two flags by which each reply reports that, so the server is asked.

use super::ending::Ending;
use super::nontransactional;
use super::own_text::run;
use super::transaction;
use crate::config::Reset;
use crate::driver::mysql::MySql;
use crate::error::{Error, FaultClass, Usability};
use crate::pool::guard::PooledConnection;
use crate::pool::query::common;
use crate::pool::query::common::BorrowTimeout;
use crate::pool::query::effect;
use crate::pool::query::effect::Effect;
use crate::pool::query::lone;

/// Fails by 1305 where each statement commits by itself: its savepoint is gone with it.
/// Nothing else happens to the session.
const IN_TRANSACTION: &str = "savepoint poolwarden; release savepoint poolwarden";

/// Words of a text that may leave a transaction open, whatever autocommit is.
const OPENING: &[&str] = &["begin", "start", "autocommit", "call", "execute", "xa"];

/// When the server must be asked after a statement, as far as its text shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// It changes nothing, or ends a transaction by itself.
    Never,
    /// Until the connection is known to have autocommit on.
    UntilKnown,
    Always,
}

impl Asking {
    fn of(sql: &str) -> Asking {
        let may_open = effect::has_word(sql, OPENING);
        match (Effect::of(sql), Ending::of(sql)) {
            (Effect::Reads, _) | (_, Ending::Commit | Ending::Rollback) => Asking::Never,
            (_, Ending::Never) => Asking::UntilKnown,
            (_, Ending::Possible) if effect::has_several_statements(sql) => match may_open {
                true => Asking::Always,
                false => Asking::UntilKnown,
            },
            // What else it may be commits by itself: CREATE, ALTER, DROP.
            (_, Ending::Possible) => {
                let word = effect::first_word(effect::skip_to_word(sql));
                let is_opening = OPENING.iter().any(|one| word.eq_ignore_ascii_case(one));
                if is_opening { Asking::Always } else { Asking::Never }
            }
        }
    }
}

/// Checks the connection in after a statement was carried out, and returns an error unless
/// what it did is committed. Takes a round trip for the first write of a connection, and
/// for each text that may leave a transaction open.
pub(super) fn confirm(mut connection: PooledConnection<MySql>, sql: &str) -> Result<(), Error> {
    let asking = Asking::of(sql);
    let is_reset = connection.lease().shared().config().reset != Reset::None;
    let (_, state) = connection.own_session();
    // A reset restores autocommit; without one, any borrower may have changed it.
    let is_known = state.autocommits && is_reset || state.left_clean;
    if asking == Asking::Never || asking == Asking::UntilKnown && is_known {
        return Ok(());
    }
    let pool = common::identity(&connection).pool;
    let (session, state) = connection.own_session();
    match run(session, IN_TRANSACTION) {
        Ok(()) if !is_reset => Err(lone::left_in_transaction(&pool, true)),
        // The reset would roll it back as well, and not tell what stands.
        Ok(()) => match nontransactional::roll_back(session) {
            Ok(true) => {
                let error = lone::left_in_transaction(&pool, false);
                Err(error.may_stand(&pool, nontransactional::STAND))
            }
            Ok(false) => {
                let may_stand = asking == Asking::Always || Ending::of(sql) != Ending::Never;
                Err(lone::left_in_transaction(&pool, may_stand))
            }
            Err(error) => Err(lone::uncertain(connection, Error::driver(lone::UNCERTAIN, error))),
        },
        Err(mysql::Error::MySqlError(error)) => {
            let is_outside = error.code == transaction::NO_SUCH_SAVEPOINT;
            // Where the question is refused, as by a proxy, it is not asked again.
            state.autocommits |= Ending::of(sql) == Ending::Never || !is_outside;
            Ok(())
        }
        Err(error) => Err(lone::uncertain(connection, Error::driver(lone::UNCERTAIN, error))),
    }
}

/// Returns `true` if a statement that failed outside of a transaction has changed tables
/// without transactions before. Takes a round trip for each write that fails, and a second one
/// while the connection is not known to have autocommit on.
pub(super) fn keeps_changes(
    connection: &mut PooledConnection<MySql>,
    sql: &str,
    error: &Error,
) -> bool {
    let fault = error.fault();
    let was_sent = fault.class() != FaultClass::Usage && fault.connection() != Usability::Broken;
    if !was_sent || Effect::of(sql) == Effect::Reads || !BorrowTimeout::of(connection).lift() {
        return false;
    }
    let is_reset = connection.lease().shared().config().reset != Reset::None;
    let (session, state) = connection.own_session();
    let reported = match nontransactional::are_reported(session) {
        Ok(false) if is_reset && !state.autocommits => nontransactional::roll_back(session),
        reported => reported,
    };
    // Nothing is known of a connection that is lost meanwhile.
    reported.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_asked_where_a_text_may_have_left_a_transaction_open() {
        let table = [
            (Asking::Never, "select n from t"),
            (Asking::Never, "create table t (n int)"),
            (Asking::Never, "drop table t"),
            (Asking::Never, "commit"),
            (Asking::Never, "begin"),
            (Asking::UntilKnown, "insert into t values (1)"),
            (Asking::UntilKnown, "/* a */ UPDATE t SET n = 1"),
            (Asking::UntilKnown, "select f()"),
            (Asking::UntilKnown, "insert into t values (1); insert into t values (2)"),
            (Asking::Always, "begin; insert into t values (1)"),
            (Asking::Always, "set autocommit = 0; insert into t values (1)"),
            (Asking::Always, "call p()"),
            (Asking::Always, "begin not atomic insert into t values (1); end"),
        ];
        for (asking, sql) in table {
            assert_eq!(Asking::of(sql), asking, "{sql}");
        }
    }
}
