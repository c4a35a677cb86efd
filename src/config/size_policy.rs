//! How many connections a pool may have, computed from the server's limits, with the
//! calculation as text.

use super::server_limits::ServerLimits;
use crate::sys::counted::counted;
use std::fmt;

/// How a pool's effective max size is computed.
///
/// Every policy stays within the server's limits: `max_connections` less the reserved
/// connections, less head room for administrators (a tenth, at least 3), and within the
/// limits of the role and the database.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum SizePolicy {
    /// This many, within the server's limits. The default, with `max_size` as the number.
    Fixed(u32),
    /// A share of what the server allows, greater than 0.0 and at most 1.0.
    Share {
        /// The share: 0.25 for one of four equal users.
        of_server: f64,
    },
    /// What the server allows, less the connections of other roles, divided by the number
    /// of your processes.
    PerInstance {
        /// How many processes run, 1 or more.
        instances: u32,
    },
}

/// The result of a size policy, and its calculation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Connections that this pool may have.
    pub(crate) max_size: u32,
    /// The calculation, with the server's numbers.
    pub(crate) calculation: String,
}

/// Returns how many connections all pools of this role may have together; `None` if no
/// limit is known.
///
/// The connections of `others` count only against the server's: the limits of the role
/// and of the database do not include them.
fn available(limits: &ServerLimits, others: Option<u32>) -> Option<(u32, String)> {
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

impl SizePolicy {
    /// Returns the effective max size under a server's limits, at least 1; `None` if no
    /// limit is known.
    ///
    /// ```
    /// use poolwarden::SizePolicy;
    /// use poolwarden::config::ServerLimits;
    ///
    /// let mut limits = ServerLimits::default();
    /// limits.max_connections = Some(100);
    /// assert_eq!(SizePolicy::Fixed(200).of(&limits), Some(90));
    /// assert_eq!(SizePolicy::Share { of_server: 0.25 }.of(&limits), Some(22));
    /// ```
    pub fn of(self, limits: &ServerLimits) -> Option<u32> {
        self.apply(limits).map(|allowance| allowance.max_size)
    }

    /// Applies the policy. The result is at least 1.
    pub(crate) fn apply(self, limits: &ServerLimits) -> Option<Allowance> {
        let shared = matches!(self, SizePolicy::PerInstance { .. });
        let others = shared.then(|| limits.held_by_others().unwrap_or(0));
        let (available, calculation) = available(limits, others)?;
        let (max_size, calculation) = match self {
            SizePolicy::Fixed(wanted) => {
                let possible = wanted.min(available);
                (possible, format!("{calculation}; requested {wanted}, possible {possible}"))
            }
            SizePolicy::Share { of_server } => {
                let share = floor_share(available, of_server);
                (share, format!("{calculation}; a share of {of_server} of it is {share}"))
            }
            SizePolicy::PerInstance { instances } => {
                let each = available / instances.max(1);
                let instances = counted(instances, "instance");
                (each, format!("{calculation}; divided by {instances} is {each}"))
            }
        };
        Some(Allowance { max_size: max_size.max(1), calculation })
    }

    /// Returns `true` if the max size is computed from the server's limits instead of being
    /// a number.
    pub(crate) fn is_derived(self) -> bool {
        !matches!(self, SizePolicy::Fixed(_))
    }
}

fn floor_share(whole: u32, share: f64) -> u32 {
    // In range by construction: a part of a u32, rounded down by the cast.
    (f64::from(whole) * share.clamp(0.0, 1.0)) as u32
}

impl fmt::Display for SizePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizePolicy::Fixed(count) => write!(f, "max_size {count}"),
            SizePolicy::Share { of_server } => write!(f, "a share of {of_server} of the server"),
            SizePolicy::PerInstance { instances: 1 } => write!(f, "all that the server allows"),
            SizePolicy::PerInstance { instances } => {
                write!(f, "a share for one of {instances} instances")
            }
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

    fn size(policy: SizePolicy, limits: &ServerLimits) -> u32 {
        policy.apply(limits).expect("limits are known").max_size
    }

    #[test]
    fn a_fixed_size_stays_within_the_servers_limits() {
        assert_eq!(size(SizePolicy::Fixed(10), &server(100, 3)), 10);
        assert_eq!(size(SizePolicy::Fixed(200), &server(100, 3)), 87);
        assert_eq!(size(SizePolicy::Fixed(10), &server(8, 3)), 2);
        assert_eq!(size(SizePolicy::Fixed(10), &server(4, 3)), 1);
    }

    #[test]
    fn the_limits_of_the_role_and_of_the_database_apply_too() {
        let mut limits = server(100, 3);
        limits.role_limit = Some(5);
        assert_eq!(size(SizePolicy::Fixed(10), &limits), 5);
        limits.database_limit = Some(4);
        assert_eq!(size(SizePolicy::Fixed(10), &limits), 4);
    }

    #[test]
    fn a_share_and_a_division_are_rounded_down_and_never_zero() {
        assert_eq!(size(SizePolicy::Share { of_server: 0.5 }, &server(100, 3)), 43);
        assert_eq!(size(SizePolicy::Share { of_server: 1.0 }, &server(100, 3)), 87);
        assert_eq!(size(SizePolicy::Share { of_server: 0.001 }, &server(100, 3)), 1);
        let mut limits = server(100, 3);
        (limits.connections, limits.role_connections) = (Some(30), Some(10));
        assert_eq!(size(SizePolicy::PerInstance { instances: 4 }, &limits), 16);
        assert_eq!(size(SizePolicy::PerInstance { instances: 1_000 }, &limits), 1);
        limits.role_limit = Some(9);
        assert_eq!(size(SizePolicy::PerInstance { instances: 3 }, &limits), 3);
    }

    #[test]
    fn the_calculation_shows_every_number() {
        let text =
            SizePolicy::Fixed(200).apply(&server(100, 3)).expect("limits are known").calculation;
        let wanted =
            "max_connections 100 - reserved 3 - head room 10 = 87; requested 200, possible 87";
        assert_eq!(text, wanted);
    }

    #[test]
    fn without_known_limits_there_is_no_allowance() {
        assert_eq!(SizePolicy::Fixed(10).apply(&ServerLimits::default()), None);
    }
}
