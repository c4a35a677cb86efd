//! `poolwarden doctor`: examines a database server as a pool sees it, and recommends
//! settings.

mod advice;
mod databases;
mod explanation;
pub mod haproxy;
mod json;
mod page;
mod pgbouncer;
mod queries;
mod report;
mod section;
pub mod url;

pub use report::examine;
