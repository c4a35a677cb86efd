//! A program that connects on each request, before and after the change to the drop-in
//! connections; `./count` prints how many lines changed, and `cargo run -- URL...` how long
//! requests take, and how many sessions the server has seen.

pub mod on_mysql;
pub mod on_postgres;
pub mod on_sqlite;

use mysql::prelude::Queryable;
use std::time::{Duration, Instant};

/// What a request may fail with.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

const THREADS: u32 = 8;
const REQUESTS: u32 = 100;

/// What eight threads with a hundred requests each took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The mean duration of a request.
    pub request: Duration,
    /// How many sessions the server has begun for it.
    pub sessions: u64,
}

/// Runs requests on eight threads, and asks the server before and after how many sessions it
/// has begun.
///
/// # Panics
///
/// If a request fails.
pub fn time(
    request: impl Fn() -> Result<(), Failure> + Sync,
    mut sessions: impl FnMut() -> Result<u64, Failure>,
) -> Result<Timing, Failure> {
    let before = sessions()?;
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..REQUESTS).for_each(|_| request().expect("a request")));
        }
    });
    let request = began.elapsed() * THREADS / (THREADS * REQUESTS);
    Ok(Timing { request, sessions: sessions()? - before })
}

/// Returns the timings before and after, on PostgreSQL 14 or later.
///
/// # Errors
///
/// The server's.
pub fn time_postgres(url: &str) -> Result<[Timing; 2], Failure> {
    let mut client = postgres::Client::connect(url, postgres::NoTls)?;
    let mut sessions = move || -> Result<u64, Failure> {
        // The server counts them with a delay.
        std::thread::sleep(Duration::from_millis(1_500));
        client.batch_execute("select pg_stat_clear_snapshot()")?;
        let query = "select sessions from pg_stat_database where datname = current_database()";
        Ok(client.query_one(query, &[])?.get::<_, i64>(0).unsigned_abs())
    };
    let before = time(
        || on_postgres::before::request(url).map(|_| ()).map_err(Failure::from),
        &mut sessions,
    )?;
    let after = time(|| on_postgres::after::request(url).map(|_| ()), &mut sessions)?;
    Ok([before, after])
}

/// Returns the timings before and after, on MySQL or MariaDB.
///
/// # Errors
///
/// The server's.
pub fn time_mysql(url: &str) -> Result<[Timing; 2], Failure> {
    let mut conn = mysql::Conn::new(url)?;
    let mut sessions = move || -> Result<u64, Failure> {
        let row: Option<(String, u64)> =
            conn.query_first("show global status like 'Connections'")?;
        Ok(row.ok_or("no such counter")?.1)
    };
    let before =
        time(|| on_mysql::before::request(url).map(|_| ()).map_err(Failure::from), &mut sessions)?;
    let after = time(|| on_mysql::after::request(url).map(|_| ()), &mut sessions)?;
    Ok([before, after])
}
