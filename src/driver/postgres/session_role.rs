//! libpq's `target_session_attrs` that the driver does not know, and the pool's role.
//!
//! PostgreSQL documentation, "Parameter Key Words", `target_session_attrs`: a *standby* is
//! a server in hot standby mode, a *primary* one that is not; whether transactions are
//! read-only by default is another question, which the driver asks by itself.

use crate::config::Role;
use crate::error::FaultClass;
use postgres::{Client, Error, SimpleQueryMessage};

/// Which server a session may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum SessionRole {
    /// Any, as far as this crate has to ask.
    #[default]
    Any,
    Primary,
    Standby,
    /// A standby, or any other server if no host of the list is a standby.
    PreferStandby,
}

impl SessionRole {
    /// Returns the role for a value of libpq's `target_session_attrs`.
    pub(super) fn named(word: Option<&str>) -> SessionRole {
        match word {
            Some("primary") => SessionRole::Primary,
            Some("standby") => SessionRole::Standby,
            Some("prefer-standby") => SessionRole::PreferStandby,
            _ => SessionRole::Any,
        }
    }

    /// Returns what each pass through the list of hosts requires; the pool's own role adds
    /// to what the settings require.
    pub(super) fn passes(self, role: Role) -> &'static [SessionRole] {
        match (self, role) {
            (SessionRole::Any | SessionRole::PreferStandby, Role::Standby) => {
                &[SessionRole::Standby]
            }
            (SessionRole::Any, _) => &[SessionRole::Any],
            (SessionRole::Primary, _) => &[SessionRole::Primary],
            (SessionRole::Standby, _) => &[SessionRole::Standby],
            (SessionRole::PreferStandby, _) => &[SessionRole::Standby, SessionRole::Any],
        }
    }

    /// Asks a new session for its role, one round trip unless any will do; returns what is
    /// wrong with it.
    pub(super) fn mismatch(self, client: &mut Client) -> Result<Option<FaultClass>, Error> {
        if self == SessionRole::Any {
            return Ok(None);
        }
        Ok(match (self, is_standby(client)?) {
            (SessionRole::Primary, true) => Some(FaultClass::ReadOnly),
            (SessionRole::Standby, false) => Some(FaultClass::NotStandby),
            _ => None,
        })
    }
}

/// Asks the server whether it is in hot standby mode.
pub(super) fn is_standby(client: &mut Client) -> Result<bool, Error> {
    let messages = client.simple_query("select pg_catalog.pg_is_in_recovery()")?;
    let is_true = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    };
    Ok(messages.iter().any(is_true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preferred_standby_is_looked_for_first_and_a_required_one_only() {
        let passes = |word, role| SessionRole::named(Some(word)).passes(role);
        assert_eq!(passes("any", Role::Any), [SessionRole::Any]);
        assert_eq!(passes("read-write", Role::Any), [SessionRole::Any]);
        assert_eq!(passes("primary", Role::Any), [SessionRole::Primary]);
        assert_eq!(passes("standby", Role::Any), [SessionRole::Standby]);
        assert_eq!(passes("prefer-standby", Role::Any), [SessionRole::Standby, SessionRole::Any]);
        assert_eq!(passes("any", Role::Standby), [SessionRole::Standby]);
        assert_eq!(passes("prefer-standby", Role::Standby), [SessionRole::Standby]);
    }
}
