//! Proving that a prepared statement leaves its session as it is, so that no reset follows.
//!
//! A text alone cannot prove that of a statement that reads tables: one of them may be a view,
//! and a view may call any function. So the server's catalogue is asked once for each prepared
//! statement, and the answer holds until the server prepares the statement once more. Only
//! MariaDB shows when it does.

use super::harmless;
use super::harmless::{Judgement, Name};
use crate::driver::mysql::{ConnectionState, Proof, is_mariadb};
use mysql::prelude::Queryable;
use mysql::{Conn, Statement};

/// What is done with a statement of the pool's own.
pub(super) struct Proving<'a> {
    sql: &'a str,
    proof: Option<Proof>,
    is_new: bool,
}

impl<'a> Proving<'a> {
    /// Looks for a proof, before the statement is executed. Takes a round trip for a statement
    /// that reads tables, once for each time that it is prepared.
    ///
    /// # Errors
    ///
    /// The connection's: the server was asked, and did not answer.
    pub(super) fn begin(
        session: &mut Conn,
        state: &mut ConnectionState,
        sql: &'a str,
        statement: &Statement,
    ) -> mysql::Result<Proving<'a>> {
        if let Some(proof) = state.statements.proof(statement) {
            return Ok(Proving { sql, proof: Some(proof.clone()), is_new: false });
        }
        let proof = match state.statements.is_unproven(sql) {
            true => None,
            false => prove(session, sql, statement)?,
        };
        match &proof {
            Some(proof) => state.statements.add(statement, proof.clone()),
            None => state.statements.add_unproven(sql),
        }
        Ok(Proving { sql, proof, is_new: true })
    }

    /// Returns `true` if the statement has left its session as it was, after its whole answer
    /// was read.
    pub(super) fn holds(self, state: &mut ConnectionState, statement: &Statement) -> bool {
        let Some(proof) = self.proof else { return false };
        let holds = proof.holds(statement);
        if !holds && self.is_new {
            // Before version 10.6 MariaDB sends the columns with each answer.
            state.statements.add_unproven(self.sql);
        }
        holds
    }
}

fn prove(session: &mut Conn, sql: &str, statement: &Statement) -> mysql::Result<Option<Proof>> {
    match harmless::judge(sql) {
        Judgement::Unknown => Ok(None),
        Judgement::Harmless => Ok(Some(Proof::Text)),
        Judgement::Reads(_) if !is_mariadb(session.server_version()) => Ok(None),
        Judgement::Reads(names) => {
            // Before the question: what changes after it is seen.
            let columns = statement.columns();
            match session.query_first::<Option<i64>, _>(question(&names)) {
                Ok(answer) => {
                    let is_proven = answer.flatten() == Some(1);
                    Ok(is_proven.then_some(Proof::BaseTables(columns)))
                }
                // As a proxy may refuse it.
                Err(mysql::Error::MySqlError(_)) => Ok(None),
                Err(error) => Err(error),
            }
        }
    }
}

/// Returns a query that is true if each statement commits by itself, and none of the names is
/// that of a view. One lookup for each name: the server searches its folders for a list.
fn question(names: &[Name<'_>]) -> String {
    let mut sql = String::from("select @@session.autocommit = 1 and 0 = 0");
    for name in names {
        let database = name.database.map_or("database()".into(), |name| format!("'{name}'"));
        sql.push_str(&format!(
            " + (select count(*) from information_schema.tables where table_schema = {database} \
             and table_name = '{}' and coalesce(table_type, '') not in ('BASE TABLE', \
             'SYSTEM VERSIONED', 'TEMPORARY'))",
            name.table
        ));
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_has_a_lookup_for_each_name() {
        let names = [
            Name { database: None, table: "item" },
            Name { database: Some("shop"), table: "item" },
        ];
        let sql = question(&names);
        assert_eq!(sql.matches("table_name = 'item'").count(), 2, "{sql}");
        assert!(sql.contains("table_schema = database() and"), "{sql}");
        assert!(sql.contains("table_schema = 'shop' and"), "{sql}");
    }
}
