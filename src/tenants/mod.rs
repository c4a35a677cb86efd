//! Pools by key under one set of permits.

#[expect(clippy::module_inception, reason = "one noun per file; mod.rs only declares")]
mod tenants;

pub use tenants::Tenants;
