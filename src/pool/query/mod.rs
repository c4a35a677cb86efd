//! The pool's own queries: the connection is checked in before the rows are returned.
//!
//! They return no guard, no iterator and no lazy sequence that could hold a connection.
//! Each result is bounded by `row_limit` and `byte_limit`; the connection of a query that
//! exceeds one of them is closed, never drained.

mod closure_end;
mod common;
mod effect;
mod finished;
mod lone;
#[cfg(feature = "mysql")]
mod mysql;
mod own_error;
#[cfg(feature = "postgres")]
mod postgres;
mod retry;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod rollback;
mod row_limit;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transaction_builder;
mod transaction_options;
mod transactional;
mod transactions;

pub use crate::connection::Stopped;
#[cfg(feature = "mysql")]
pub use mysql::{MySqlTransaction, MySqlWriteResult};
pub use transaction_builder::TransactionBuilder;
pub use transactional::Transactional;
