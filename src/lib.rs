//! A blocking connection pool for threaded programs that never hands out a
//! connection the kernel knows is dead, never loses a slot, and says why a
//! connection died.
//!
//! It is made for the blocking drivers `postgres` and `mysql` (MySQL and MariaDB),
//! with `rusqlite` as the embedded default, and for every `r2d2` manager there is.
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
//! | `sqlite` | a driver for SQLite, with SQLite compiled in | `rusqlite` | no |
//! | `serde` | `Deserialize` for [`Settings`] and [`Knobs`], `Serialize` for the knobs | `serde` | no |
//! | `native-tls` | TLS for both server drivers, by the system's library | `native-tls`, `tokio-native-tls` | no |
//!
//! # How a check-out goes
//!
//! An idle connection is looked at by `recv(MSG_PEEK | MSG_DONTWAIT)` on its
//! socket: one system call. Nothing there: it is handed out. An end or an error: it
//! is closed, the server's parting words are read, and the next one is looked at.
//! Only a connection that idled for longer than `ping_after` is pinged, within
//! `ping_timeout`. If none is idle, a thread of its own opens one while the caller
//! waits in a queue that is served in order of arrival.
//!
//! # How a check-in goes
//!
//! A connection that is past its lifetime, that the driver knows is broken, or whose
//! thread began to panic is closed. What else a borrower left behind is cleaned as
//! [`Reset`] says: what the protocol's own messages tell costs nothing.
//!
//! # Blocking
//!
//! The whole crate blocks, and says on every function on what and for how long at
//! most. Dropping a guard blocks for one round trip at most, and only if something
//! must be cleaned away. Inside an async runtime nothing blocks: cleaning goes to
//! another thread, and what must wait is refused with [`ErrorKind::AsyncContext`].
//!
//! # Threads
//!
//! One thread for each connection that is being opened, one for each statement that is
//! being cancelled, and four for the whole process, started when needed and gone when
//! unused: one closes, one drops what is closed, one keeps house, one enforces
//! deadlines. There are none for each pool.

#![cfg_attr(docsrs, feature(doc_cfg))]
// Each driver uses its part of the machinery; what none of all uses is still found.
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code)
)]

mod budget;
mod builder;
mod cap;
mod clock;
mod closer;
pub mod config;
mod core;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod credentials;
mod dial;
mod driver;
mod engine;
mod error;
mod fence;
mod guard;
mod keeper;
mod lifetime;
mod limits;
mod liveness;
mod managed;
#[cfg(feature = "mysql")]
mod mysql;
mod observe;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod preference;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod protection;
mod query;
mod r2d2;
mod reset;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod resolve;
mod retry;
mod role;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod route;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod rows;
mod secret;
mod settings;
#[cfg(feature = "sqlite")]
mod sqlite;
mod sync;
mod tcp;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod tls;
mod watchdog;

pub use crate::builder::Builder;
pub use crate::cap::Cap;
pub use crate::config::{Knobs, Validation};
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use crate::credentials::Credentials;
pub use crate::driver::{
    Attempt, Cancelled, Canceller, Driver, Expired, Gauge, Link, Progress, Request, Unsolicited,
};
pub use crate::error::{
    BoxError, Classify, ConnectError, ConnectFault, ConnectionIdentity, Error, ErrorKind, Fault,
    FaultClass, Levels, Phase, Repeat, Result, Usability, fault_of,
};
pub use crate::guard::{CancelHandle, PooledConnection};
pub use crate::limits::ServerLimits;
pub use crate::liveness::Descriptor;
pub use crate::managed::Stopped;
pub use crate::observe::{
    CloseReason, Closed, Encryption, Observer, Opened, Protection, Snapshot, Words,
};
pub use crate::pool::Pool;
pub use crate::r2d2::{Foreign, ManagedConnection, Manager};
pub use crate::reset::{Cleaned, Handling, Leftovers, Reset};
pub use crate::retry::RetryPolicy;
pub use crate::role::Role;
pub use crate::secret::Secret;
pub use crate::settings::{FromSettings, Settings, System};
pub use crate::tcp::{Keepalive, TcpOptions};
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use crate::tls::{ChannelBinding, ClientIdentity, SslMode, SslNegotiation, Tls};

#[cfg(feature = "mysql")]
pub use crate::mysql::MySql;
#[cfg(feature = "postgres")]
pub use crate::postgres::{Pooler, Postgres};
#[cfg(feature = "mysql")]
pub use crate::query::MySqlTransaction;
#[cfg(feature = "sqlite")]
pub use crate::sqlite::Sqlite;
