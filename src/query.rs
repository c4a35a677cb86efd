//! The pool's own queries: the connection is back before the rows are returned.
//!
//! No guard, no iterator and no lazy sequence of theirs can hold a connection.
//! Each result is bounded by `row_limit`; a query that goes over it is stopped and
//! its connection closed, never drained.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
mod repeat;
#[cfg(feature = "sqlite")]
mod sqlite;
mod work;

#[cfg(feature = "mysql")]
pub use mysql::MySqlTransaction;
