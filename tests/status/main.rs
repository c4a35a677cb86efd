//! What the process reports of its pools: metrics, JSON, the status page, dashboards.
//!
//! In a process of its own, because a report covers all pools of the process.

#[cfg(feature = "serde")]
mod browser;
#[cfg(feature = "metrics")]
mod facade;
mod files;
mod health;
mod page;
mod tenants;
mod text;
#[cfg(feature = "tracing")]
mod tracing_events;
