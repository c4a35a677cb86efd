//! What is known of a statement of a MySQL or MariaDB transaction by its text.

use super::ending::Ending;
use crate::pool::query::effect::Effect;

/// What the text of a statement shows.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) ending: Ending,
    /// It may change tables.
    pub(super) writes: bool,
}

impl Known {
    /// What is known of a statement that was prepared elsewhere.
    pub(super) const NOTHING: Known = Known { ending: Ending::Possible, writes: true };

    pub(super) fn of(sql: &str) -> Known {
        Known { ending: Ending::of(sql), writes: Effect::of(sql) != Effect::Reads }
    }
}

/// A statement that was prepared in the transaction.
pub(super) struct Prepared {
    pub(super) id: u32,
    pub(super) known: Known,
}
