//! Programs before and after the change to poolwarden; `./count` prints how many lines changed.
//!
//! Each pair does the same, and the tests run both.

/// What every function here may fail with.
pub type Failure = Box<dyn std::error::Error>;

pub mod diesel_r2d2;
pub mod mysql_pool;
pub mod per_request;
pub mod r2d2_mysql;
pub mod r2d2_postgres;
pub mod r2d2_sqlite;
