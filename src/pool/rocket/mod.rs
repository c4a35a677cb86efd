//! Rocket: pools that its configuration describes.
//!
//! There are two ways, which read the same table of Rocket's configuration:
//!
//! ```toml
//! [default.databases.orders]
//! url = "postgres://app@db1/orders?sslmode=verify-full"
//! sslrootcert = "/etc/ssl/db-ca.pem"
//! password = "…"
//! pool_size = 16        # of the pool: its max_size
//! timeout = 3           # in seconds: its checkout_timeout
//! max_lifetime = "10m"  # any other option by its name
//! ```
//!
//! | | a pool of this crate | `#[database]` of `rocket_sync_db_pools` |
//! | --- | --- | --- |
//! | declared as | `impl Database for Orders` | `struct Orders(ManagedConnection<Postgres>)` |
//! | the pool is | [`Pool`](crate::Pool) | r2d2's, with [`Manager`](crate::Manager) |
//! | a handler gets | the pool, by [`Db`] | one connection, by the struct |
//! | work runs by | [`Db::run`] | `run` of the struct |
//! | saturated | 503 with `Retry-After`, and the reason in the log | 503 |
//! | server away | the error, immediately | 503, after `timeout` |
//! | `max_size`, `checkout_timeout` | either name | only as `pool_size`, `timeout` |
//!
//! A key that does not exist and a value that cannot be used are errors at launch, which
//! name the key and never show the value.
//!
//! A pool of this crate, with a fairing and a request guard:
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::Sqlite;
//! use poolwarden::rocket::{Database, Db, Failure};
//! use rocket::{get, routes};
//!
//! struct Orders;
//!
//! impl Database for Orders {
//!     type Driver = Sqlite;
//!     const NAME: &'static str = "orders";
//! }
//!
//! #[get("/orders")]
//! async fn orders(db: Db<Orders>) -> Result<String, Failure> {
//!     let sql = "select name from orders";
//!     let names = db.run(|pool| pool.query(sql, [], |row| row.get::<_, String>(0))).await?;
//!     Ok(names.join("\n"))
//! }
//!
//! let rocket = rocket::build().attach(Orders::fairing()).mount("/", routes![orders]);
//! # }
//! ```
//!
//! One connection for each request, from a pool of r2d2 (the program depends on
//! `rocket_sync_db_pools` with `default-features = false`):
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::{ManagedConnection, Sqlite};
//! use rocket_sync_db_pools::database;
//!
//! #[database("orders")]
//! struct Orders(ManagedConnection<Sqlite>);
//!
//! let rocket = rocket::build().attach(Orders::fairing());
//! # }
//! ```
//!
//! # A handler that is a plain `fn`
//!
//! Rocket calls it on a thread of the runtime, as it does an `async fn`. Whatever would
//! block there returns [`AsyncContext`](crate::ErrorKind::AsyncContext), which [`Failure`]
//! answers with 500. Write an `async fn`, and block within [`Db::run`].

mod database;
mod failure;
mod guard;
mod poolable;
mod table;

pub use database::{Database, PoolFairing};
pub use failure::Failure;
pub use guard::Db;
