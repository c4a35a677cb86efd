//! What applications use: the pool, its builder, guards, the pool's own queries, and the
//! bridge to r2d2.

mod builder;
mod builder_finish;
mod builder_hooks;
mod builder_observe;
mod builder_permits;
mod builder_session;
mod builder_validation;
mod cancel_handle;
mod constructors;
mod get_with;
mod guard;
#[expect(clippy::module_inception, reason = "one noun per file; mod.rs only declares")]
mod pool;
pub mod query;
pub(crate) mod r2d2;
mod retry_policy;
#[cfg(feature = "rocket")]
pub mod rocket;
mod sharing;

pub use builder::Builder;
pub use cancel_handle::CancelHandle;
pub use guard::PooledConnection;
pub use pool::Pool;
pub use retry_policy::RetryPolicy;
