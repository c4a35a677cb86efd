//! The guide: what does not fit beside a function.
//!
//! | page | what it answers |
//! | --- | --- |
//! | [`options`] | every option of a pool, its default and range, and when to change it |
//! | [`settings`] | URLs, key lists, environments and files, and every key in them |
//! | [`tls`] | how much TLS a connection has, and what each mode proves |
//! | [`outcomes`] | retries, faults, and what an error says about the work |
//! | [`sessions`] | what a borrower leaves behind, and what the next one finds |
//! | [`sizing`] | how many connections, in one process and in several |
//! | [`fleet`] | one cap on the connections of several processes |
//! | [`lifetimes`] | which option closes what, and what to set behind a proxy |
//! | [`frameworks`] | axum, actix-web, Rocket, Diesel; readiness and drain |
//! | [`tenants`] | one cap over several pools, and a pool for each tenant |
//! | [`operations`] | logs, outages, credentials, fork |
//! | [`observability`] | events, metrics, the status page, dashboards and alerts |
//! | [`platforms`] | what was tested where, and what the pool cannot see |
//! | [`coming_from`] | the words of r2d2, mysql::Pool, HikariCP, pgxpool, SQLAlchemy, database/sql |

#[doc = include_str!("options.md")]
pub mod options {}

#[doc = include_str!("settings.md")]
pub mod settings {}

#[doc = include_str!("tls.md")]
pub mod tls {}

#[doc = include_str!("outcomes.md")]
pub mod outcomes {}

#[doc = include_str!("sessions.md")]
pub mod sessions {}

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("observability.md")]
pub mod observability {}

#[doc = include_str!("sizing.md")]
pub mod sizing {}

#[doc = include_str!("fleet.md")]
pub mod fleet {}

#[doc = include_str!("lifetimes.md")]
pub mod lifetimes {}

#[doc = include_str!("tenants.md")]
pub mod tenants {}

#[doc = include_str!("frameworks.md")]
pub mod frameworks {}

#[doc = include_str!("platforms.md")]
pub mod platforms {}

#[doc = include_str!("coming_from.md")]
pub mod coming_from {}
