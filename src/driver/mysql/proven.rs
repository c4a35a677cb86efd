//! Prepared statements that are proven to leave their session as it is.

use mysql::{Column, Statement};
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The most statements that are remembered; the driver's own cache has 32 by default.
const MAX_STATEMENTS: usize = 512;

/// Why a prepared statement leaves its session as it is.
#[derive(Clone, Debug)]
pub(crate) enum Proof {
    /// Its text shows it.
    Text,
    /// It reads only base tables, which was asked while it had these columns.
    ///
    /// A definition that changes, as of a table that becomes a view, makes the server prepare
    /// the statement once more, and MariaDB then sends its columns again. As long as they are
    /// the very same, what was asked holds (MariaDB 10.6 and later; sql/sql_class.h,
    /// `send_column_info_state`).
    BaseTables(Arc<[Column]>),
}

impl Proof {
    /// Returns `true` if it holds for the last execution of the statement.
    pub(crate) fn holds(&self, statement: &Statement) -> bool {
        match self {
            Proof::Text => true,
            Proof::BaseTables(columns) => Arc::ptr_eq(columns, &statement.columns()),
        }
    }
}

/// What is known of the statements of one connection.
#[derive(Debug, Default)]
pub(crate) struct ProvenStatements {
    /// By the number that the session gave them.
    proofs: HashMap<u32, Proof>,
    /// The hashes of texts for which there is no proof; they outlast a reset.
    unproven: HashSet<u64>,
}

impl ProvenStatements {
    pub(crate) fn proof(&self, statement: &Statement) -> Option<&Proof> {
        self.proofs.get(&statement.id())
    }

    pub(crate) fn add(&mut self, statement: &Statement, proof: Proof) {
        if self.proofs.len() >= MAX_STATEMENTS {
            self.proofs.clear();
        }
        self.proofs.insert(statement.id(), proof);
    }

    /// Returns `true` if a text is known to have no proof. Another text may have the same
    /// hash, and is then not proven either.
    pub(crate) fn is_unproven(&self, sql: &str) -> bool {
        self.unproven.contains(&hash(sql))
    }

    pub(crate) fn add_unproven(&mut self, sql: &str) {
        if self.unproven.len() >= MAX_STATEMENTS {
            self.unproven.clear();
        }
        self.unproven.insert(hash(sql));
    }

    /// Forgets the statements, which a reset has closed.
    pub(super) fn forget(&mut self) {
        self.proofs.clear();
    }
}

fn hash(sql: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    hasher.finish()
}
