//! PostgreSQL through the blocking `postgres` driver.
//!
//! The driver does not expose its socket. Over TCP, if it is configured for TLS without
//! negotiation, it calls a TLS connector with the raw socket right after connecting.
//! We pass it our own connector, which sees the socket before the first byte is sent
//! and then does what the user's `sslmode` asks for. The driver calls no connector for
//! a unix socket: there the descriptor is found by searching for the new one.

mod cancel;
mod client_config;
mod connection_state;
mod connector;
mod driver;
mod fleet_slot;
mod from_settings;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod negotiation;
mod notices;
mod options;
mod passfile;
mod pooler;
mod protocol;
mod reset;
mod server_limits;
mod session_defaults;
mod session_role;
mod statement_cache;
mod tls_connector;
mod transaction_watch;
mod transport;

pub(crate) use connection_state::ConnectionState;
pub use options::Postgres;
pub(crate) use protocol::transaction_scope::{EarlyEnd, TransactionEnd};
pub(crate) use transaction_watch::TransactionWatch;
