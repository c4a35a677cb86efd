//! Proxies and poolers between a pool and its server: what they do to idle
//! connections no caller notices, and other failures are reported with their own messages.

mod haproxy;
mod keepalive_ping;
mod long_lived;
mod odyssey;
mod pgbouncer;
mod pgpool;

use crate::variant::{Ours, Pg, Variant, fill_and, run_threads};
use poolwarden::driver::Driver;
use poolwarden::{Pool, Postgres};
use std::time::Duration;
use support::wait::eventually;

const SOON: Duration = Duration::from_secs(10);

/// PostgreSQL behind a pooler in transaction mode: no statement is
/// prepared, as the next message may reach another session.
#[derive(Clone)]
struct Simple(Pg);

impl Variant for Simple {
    type Driver = Postgres;
    type Connection = postgres::Client;

    fn driver(&self) -> Postgres {
        self.0.driver()
    }

    fn open(&self) -> Result<postgres::Client, String> {
        self.0.open()
    }

    /// Only its first statement assigns a server session to a client.
    fn prepare_idle(&self, connection: &mut postgres::Client) {
        Simple::ask(connection).expect("an answer");
    }

    fn ask(connection: &mut postgres::Client) -> Result<(), String> {
        let answer = connection.simple_query("select 20 + 22").map_err(|e| e.to_string())?;
        let sum = answer.iter().find_map(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        if sum == Some("42") { Ok(()) } else { Err(format!("a wrong answer: {sum:?}")) }
    }
}

/// Applies an event to a pool of idle connections that affects none of them: callers
/// see no error, and nothing was closed.
fn unnoticed<F: Variant>(variant: &F, what: &str, event: impl FnOnce()) -> Ours<F> {
    // A reset that takes long on a loaded computer is no reason for a close.
    let builder = Pool::builder().max_size(4).ping_timeout(Duration::from_secs(30));
    let pool = builder.build(variant.driver()).expect("the server accepts");
    let ours: Ours<F> = Ours(pool);
    fill_and(&ours.0, |connection| variant.prepare_idle(connection));
    event();
    assert_eq!(run_threads(&ours, 8, 20), Vec::<String>::new(), "{what}");
    assert_eq!(ours.0.snapshot().closed(), 0, "{what}: {}", ours.0.snapshot());
    ours
}

/// Asserts that no connection is in use or being opened, and that all permits can be
/// taken at the same time.
fn assert_all_places<D: Driver>(pool: &Pool<D>) {
    let all =
        || (0..pool.snapshot().levels.max_size).map(|_| pool.get()).collect::<Result<Vec<_>, _>>();
    let all = all().unwrap_or_else(|error| panic!("a permit is lost: {error}"));
    assert_eq!(pool.snapshot().levels.in_use as usize, all.len());
    drop(all);
    let balanced = eventually(SOON, || {
        let books = pool.snapshot();
        books.levels.open == books.levels.idle
            && (books.levels.pending, books.levels.closing, books.levels.waiting) == (0, 0, 0)
    });
    assert!(balanced, "{}", pool.snapshot());
}
