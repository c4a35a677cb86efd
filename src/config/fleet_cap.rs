//! One cap on the connections of several processes, arbitrated by the database server.

use super::text_value::TextValue;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The most slots that a fleet may have: one statement asks for all of them.
const MOST_SLOTS: u32 = 1_000;

/// In bytes, so that the name of a MySQL lock has at most 64 characters.
const LONGEST_GROUP: usize = 40;

/// The shortest turn.
const SHORTEST_TURN: Duration = Duration::from_secs(1);

/// A turn is this long for each slot: while its slots go round, the whole fleet opens no more
/// than twenty connections a second.
const TURN_FOR_EACH_SLOT: Duration = Duration::from_millis(50);

/// One cap on the connections of all processes of a group, arbitrated by the database server.
///
/// Each connection takes one of `total` slots when it is opened. A slot is a session-level
/// lock, which the server frees when the session ends, however it ends: no other process, no
/// lease and no clock is involved. If no slot is free, the connection is closed and the attempt
/// fails with [`FaultClass::FleetFull`](crate::FaultClass::FleetFull); callers wait for a
/// slot as they wait for a server at its connection limit. See
/// [`Builder::fleet_cap`](crate::Builder::fleet_cap) and the guide's page
/// [`fleet`](crate::guide::fleet).
///
/// ```
/// use poolwarden::config::FleetCap;
///
/// let cap = FleetCap::new("orders", 30);
/// assert_eq!(cap.mysql_lock_name(7), "poolwarden.orders.7");
/// assert_eq!(cap.to_string(), "orders:30");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetCap {
    group: Arc<str>,
    total: u32,
}

impl FleetCap {
    /// Creates a cap of `total` connections for the processes that name the same group.
    ///
    /// `group` has 1 to 40 ASCII letters, digits, `.`, `_` and `-`; upper and lower case are
    /// the same. `total` is 1 to 1 000, and the same in every process: one with a higher
    /// number opens more. Both are checked by `build`.
    pub fn new(group: impl AsRef<str>, total: u32) -> FleetCap {
        FleetCap { group: group.as_ref().to_ascii_lowercase().into(), total }
    }

    /// Returns the name that all processes of the fleet share, in lower case.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Returns how many connections the processes of the fleet may have together.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Returns the first key of the advisory locks on PostgreSQL; the second is the slot, from
    /// 1 to `total`.
    ///
    /// It is computed from the group's name. `pg_locks` shows it as `classid`, an unsigned
    /// number, and the slot as `objid`.
    pub fn postgres_lock_class(&self) -> i32 {
        // FNV-1a, 32 bits: every version of the crate must compute the same number.
        let bytes = b"poolwarden fleet ".iter().chain(self.group.as_bytes());
        let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        hash.cast_signed()
    }

    /// Returns the name of a slot's lock on MySQL and MariaDB, for `IS_USED_LOCK`.
    pub fn mysql_lock_name(&self, slot: u32) -> String {
        format!("poolwarden.{}.{slot}", self.group)
    }

    /// Returns for how long a connection keeps its slot although others wait.
    pub(crate) fn turn(&self) -> Duration {
        SHORTEST_TURN.max(TURN_FOR_EACH_SLOT * self.total)
    }

    /// Returns what is wrong with it, if anything is.
    pub(super) fn problem(&self) -> Option<String> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length = self.group.len();
        if !(1..=LONGEST_GROUP).contains(&length) || !self.group.bytes().all(is_allowed) {
            return Some(format!(
                "fleet_cap: the group must have 1 to {LONGEST_GROUP} ASCII letters, digits, '.', \
                 '_' and '-'"
            ));
        }
        let total = self.total;
        (!(1..=MOST_SLOTS).contains(&total))
            .then(|| format!("fleet_cap: total {total} must be from 1 to {MOST_SLOTS}"))
    }
}

/// The form of an option's text: `orders:30`.
impl fmt::Display for FleetCap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.group, self.total)
    }
}

impl TextValue for FleetCap {
    const EXPECTED: &'static str = "a group and a count such as orders:30";

    fn parse(text: &str) -> Option<FleetCap> {
        let (group, total) = text.rsplit_once(':')?;
        u32::parse(total).map(|total| FleetCap::new(group, total))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_class_never_changes_and_ignores_case() {
        // Processes with other versions of the crate compute it too.
        assert_eq!(FleetCap::new("orders", 30).postgres_lock_class(), -546_553_245);
        let of = |group| FleetCap::new(group, 1).postgres_lock_class();
        assert_eq!(of("Orders"), of("orders"));
        assert_ne!(of("orders"), of("orders2"));
    }

    #[test]
    fn a_group_or_a_total_out_of_range_is_a_problem() {
        let problem = |group: &str, total| FleetCap::new(group, total).problem();
        let longest = "g".repeat(LONGEST_GROUP);
        assert_eq!(problem(&longest, MOST_SLOTS), None);
        assert!(FleetCap::new(&longest, 1).mysql_lock_name(MOST_SLOTS).len() <= 64);
        for group in ["", "a'b", "a b", "é", &format!("{longest}g")] {
            let text = problem(group, 1).expect("out of range");
            assert!(text.starts_with("fleet_cap: the group must have"), "{text}");
        }
        for total in [0, MOST_SLOTS + 1] {
            let text = problem("orders", total).expect("out of range");
            assert_eq!(text, format!("fleet_cap: total {total} must be from 1 to 1000"));
        }
    }

    #[test]
    fn the_text_of_a_cap_parses_to_the_same_cap() {
        let cap = FleetCap::new("a.b-c_1", 12);
        assert_eq!(FleetCap::parse(&cap.to_text()), Some(cap));
        for text in ["", "orders", "orders:", "orders:-1", "orders:x"] {
            assert_eq!(FleetCap::parse(text), None, "{text:?}");
        }
    }
}
