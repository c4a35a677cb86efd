//! Connection settings and pool options from a URL, a connection string, the environment
//! or a file: one parser for all.
//!
//! Every format becomes keys with text values, checked against one table. No error shows
//! a value, nor a key that may be part of an unescaped password.

mod conninfo;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod endpoints;
mod environment;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod key_value;
mod keys;
mod percent;
#[cfg(feature = "serde")]
mod serde;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod settings;
mod similar;
mod spelling;
mod suggestions;
mod system;
#[cfg(any(feature = "mysql", feature = "postgres"))]
mod tls;
mod url;
mod value_type;

#[cfg(test)]
mod tests;

#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) use endpoints::Endpoint;
#[cfg(feature = "postgres")]
pub(crate) use endpoints::{Host, pair, shown};
pub use settings::Settings;
pub use system::System;
