//! A command-line tool: one connection, one query, and an error that says what to do.
//!
//! `DATABASE_URL=postgres://… cargo run --features postgres --example cli_tool -- tea`

use poolwarden::{Error, Pool, Postgres};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    let Some(name) = std::env::args().nth(1) else {
        // Not `eprintln!` or `println!`, which panic where the reader has gone, as in
        // `cli_tool tea | head -0`.
        let _ = writeln!(io::stderr(), "usage: cli_tool NAME");
        return ExitCode::from(64);
    };
    match orders(&url, &name) {
        Ok(count) => match writeln!(io::stdout(), "{count}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of orders of this name.
///
/// # Errors
///
/// The pool's: an invalid URL names the key and never shows its value.
pub fn orders(url: &str, name: &str) -> Result<i64, Error> {
    let pool: Pool<Postgres> = Pool::connect(url)?;
    let row = pool.query_one("select count(*) from orders where name = $1", &[&name])?;
    Ok(row.get(0))
}
