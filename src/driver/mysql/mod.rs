//! MySQL and MariaDB through the blocking `mysql` driver.
//!
//! The driver exposes its socket only after the handshake. While it dials, the pool finds
//! the socket by a marker: a receive timeout that no application would set.

mod denied_login;
mod driver;
mod error_packet;
mod fleet_slot;
mod from_settings;
mod kill_query;
mod options;
mod proven;
mod reset;
mod server_limits;
mod session;
mod session_defaults;
mod socket_options;
mod tls;
mod transaction_state;

pub use options::MySql;
pub(crate) use proven::Proof;
pub(crate) use session::{ConnectionState, is_mariadb};
pub(crate) use transaction_state::{Seen, reported_permanent_changes};
