//! The prepared statements of one connection that the pool's own queries use
//! again, by their text.

use lru::LruCache;
use postgres::Statement;
use postgres::error::SqlState;
use std::fmt;

/// Texts that are longer are not kept, in bytes: such texts are put together by a
/// program and seldom come twice, and a few would take much memory on both sides.
const LONGEST_TEXT: usize = 16 * 1024;

/// The statements used last; each belongs to the connection beside it.
///
/// Dropping one closes it on the server by a message that travels with the next
/// request: no round trip of its own.
pub(crate) struct Statements {
    kept: LruCache<Box<str>, Statement>,
}

impl Statements {
    pub(super) fn new() -> Statements {
        Statements { kept: LruCache::unbounded() }
    }

    /// The statement of this text, which is now the one used last.
    pub(crate) fn get(&mut self, sql: &str) -> Option<Statement> {
        self.kept.get(sql).cloned()
    }

    /// Keeps a statement, and of all no more than so many.
    pub(crate) fn keep(&mut self, sql: &str, statement: &Statement, most: usize) {
        if sql.len() > LONGEST_TEXT || most == 0 {
            return;
        }
        self.kept.put(sql.into(), statement.clone());
        while self.kept.len() > most {
            self.kept.pop_lru();
        }
    }

    /// Forgets what this error, which came instead of an answer to a statement of
    /// this text, says is of no use any more; tells whether it says so.
    ///
    /// The server raises both at Bind, so that nothing has run. Its texts are
    /// translated; the name of its routine is not.
    pub(crate) fn repair(&mut self, sql: &str, error: &postgres::Error) -> bool {
        let Some(error) = error.as_db_error() else { return false };
        if *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME {
            // DEALLOCATE ALL or DISCARD ALL: all are gone.
            self.kept.clear();
            return true;
        }
        let changed = *error.code() == SqlState::FEATURE_NOT_SUPPORTED
            && error.routine() == Some("RevalidateCachedQuery");
        if changed {
            self.kept.pop(sql);
        }
        changed
    }
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements").field("kept", &self.kept.len()).finish()
    }
}
