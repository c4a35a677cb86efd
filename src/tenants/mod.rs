//! What spans several pools of a process: pools by key under one set of permits, and the registry
//! behind drop-in connections.

pub mod dropin;
mod tenant_pools;
#[expect(clippy::module_inception, reason = "one noun per file; mod.rs only declares")]
mod tenants;

pub use tenants::Tenants;
