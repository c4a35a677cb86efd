//! Real servers, a fault proxy and scripted peers for the tests and the benches.
//!
//! Every server here is a private one: started by this process as an
//! unprivileged user, on a free odd port, in a temporary folder, and gone when
//! its value is dropped or the process ends, however it ends. Nothing depends
//! on a server that happens to run, and nothing here uses `poolwarden` itself.

#![deny(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations, unreachable_pub)]

mod account;
mod copy;
mod daemon;
mod process;
mod programs;
mod scratch;
mod skip;

pub mod certificates;
pub mod haproxy;
pub mod logs;
pub mod mariadb;
pub mod network;
pub mod pgbouncer;
pub mod port;
pub mod postgres;
pub mod proxy;
pub mod script;
pub mod wait;
pub mod words;

/// Returns from the calling test when a server's programs are not installed.
///
/// `support::require!(postgres);`, `(mariadb)`, `(pgbouncer)` or `(haproxy)` is the first line of
/// a test. It says on stderr what was skipped and why; with
/// `REQUIRE_SERVERS=1` in the environment it panics instead.
#[macro_export]
macro_rules! require {
    ($server:ident) => {
        if !$crate::$server::available() {
            return;
        }
    };
}
