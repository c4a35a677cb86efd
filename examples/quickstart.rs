//! A pool in one page: threads, a materialized query, a transaction, a timeout
//! error with its cause, and the snapshot.
//!
//! `cargo run --features sqlite --example quickstart` needs no server. With
//! `DATABASE_URL=postgres://…` and `--features postgres`, or `mysql://…` and
//! `--features mysql`, the same program runs on that server.

#![cfg_attr(
    not(any(feature = "mysql", feature = "postgres", feature = "sqlite")),
    expect(unused, reason = "each database uses its own part")
)]

use poolwarden::driver::Driver;
use poolwarden::{Error, Pool, PooledConnection};
use std::io::{self, Write};
use std::time::Duration;

/// Prints a line. `println!` panics where the reader has gone, as in `quickstart | head -1`.
macro_rules! say {
    ($($text:tt)*) => {
        drop(writeln!(io::stdout(), $($text)*))
    };
}

type ExampleResult = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExampleResult {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    match url.split(':').next().unwrap_or_default() {
        "postgres" | "postgresql" => on_postgres(&url),
        "mysql" | "mariadb" => on_mysql(&url),
        "" => on_sqlite(),
        other => Err(format!("DATABASE_URL: {other:?} is not postgres, mysql or mariadb").into()),
    }
}

/// Shows the timeout error and the snapshot; the same for every database.
fn show_timeout_and_snapshot<D: Driver>(pool: &Pool<D>) -> ExampleResult {
    say!("\nBoth connections of the pool are in use; a third caller waits 200 ms:");
    let held: Vec<PooledConnection<D>> = vec![pool.get()?, pool.get()?];
    match pool.get_timeout(Duration::from_millis(200)) {
        Ok(_) => return Err("a third connection from a pool of two".into()),
        Err(error) => say!("  {error}"),
    }
    drop(held);
    say!("\nSnapshot:\n  {}", pool.snapshot());
    Ok(())
}

fn print_name<D: Driver>(pool: &Pool<D>) {
    say!("Opened a pool named {:?}.", pool.name());
}

#[cfg(feature = "sqlite")]
fn on_sqlite() -> ExampleResult {
    use poolwarden::Sqlite;
    let file = std::env::temp_dir().join(format!("quickstart-{}.db", std::process::id()));
    let pool = Pool::builder().max_size(2).build(Sqlite::file(&file))?;
    print_name(&pool);
    pool.execute_batch("create table visits (id integer primary key, page text)")?;
    std::thread::scope(|scope| {
        for page in ["/", "/about", "/", "/contact"] {
            let pool = &pool;
            scope.spawn(move || pool.execute("insert into visits (page) values (?1)", [page]));
        }
    });
    let rows = pool.query("select id, page from visits order by id", [], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    })?;
    say!("4 threads wrote {} rows; they hold no connection:", rows.len());
    for (id, page) in rows {
        say!("  visit {id}: {page}");
    }
    let rolled_back: Result<(), Error> = pool.transaction(|tx| {
        tx.execute("delete from visits", [])?;
        Err(Error::caller("no, keep them"))
    });
    let left = pool.query("select 1 from visits", [], |_| Ok(()))?.len();
    say!("A transaction that ended in {rolled_back:?} left {left} rows.");
    show_timeout_and_snapshot(&pool)?;
    drop(pool);
    Ok(std::fs::remove_file(file)?)
}

#[cfg(feature = "postgres")]
fn on_postgres(url: &str) -> ExampleResult {
    use poolwarden::Postgres;
    let pool = Pool::builder().max_size(2).build(Postgres::new(url)?)?;
    print_name(&pool);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| pool.execute("select pg_sleep(0.01)", &[]));
        }
    });
    let rows = pool.query("select n::bigint from generate_series(1, 4) as n", &[])?;
    say!("4 threads shared 2 connections; now {} rows, and the rows hold none:", rows.len());
    for row in rows {
        let n: i64 = row.get(0);
        let square: i64 = pool.query_one("select $1::bigint * $1", &[&n])?.get(0);
        say!("  {n} squared is {square}");
    }
    let rolled_back: Result<(), Error> = pool.transaction(|tx| {
        tx.batch_execute("create table poolwarden_quickstart (n integer)")?;
        Err(Error::caller("no, leave no table"))
    });
    say!("A transaction that ended in {rolled_back:?} left no table.");
    show_timeout_and_snapshot(&pool)
}

#[cfg(feature = "mysql")]
fn on_mysql(url: &str) -> ExampleResult {
    use poolwarden::MySql;
    use poolwarden::mysql::prelude::Queryable;
    let pool = Pool::builder().max_size(2).build(MySql::new(url)?)?;
    print_name(&pool);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| pool.query_drop("do sleep(0.01)"));
        }
    });
    let rows: Vec<u64> = pool.query("select 1 union select 2 union select 3 union select 4")?;
    say!("4 threads shared 2 connections; now {} rows, and the rows hold none:", rows.len());
    for n in rows {
        let square: Option<u64> = pool.exec_first("select ? * ?", (n, n))?;
        say!("  {n} squared is {}", square.unwrap_or_default());
    }
    let rolled_back: Result<(), Error> = pool.transaction(|tx| {
        tx.query_drop("do 1")?;
        Err(Error::caller("no, nothing"))
    });
    say!("A transaction ended in {rolled_back:?}.");
    show_timeout_and_snapshot(&pool)
}

#[cfg(not(feature = "sqlite"))]
fn on_sqlite() -> ExampleResult {
    Err("set DATABASE_URL=postgres://… or mysql://…, or build with --features sqlite".into())
}

#[cfg(not(feature = "postgres"))]
fn on_postgres(_: &str) -> ExampleResult {
    Err("build with --features postgres for this DATABASE_URL".into())
}

#[cfg(not(feature = "mysql"))]
fn on_mysql(_: &str) -> ExampleResult {
    Err("build with --features mysql for this DATABASE_URL".into())
}
