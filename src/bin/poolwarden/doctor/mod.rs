//! `poolwarden doctor`: examines a database server as a pool sees it, and recommends
//! settings.

mod advice;
mod databases;
mod explanation;
mod json;
mod page;
mod queries;
mod report;
mod section;
pub mod url;

pub use report::examine;
