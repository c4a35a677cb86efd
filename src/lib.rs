//! skeleton docs

#![cfg_attr(docsrs, feature(doc_cfg))]

mod budget;
mod builder;
mod cap;
mod clock;
mod closer;
pub mod config;
mod core;
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
mod query;
mod r2d2;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod resolve;
mod retry;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod sync;
mod watchdog;

pub use crate::builder::Builder;
pub use crate::cap::Cap;
pub use crate::config::Validation;
pub use crate::driver::{Attempt, Canceller, Driver, Expired, Link, Unsolicited};
pub use crate::error::{
    BoxError, ConnectError, ConnectFault, Error, ErrorKind, Levels, Phase, Result,
};
pub use crate::guard::PooledConnection;
pub use crate::limits::ServerLimits;
pub use crate::liveness::Descriptor;
pub use crate::observe::{CloseReason, Closed, Observer, Opened, Snapshot, Words};
pub use crate::pool::Pool;
pub use crate::r2d2::{Foreign, ManagedConnection, Manager};

#[cfg(feature = "mysql")]
pub use crate::mysql::MySql;
#[cfg(feature = "postgres")]
pub use crate::postgres::Postgres;
#[cfg(feature = "sqlite")]
pub use crate::sqlite::Sqlite;
