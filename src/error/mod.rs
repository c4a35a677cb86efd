//! The crate's errors, and what each error means for a connection and for the work.

mod cause;
mod connect_error;
mod connection_identity;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod error;
pub(crate) mod fault;
mod foreign;
mod kind;
mod levels;

pub use connect_error::{ConnectError, Phase};
pub use connection_identity::ConnectionIdentity;
pub use error::{Error, Result};
pub use fault::{Classify, Fault, FaultClass, RetrySafety, Usability, fault_of};
pub use foreign::BoxError;
pub use kind::ErrorKind;
pub use levels::Levels;
