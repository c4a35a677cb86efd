//! The bridge to r2d2, in both directions.
//!
//! [`Manager`] carries the guarantees into a bare `r2d2::Pool`, as far as r2d2
//! lets it; [`Foreign`] makes every r2d2 manager a driver of our own pool.

mod foreign;
mod manager;

pub use foreign::Foreign;
pub use manager::{ManagedConnection, Manager};
