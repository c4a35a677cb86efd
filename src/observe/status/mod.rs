//! The pools of this process at one moment: as text for Prometheus, as JSON, and as a page.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use poolwarden::{Pool, Sqlite};
//! use poolwarden::observe::status;
//!
//! let pool = Pool::builder().name("orders").build(Sqlite::memory())?;
//! assert!(status::prometheus().contains("poolwarden_opened_total{"));
//! # drop(pool);
//! # }
//! # Ok::<(), poolwarden::Error>(())
//! ```
//!
//! Nothing here listens: a handler of the program's own server returns what a function of this
//! module returns, behind the program's own access control. See the guide's page
//! [`observability`](crate::guide::observability).

mod clock_text;
mod connections_html;
mod escape;
mod graphics;
mod json;
mod page;
mod prometheus;
mod render;
mod tenants_html;

pub use render::{
    CONTENT_TYPE_HTML, CONTENT_TYPE_JSON, CONTENT_TYPE_PROMETHEUS, html, json, prometheus,
};
