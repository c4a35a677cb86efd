//! What stands between a pool and its server in the field: what it does to idle
//! connections no caller ever notices, and the rest is told in its own words.

mod bouncer;
mod haproxy;
mod long_lived;

use crate::flavour::{Flavour, Ours, Pg, fill_and, herd};
use poolwarden::{Driver, Pool, Postgres};
use std::time::Duration;
use support::wait::eventually;

const SOON: Duration = Duration::from_secs(10);

/// PostgreSQL behind a pooler that lends a session for a transaction: nothing is
/// prepared, as the next message may reach another session.
#[derive(Clone)]
struct Simple(Pg);

impl Flavour for Simple {
    type Driver = Postgres;
    type Connection = postgres::Client;

    fn driver(&self) -> Postgres {
        self.0.driver()
    }

    fn open(&self) -> Result<postgres::Client, String> {
        self.0.open()
    }

    /// Only its first statement gets a client a session of the server.
    fn settle_in(&self, connection: &mut postgres::Client) {
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

/// Does an event to a pool of idle connections that none of them feels: callers
/// see no error, and nothing was closed.
fn unfelt<F: Flavour>(flavour: &F, what: &str, event: impl FnOnce()) -> Ours<F> {
    let pool = Pool::builder().max_size(4).build(flavour.driver()).expect("the server is there");
    let ours: Ours<F> = Ours(pool);
    fill_and(&ours.0, |connection| flavour.settle_in(connection));
    event();
    assert_eq!(herd(&ours, 8, 20), Vec::<String>::new(), "{what}");
    assert_eq!(ours.0.snapshot().closed(), 0, "{what}: {}", ours.0.snapshot());
    ours
}

/// After whatever happened: nothing is in use or on its way, and all places can be
/// taken at the same time.
fn assert_all_places<D: Driver>(pool: &Pool<D>) {
    let all = || (0..pool.snapshot().max_size).map(|_| pool.get()).collect::<Result<Vec<_>, _>>();
    let all = all().unwrap_or_else(|error| panic!("a place is lost: {error}"));
    assert_eq!(pool.snapshot().in_use as usize, all.len());
    drop(all);
    let balanced = eventually(SOON, || {
        let books = pool.snapshot();
        books.open == books.idle && (books.pending, books.closing, books.waiting) == (0, 0, 0)
    });
    assert!(balanced, "{}", pool.snapshot());
}
