//! How many connections a pool may have, from what the server can give: pure
//! arithmetic, with its working shown.

use crate::limits::ServerLimits;
use std::fmt;

/// How a pool's cap is found.
///
/// Whatever the rule, the cap stays below what the server can give: its
/// `max_connections` less what it reserves, less head room for administrators (a
/// tenth, at least 3), and below the limits of the role and the database.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cap {
    /// This many, as far as the server can give them. The default, with
    /// `max_size` as the number.
    Fixed(u32),
    /// This share of what the server can give, from above 0.0 to 1.0.
    Share {
        /// The share: 0.25 for one of four equal users.
        of_server: f64,
    },
    /// What the server can give, less what other roles hold, divided by the
    /// processes that you run.
    PerInstance {
        /// How many processes run, 1 or more.
        instances: u32,
    },
}

/// What the server can give, and how that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Connections that this pool may have.
    pub(crate) cap: u32,
    /// How that follows from the server's numbers.
    pub(crate) working: String,
}

/// Connections that all pools of this role may have together; `None` if nothing
/// is known of the server.
///
/// What `others` hold counts against the server's connections only: the limits of
/// the role and of the database are not theirs.
fn given(limits: &ServerLimits, others: Option<u32>) -> Option<(u32, String)> {
    let by_server = limits.left_beside(others.unwrap_or(0)).map(|left| {
        let max = limits.max_connections.unwrap_or(0);
        let reserved = limits.reserved_connections.unwrap_or(0);
        let room = limits.head_room().unwrap_or(0);
        let others = others.map(|others| format!(" - others {others}")).unwrap_or_default();
        let text = format!(
            "max_connections {max} - reserved {reserved} - head room {room}{others} = {left}"
        );
        (left, text)
    });
    let by_role = limits.role_limit.map(|limit| (limit, format!("the role's limit {limit}")));
    let by_database =
        limits.database_limit.map(|limit| (limit, format!("the database's limit {limit}")));
    [by_server, by_role, by_database].into_iter().flatten().min_by_key(|(left, _)| *left)
}

impl Cap {
    /// Returns the cap that this rule makes of a server's limits, 1 at least; `None` if
    /// nothing is known of them.
    ///
    /// ```
    /// use poolwarden::{Cap, ServerLimits};
    ///
    /// let mut limits = ServerLimits::default();
    /// limits.max_connections = Some(100);
    /// assert_eq!(Cap::Fixed(200).of(&limits), Some(90));
    /// assert_eq!(Cap::Share { of_server: 0.25 }.of(&limits), Some(22));
    /// ```
    pub fn of(self, limits: &ServerLimits) -> Option<u32> {
        self.apply(limits).map(|allowance| allowance.cap)
    }

    /// Applies the rule. Never less than 1: a pool without a connection is none.
    pub(crate) fn apply(self, limits: &ServerLimits) -> Option<Allowance> {
        let shared = matches!(self, Cap::PerInstance { .. });
        let others = shared.then(|| limits.held_by_others().unwrap_or(0));
        let (given, working) = given(limits, others)?;
        let (cap, working) = match self {
            Cap::Fixed(wanted) => {
                let cap = wanted.min(given);
                (cap, format!("{working}; wanted {wanted}, possible {cap}"))
            }
            Cap::Share { of_server } => {
                let share = floor_share(given, of_server);
                (share, format!("{working}; a share of {of_server} of it is {share}"))
            }
            Cap::PerInstance { instances } => {
                let each = given / instances.max(1);
                (each, format!("{working}; divided by {instances} instances is {each}"))
            }
        };
        Some(Allowance { cap: cap.max(1), working })
    }

    /// Tells whether the cap follows from the server instead of from a number.
    pub(crate) fn is_derived(self) -> bool {
        !matches!(self, Cap::Fixed(_))
    }
}

fn floor_share(whole: u32, share: f64) -> u32 {
    // In range by construction: a part of a u32, rounded down by the cast.
    (f64::from(whole) * share.clamp(0.0, 1.0)) as u32
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cap::Fixed(count) => write!(f, "max_size {count}"),
            Cap::Share { of_server } => write!(f, "a share of {of_server} of the server"),
            Cap::PerInstance { instances } => write!(f, "a share for one of {instances} instances"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(max: u32, reserved: u32) -> ServerLimits {
        ServerLimits {
            max_connections: Some(max),
            reserved_connections: Some(reserved),
            ..ServerLimits::default()
        }
    }

    fn cap(rule: Cap, limits: &ServerLimits) -> u32 {
        rule.apply(limits).expect("limits are known").cap
    }

    #[test]
    fn a_fixed_cap_stays_below_what_the_server_can_give() {
        assert_eq!(cap(Cap::Fixed(10), &server(100, 3)), 10);
        assert_eq!(cap(Cap::Fixed(200), &server(100, 3)), 87);
        assert_eq!(cap(Cap::Fixed(10), &server(8, 3)), 2);
        assert_eq!(cap(Cap::Fixed(10), &server(4, 3)), 1);
    }

    #[test]
    fn the_limits_of_the_role_and_of_the_database_count_too() {
        let mut limits = server(100, 3);
        limits.role_limit = Some(5);
        assert_eq!(cap(Cap::Fixed(10), &limits), 5);
        limits.database_limit = Some(4);
        assert_eq!(cap(Cap::Fixed(10), &limits), 4);
    }

    #[test]
    fn a_share_and_a_division_are_rounded_down_and_never_zero() {
        assert_eq!(cap(Cap::Share { of_server: 0.5 }, &server(100, 3)), 43);
        assert_eq!(cap(Cap::Share { of_server: 1.0 }, &server(100, 3)), 87);
        assert_eq!(cap(Cap::Share { of_server: 0.001 }, &server(100, 3)), 1);
        let mut limits = server(100, 3);
        (limits.connections, limits.role_connections) = (Some(30), Some(10));
        assert_eq!(cap(Cap::PerInstance { instances: 4 }, &limits), 16);
        assert_eq!(cap(Cap::PerInstance { instances: 1_000 }, &limits), 1);
        limits.role_limit = Some(9);
        assert_eq!(cap(Cap::PerInstance { instances: 3 }, &limits), 3);
    }

    #[test]
    fn the_working_shows_every_number() {
        let text = Cap::Fixed(200).apply(&server(100, 3)).expect("limits are known").working;
        let wanted =
            "max_connections 100 - reserved 3 - head room 10 = 87; wanted 200, possible 87";
        assert_eq!(text, wanted);
    }

    #[test]
    fn nothing_known_is_no_allowance() {
        assert_eq!(Cap::Fixed(10).apply(&ServerLimits::default()), None);
    }
}
