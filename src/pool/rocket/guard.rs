//! The request guard of a pool.

use super::database::{Database, StoredPool};
use crate::pool::Pool;
use ::rocket::http::Status;
use ::rocket::request::{FromRequest, Outcome, Request};
use ::rocket::tokio::task::spawn_blocking;
use ::rocket::{Ignite, Rocket, Sentinel};
use std::fmt;

/// A request guard: the pool of a [`Database`], and a thread that may block.
///
/// It takes no connection by itself. A launch fails if a handler asks for it and the fairing
/// of the database is not attached.
pub struct Db<K: Database> {
    pool: Pool<K::Driver>,
}

impl<K: Database> Db<K> {
    /// Runs work on one of Rocket's threads that may block, with the pool, and returns what
    /// it returns.
    ///
    /// If the client goes away, Rocket drops the handler; the work still runs to its end.
    /// Rocket has 512 such threads, unless `max_blocking` is set: with `max_waiting` below
    /// that, an outage of the database does not occupy all of them.
    ///
    /// # Panics
    ///
    /// If the work panics, with its panic; Rocket answers 500.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pool<K::Driver>) -> T + Send + 'static,
    ) -> T {
        let pool = self.pool.clone();
        let done = spawn_blocking(move || work(&pool)).await;
        // The runtime cancels no work that has begun; what has not begun when it shuts down is
        // never awaited to an end.
        done.unwrap_or_else(|ended| match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(ended) => panic!("the runtime shuts down: {ended}"),
        })
    }

    /// Returns the pool, for what does not block: [`Pool::snapshot`], for example.
    pub fn pool(&self) -> &Pool<K::Driver> {
        &self.pool
    }
}

impl<K: Database> fmt::Debug for Db<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("pool", &self.pool).finish()
    }
}

#[::rocket::async_trait]
impl<'r, K: Database> FromRequest<'r> for Db<K> {
    type Error = ();

    async fn from_request(request: &'r Request<'_>) -> Outcome<Db<K>, ()> {
        match request.rocket().state::<StoredPool<K>>() {
            Some(stored) => Outcome::Success(Db { pool: stored.pool.clone() }),
            None => Outcome::Error((Status::InternalServerError, ())),
        }
    }
}

impl<K: Database> Sentinel for Db<K> {
    fn abort(rocket: &Rocket<Ignite>) -> bool {
        let is_missing = rocket.state::<StoredPool<K>>().is_none();
        if is_missing {
            log::error!(
                target: "poolwarden",
                "databases.{}: a handler asks for this pool, but its fairing is not attached: \
                 attach {}::fairing()",
                K::NAME,
                std::any::type_name::<K>()
            );
        }
        is_missing
    }
}
