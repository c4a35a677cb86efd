//! The options of a pool, their defaults and ranges, and the formats that set them.
//!
//! Pure policy: nothing here connects, and only the functions that read the environment
//! access the process.

mod defaults;
mod isolation_level;
mod options;
mod pool_config;
mod reset;
mod role;
mod server_limits;
mod session_defaults;
pub(crate) mod settings;
mod size_policy;
mod tcp;
mod text_value;
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) mod tls;
mod validation;

pub use defaults::*;
pub use isolation_level::IsolationLevel;
pub use options::PoolOptions;
pub(crate) use pool_config::Config;
pub use reset::Reset;
pub use role::Role;
pub use server_limits::ServerLimits;
pub use session_defaults::SessionDefaults;
pub use size_policy::SizePolicy;
pub use tcp::{Keepalive, TcpOptions};
pub(crate) use text_value::TextValue;
pub use validation::Validation;
