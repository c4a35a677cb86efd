//! On PostgreSQL.

use super::{Books, Transfer, Way, open, schema};
use crate::variant::{Variant, shared_pg};
use poolwarden::{Error, IsolationLevel, Pool, Postgres, RetryPolicy};
use postgres::Transaction;
use std::time::Duration;

const BODY: &str = "update accounts set balance = balance - amount where id = source; \
                    update accounts set balance = balance + amount where id = target; \
                    insert into journal values (number);";

const PARAMETERS: &str = "number bigint, source bigint, target bigint, amount bigint";

fn each(tx: &mut Transaction<'_>, transfer: Transfer) -> Result<(), Error> {
    for statement in transfer.statements() {
        tx.execute(&statement, &[])?;
    }
    Ok(())
}

const WAYS: &[Way<Postgres>] = &[
    ("plain statements", plain_statements),
    ("serializable", serializable),
    ("a procedure that commits", a_procedure_that_commits),
    ("a procedure that commits, on a connection", a_procedure_that_commits_on_a_connection),
    ("a function called by SELECT", a_function_called_by_select),
    ("one text", one_text),
    ("one text on a connection", one_text_on_a_connection),
    ("one text that goes on after its commit", one_text_that_goes_on_after_its_commit),
];

fn plain_statements(pool: &Pool<Postgres>, transfer: Transfer) -> Result<(), Error> {
    pool.transaction_with(RetryPolicy::web(), |tx, _| each(tx, transfer))
}

fn serializable(pool: &Pool<Postgres>, transfer: Transfer) -> Result<(), Error> {
    let serializable = IsolationLevel::Serializable;
    let builder = pool.build_transaction().isolation_level(serializable).retry(RetryPolicy::web());
    builder.run(|tx, _| each(tx, transfer))
}

fn a_procedure_that_commits(pool: &Pool<Postgres>, transfer: Transfer) -> Result<(), Error> {
    pool.execute(&format!("call move_money{}", transfer.arguments()), &[]).map(drop)
}

fn a_procedure_that_commits_on_a_connection(
    pool: &Pool<Postgres>,
    transfer: Transfer,
) -> Result<(), Error> {
    pool.run(RetryPolicy::web(), |connection, _| {
        let call = format!("call move_money{}", transfer.arguments());
        Ok(connection.batch_execute(&call)?)
    })
}

fn a_function_called_by_select(pool: &Pool<Postgres>, transfer: Transfer) -> Result<(), Error> {
    pool.query(&format!("select moved{}", transfer.arguments()), &[]).map(drop)
}

fn one_text(pool: &Pool<Postgres>, transfer: Transfer) -> Result<(), Error> {
    pool.batch_execute(&transfer.text("begin", "commit"))
}

fn one_text_on_a_connection(pool: &Pool<Postgres>, transfer: Transfer) -> Result<(), Error> {
    pool.run(RetryPolicy::web(), |connection, _| {
        Ok(connection.batch_execute(&transfer.text("begin", "commit"))?)
    })
}

fn one_text_that_goes_on_after_its_commit(
    pool: &Pool<Postgres>,
    transfer: Transfer,
) -> Result<(), Error> {
    let text = transfer.text("begin", "commit; select pg_sleep(0.002)");
    pool.run(RetryPolicy::web(), |connection, _| Ok(connection.batch_execute(&text)?))
}

#[test]
fn no_transfer_on_postgres_is_done_twice_lost_or_reported_wrongly() {
    let Some((variant, database)) = shared_pg() else { return };
    let pool = Pool::builder().max_size(4).build(variant.driver()).expect("a pool");
    for statement in schema() {
        pool.batch_execute(&statement).expect("the bank");
    }
    pool.batch_execute(&format!(
        "create procedure move_money({PARAMETERS}) language plpgsql as \
             $$ begin {BODY} commit; perform pg_sleep(0.002); end $$; \
         create function moved({PARAMETERS}) returns bigint language plpgsql as \
             $$ begin {BODY} return number; end $$"
    ))
    .expect("routines");
    let kill = || {
        database.terminate_all();
    };
    let books = || {
        let patient = RetryPolicy::script(Duration::from_secs(20));
        let read = |sql: &str| {
            let rows = pool.run(patient, |one, _| Ok(one.query(sql, &[])?)).expect("rows");
            rows.iter().map(|row| row.get(0)).collect()
        };
        Books {
            journal: read("select id from journal"),
            balances: read("select balance from accounts"),
        }
    };
    open(&pool, WAYS, kill, books);
}
