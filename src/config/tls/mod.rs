//! The TLS options, with libpq's names, and their files.

#[cfg(feature = "native-tls")]
mod files;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod tls;

#[cfg(feature = "native-tls")]
pub(crate) use files::{identity, roots};
pub use tls::{ChannelBinding, ClientIdentity, SslMode, SslNegotiation, Tls};
pub(crate) use tls::{HAS_TLS, Verification};
