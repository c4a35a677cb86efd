//! `poolwarden watch`: a pool at work, under a small capped read-only load.

mod activity;
mod load;
mod picture;
mod plain;
mod run;
mod screen;
mod server;

pub use run::run;
