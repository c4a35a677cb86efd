//! The defaults of the options, and the values of the less common ones.
//!
//! The guide's page [`options`](crate::guide::options) has them all with their ranges.
//!
//! Pure policy: nothing here connects, and only the functions that read the environment
//! access the process.

mod defaults;
mod fleet_cap;
pub(crate) mod isolation_level;
pub(crate) mod options;
mod pool_config;
#[cfg(feature = "postgres")]
mod pooler;
pub(crate) mod reset;
pub(crate) mod role;
mod server_limits;
mod session_defaults;
pub(crate) mod settings;
pub(crate) mod size_policy;
mod tcp;
mod text_value;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod tls;
pub(crate) mod validation;

pub use defaults::*;
pub use fleet_cap::FleetCap;
pub(crate) use isolation_level::IsolationLevel;
pub(crate) use options::{Config, PoolOptions};
#[cfg(feature = "postgres")]
pub use pooler::Pooler;
pub(crate) use reset::Reset;
pub(crate) use role::Role;
pub use server_limits::ServerLimits;
pub use session_defaults::SessionDefaults;
pub use settings::System;
pub(crate) use size_policy::SizePolicy;
pub use tcp::{Keepalive, TcpOptions};
pub(crate) use text_value::TextValue;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub use tls::{ChannelBinding, ClientIdentity, SslNegotiation};
pub(crate) use validation::Validation;
