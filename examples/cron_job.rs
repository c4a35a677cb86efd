//! A job that runs every night: it waits through a restart of the server, does its work
//! once, and its exit code tells cron's caller what happened.
//!
//! `DATABASE_URL=postgres://… cargo run --features postgres --example cron_job`
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 75 | not done, because the server was away or full for ten minutes: run it later |
//! | 70 | it may have been done: look before you run it |
//! | 78 | the URL or an option is wrong, or the server refuses the log-in: nothing to wait for |
//! | 1 | not done, for another reason |

use poolwarden::{Error, ErrorKind, Pool, Postgres, RetryPolicy, RetrySafety};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How long the job waits for the server.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let url = std::env::var("DATABASE_URL").unwrap_or_default();
    match delete_old_orders(&url, PATIENCE) {
        Ok(deleted) => {
            // The work is done, whether or not this is read: `println!` would panic, and so
            // would `eprintln!` below.
            let _ = writeln!(io::stdout(), "{deleted} orders deleted");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// Deletes old orders in one transaction, which is repeated only if nothing of it was done.
///
/// # Errors
///
/// That of the last attempt.
pub fn delete_old_orders(url: &str, patience: Duration) -> Result<u64, Error> {
    // Not `build`: the server may be away now, and back in a minute.
    let pool = Pool::builder().max_size(1).build_lazy(Postgres::new(url)?)?;
    pool.transaction_with(RetryPolicy::script(patience), |tx, _attempt| {
        let deleted = tx.execute("delete from orders where made < now() - interval '1 year'", &[]);
        deleted.map_err(Error::from)
    })
}

/// The numbers are those of sysexits.h.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Config => 78,
        // Such as a wrong password, which is as wrong later.
        ErrorKind::Connect if error.fault().retry_safety() == RetrySafety::Permanent => 78,
        ErrorKind::OutcomeUnknown | ErrorKind::StatementAbandoned => 70,
        ErrorKind::Connect
        | ErrorKind::CheckoutTimeout
        | ErrorKind::QueueFull
        | ErrorKind::RetriesExhausted => 75,
        _ => 1,
    }
}
