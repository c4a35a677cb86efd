//! On MariaDB and MySQL.

use super::{Books, Transfer, Way, open, schema};
use crate::variant::{Variant, shared_my};
use mysql::prelude::Queryable;
use poolwarden::query::MySqlTransaction;
use poolwarden::{Error, IsolationLevel, MySql, Pool, RetryPolicy};
use std::time::Duration;

const BODY: &str = "update accounts set balance = balance - amount where id = source; \
                    update accounts set balance = balance + amount where id = target; \
                    insert into journal values (number)";

const PARAMETERS: &str = "number bigint, source bigint, target bigint, amount bigint";

/// Reads the answers to all statements: the driver's own `query_drop` ignores an error of
/// any but the first.
fn read_all(mut result: mysql::QueryResult<'_, '_, '_, mysql::Text>) -> mysql::Result<()> {
    while let Some(rows) = result.iter() {
        for row in rows {
            row?;
        }
    }
    Ok(())
}

fn each(tx: &mut MySqlTransaction<'_>, transfer: Transfer) -> Result<(), Error> {
    for statement in transfer.statements() {
        tx.query_drop(statement)?;
    }
    Ok(())
}

const WAYS: &[Way<MySql>] = &[
    ("plain statements", plain_statements),
    ("serializable", serializable),
    ("a procedure in a transaction", a_procedure_in_a_transaction),
    ("a procedure that commits, in a transaction", a_procedure_that_commits_in_a_transaction),
    ("a procedure that commits", a_procedure_that_commits),
    ("a function called by SELECT", a_function_called_by_select),
    ("one text", one_text),
    ("one text on a connection", one_text_on_a_connection),
];

fn plain_statements(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    pool.transaction_with(RetryPolicy::web(), |tx, _| each(tx, transfer))
}

fn serializable(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    let serializable = IsolationLevel::Serializable;
    let builder = pool.build_transaction().isolation_level(serializable).retry(RetryPolicy::web());
    builder.run(|tx, _| each(tx, transfer))
}

fn a_procedure_in_a_transaction(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    pool.transaction_with(RetryPolicy::web(), |tx, _| {
        Ok(tx.query_drop(format!("call move_only{}", transfer.arguments()))?)
    })
}

fn a_procedure_that_commits_in_a_transaction(
    pool: &Pool<MySql>,
    transfer: Transfer,
) -> Result<(), Error> {
    pool.transaction_with(RetryPolicy::web(), |tx, _| {
        Ok(tx.query_drop(format!("call move_money{}", transfer.arguments()))?)
    })
}

fn a_procedure_that_commits(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    pool.query_drop(&format!("call move_money{}", transfer.arguments())).map(drop)
}

fn a_function_called_by_select(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    pool.query_drop(&format!("select moved{}", transfer.arguments())).map(drop)
}

fn one_text(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    pool.query_drop(&transfer.text("start transaction", "commit")).map(drop)
}

fn one_text_on_a_connection(pool: &Pool<MySql>, transfer: Transfer) -> Result<(), Error> {
    pool.run(RetryPolicy::web(), |connection, _| {
        let text = transfer.text("start transaction", "commit");
        Ok(read_all(connection.query_iter(text)?)?)
    })
}

#[test]
fn no_transfer_on_mariadb_is_done_twice_lost_or_reported_wrongly() {
    let Some((variant, database)) = shared_my() else { return };
    let pool = Pool::builder().max_size(4).build(variant.driver()).expect("a pool");
    let mut statements = schema();
    statements.push(format!(
        "create procedure move_money({PARAMETERS}) begin start transaction; {BODY}; commit; end"
    ));
    statements.push(format!("create procedure move_only({PARAMETERS}) begin {BODY}; end"));
    statements.push(format!(
        "create function moved({PARAMETERS}) returns bigint modifies sql data not deterministic \
         begin {BODY}; return number; end"
    ));
    for statement in &statements {
        // A server with a binary log trusts no function of an ordinary account.
        let made = pool.query_drop(statement);
        assert!(made.is_ok() || statement.contains("function"), "{statement}: {made:?}");
    }
    let kill = || {
        database.kill_all();
    };
    let books = || {
        let patient = RetryPolicy::script(Duration::from_secs(20));
        let read = |sql: &str| pool.run(patient, |one, _| Ok(one.query(sql)?)).expect("rows");
        Books {
            journal: read("select id from journal"),
            balances: read("select balance from accounts"),
        }
    };
    open(&pool, WAYS, kill, books);
}
