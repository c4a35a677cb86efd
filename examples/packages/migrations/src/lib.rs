//! Migrations by `refinery`, through a guard: it takes the driver's own connection, so the
//! guard is passed on as `&mut *guard`.

use poolwarden::{MySql, Pool, Postgres, Sqlite};
use refinery::Runner;

mod embedded {
    refinery::embed_migrations!("migrations");
}

type Failure = Box<dyn std::error::Error>;

fn runner() -> Runner {
    embedded::migrations::runner()
}

/// Migrates a PostgreSQL database; returns how many migrations were applied.
///
/// # Errors
///
/// The pool's and refinery's.
pub fn postgres(pool: &Pool<Postgres>) -> Result<usize, Failure> {
    let mut client = pool.get()?;
    Ok(runner().run(&mut *client)?.applied_migrations().len())
}

/// Migrates a MySQL or MariaDB database; returns how many migrations were applied.
///
/// # Errors
///
/// The pool's and refinery's.
pub fn mysql(pool: &Pool<MySql>) -> Result<usize, Failure> {
    let mut connection = pool.get()?;
    Ok(runner().run(&mut *connection)?.applied_migrations().len())
}

/// Migrates a SQLite database; returns how many migrations were applied.
///
/// # Errors
///
/// The pool's and refinery's.
pub fn sqlite(pool: &Pool<Sqlite>) -> Result<usize, Failure> {
    let mut connection = pool.get()?;
    Ok(runner().run(&mut *connection)?.applied_migrations().len())
}
