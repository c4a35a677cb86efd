//! What an error means, as two separate answers: is the connection still usable,
//! and may the work be repeated? One table for each driver.

mod classify;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod fault;
pub(crate) mod io;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
mod of_driver;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub use classify::{Classify, fault_of};
pub use fault::{Fault, FaultClass, RetrySafety, Usability};
pub(crate) use of_driver::of_driver;
