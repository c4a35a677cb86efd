//! The bridge to r2d2, in both directions.
//!
//! [`Manager`] provides the guarantees in a bare `r2d2::Pool`, as far as r2d2 allows;
//! [`Foreign`] turns any r2d2 manager into a driver of our own pool.

mod foreign;
mod foreign_socket;
mod manager;

pub use foreign::Foreign;
pub use manager::{ManagedConnection, Manager};
