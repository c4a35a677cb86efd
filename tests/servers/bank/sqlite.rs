//! On SQLite: nothing kills a connection there, but locks and interrupts end statements.

use super::{Books, Transfer, Way, open, schema};
use poolwarden::{Error, Pool, PooledConnection, RetryPolicy, Sqlite};
use std::time::Duration;

fn each(connection: &rusqlite::Connection, transfer: Transfer) -> Result<(), Error> {
    for statement in transfer.statements() {
        connection.execute(&statement, [])?;
    }
    Ok(())
}

const WAYS: &[Way<Sqlite>] = &[
    ("plain statements", plain_statements),
    ("one text", one_text),
    (
        "statements that end the transaction and go on",
        statements_that_end_the_transaction_and_go_on,
    ),
    ("an interrupt that is ignored", an_interrupt_that_is_ignored),
];

fn plain_statements(pool: &Pool<Sqlite>, transfer: Transfer) -> Result<(), Error> {
    pool.transaction_with(RetryPolicy::web(), |tx, _| each(tx, transfer))
}

fn one_text(pool: &Pool<Sqlite>, transfer: Transfer) -> Result<(), Error> {
    pool.execute_batch(&transfer.text("begin", "commit"))
}

fn statements_that_end_the_transaction_and_go_on(
    pool: &Pool<Sqlite>,
    transfer: Transfer,
) -> Result<(), Error> {
    pool.transaction(|tx| {
        let [out, into, entry] = transfer.statements();
        tx.execute(&out, [])?;
        let _ = tx.execute_batch("rollback");
        let _ = tx.execute(&into, []);
        let _ = tx.execute(&entry, []);
        Ok(())
    })
}

fn an_interrupt_that_is_ignored(pool: &Pool<Sqlite>, transfer: Transfer) -> Result<(), Error> {
    pool.transaction(|tx| {
        let handle = tx.get_interrupt_handle();
        let [out, into, entry] = transfer.statements();
        tx.execute(&out, [])?;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                handle.interrupt();
            });
            let endless = "insert into journal with recursive c(n) as (select 1 union \
                                       all select n + 1 from c) select n from c limit 100000";
            let _ = tx.execute(endless, []);
        });
        tx.execute("delete from journal where id < 0", [])?;
        let _ = (tx.execute(&into, []), tx.execute(&entry, []));
        Err(Error::caller("no"))
    })
}

#[test]
fn no_transfer_on_sqlite_is_done_twice_lost_or_reported_wrongly() {
    let folder = tempfile::tempdir().expect("a folder");
    let driver = Sqlite::file(folder.path().join("bank")).with_init(|connection| {
        connection.busy_timeout(Duration::from_millis(5))?;
        connection.execute_batch("pragma journal_mode = wal; pragma synchronous = off")
    });
    let pool = Pool::builder().max_size(4).build(driver).expect("a pool");
    for statement in schema() {
        pool.execute_batch(&statement).expect("the bank");
    }
    let lock = || {
        let Ok(connection) = pool.get() else { return };
        if connection.execute_batch("begin immediate").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
            let _ = connection.execute_batch("rollback");
        }
        PooledConnection::discard(connection);
    };
    let books = || {
        let read = |sql: &str| pool.query(sql, [], |row| row.get(0)).expect("rows");
        Books {
            journal: read("select id from journal"),
            balances: read("select balance from accounts"),
        }
    };
    open(&pool, WAYS, lock, books);
}
