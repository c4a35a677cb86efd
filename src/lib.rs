//! A blocking connection pool for threaded programs that never hands out a
//! connection the kernel knows is dead, never loses a slot, and says why a
//! connection died.
//!
//! It supports the blocking drivers `postgres` and `mysql` (MySQL and MariaDB),
//! `rusqlite` as the embedded default, and any `r2d2` manager.
//! A [`Pool`] hands out guards that deref in one step to the driver's own
//! connection, and has queries of its own that give the connection back before
//! they return. A [`Manager`] carries the same guarantees into a bare `r2d2::Pool`.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::{Pool, Sqlite};
//!
//! let pool = Pool::builder().max_size(4).build(Sqlite::memory())?;
//! pool.execute_batch("create table t (n integer); insert into t values (1), (2)")?;
//! for n in pool.query("select n from t", [], |row| row.get::<_, i64>(0))? {
//!     pool.execute("insert into t values (?1)", [n * 10])?;
//! }
//! let count: i64 = pool.get()?.query_row("select count(*) from t", [], |row| row.get(0))?;
//! assert_eq!(count, 4);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! | feature | what it adds | extra dependency | default |
//! | --- | --- | --- | --- |
//! | `postgres` | a driver for PostgreSQL | `postgres`, `tokio` | no |
//! | `mysql` | a driver for MySQL and MariaDB | `mysql` | no |
//! | `sqlite` | a driver for SQLite | `rusqlite` | no |
//! | `bundled` | with `sqlite`: compiles SQLite in, in place of linking the system's library | | yes |
//! | `serde` | `Deserialize` for [`Settings`] and [`PoolOptions`], `Serialize` for the options | `serde` | no |
//! | `metrics` | the pools' metrics for the `metrics` facade | `metrics` | no |
//! | `tracing` | log lines as `tracing` events with their fields | `tracing` | no |
//! | `native-tls` | TLS for both server drivers, by the system's library | `native-tls`, `tokio-native-tls` | no |
//! | `rocket` | `#[database]` of Rocket in one line, and a fairing and a request guard for [`Pool`] | `rocket`, `rocket_sync_db_pools`, `serde`, `tokio` | no |
//! | `cli` | the tool `poolwarden`, for `cargo install`; nothing for a library | `crossterm`, and those of both servers and TLS | no |
//!
//! The crates of the drivers are re-exported (`poolwarden::postgres`, `::mysql`,
//! `::rusqlite`, and always `::r2d2`): a program that names them through this crate has
//! the version that its pools use, and needs no dependency of its own on them.
//!
//! # How a check-out works
//!
//! The pool peeks at the socket of an idle connection by
//! `recv(MSG_PEEK | MSG_DONTWAIT)`: one system call. If nothing is there, the
//! connection is handed out. If there is an end or an error, the pool closes the
//! connection, reads the server's final message for the reason, and tries the next
//! one. Only a connection that has been idle for longer than `ping_after` is pinged,
//! within `ping_timeout`. If no connection is idle, a thread of its own opens one
//! while the caller waits in a queue that is served in order of arrival.
//!
//! # How a check-in works
//!
//! A connection is closed if it is past its lifetime, if the driver knows that it is
//! broken, or if its thread began to panic. What else a borrower left behind is reset
//! as [`Reset`] says; what the protocol's own messages show costs nothing.
//!
//! # Blocking
//!
//! The whole crate blocks; every function says on what and for how long at most.
//! Dropping a guard blocks for at most one round trip, and only if something must be
//! reset. Inside an async runtime nothing blocks: resets move to another thread, and
//! what would have to wait returns [`ErrorKind::AsyncContext`]. Runtimes of tokio are known,
//! with the feature `tokio`, which `postgres` includes.
//!
//! # Threads
//!
//! One thread for each connection that is being opened, one for each cancel request, and
//! for the whole process, started when needed and ended when unused: the closer, up to four
//! that drop connections for it, the housekeeper, and one that enforces deadlines. There is
//! no thread per pool.
//!
//! # Where to find what
//!
//! The root has what an application names. [`config`] has the defaults and the less common
//! options, [`query`] what the pool's own transactions lend and return, [`observe`] events, the
//! status page and metrics, [`driver`] the contract for authors of drivers. The [`guide`] has
//! the options, URL keys, TLS modes, retries and operations. [`dropin`] is for programs that connect
//! on each request.

#![warn(unreachable_pub)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql")),
    expect(dead_code, reason = "each driver uses its own part; all are built together too")
)]

pub mod config;
mod connection;
pub mod driver;
mod engine;
mod error;
pub mod guide;
pub mod observe;
mod pool;
mod sys;
mod tenants;

/// What the targets in `tests/fuzz` read with; private parsers otherwise.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::config::settings::fuzzing::*;
    pub use crate::driver::postgres::fuzzing::*;
}

pub use crate::config::isolation_level::IsolationLevel;
pub use crate::config::options::PoolOptions;
pub use crate::config::reset::Reset;
pub use crate::config::role::Role;
pub use crate::config::settings::Settings;
pub use crate::config::size_policy::SizePolicy;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use crate::config::tls::{SslMode, Tls};
pub use crate::config::validation::Validation;
pub use crate::connection::{CheckinAction, SharedPermits};
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use crate::driver::connect::credentials::Credentials;
#[cfg(feature = "mysql")]
pub use crate::driver::mysql::MySql;
#[cfg(feature = "postgres")]
pub use crate::driver::postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use crate::driver::sqlite::Sqlite;
pub use crate::error::{
    BoxError, Classify, ConnectError, Error, ErrorKind, Fault, FaultClass, Result, RetrySafety,
    Usability, fault_of,
};
pub use crate::observe::close_reason::CloseReason;
pub use crate::observe::event::Observer;
pub use crate::observe::health::Health;
pub use crate::observe::snapshot::Snapshot;
pub use crate::pool::query;
pub use crate::pool::r2d2::{Foreign, ManagedConnection, Manager};
#[cfg(feature = "rocket")]
pub use crate::pool::rocket;
pub use crate::pool::{Builder, CancelHandle, Pool, PooledConnection, RetryPolicy};
pub use crate::sys::secret::Secret;
pub use crate::tenants::{Tenants, dropin};

#[cfg(feature = "mysql")]
#[doc(no_inline)]
pub use ::mysql;
#[cfg(feature = "postgres")]
#[doc(no_inline)]
pub use ::postgres;
#[doc(no_inline)]
pub use ::r2d2;
#[cfg(feature = "sqlite")]
#[doc(no_inline)]
pub use ::rusqlite;
