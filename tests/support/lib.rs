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
mod greeting;
mod process;
mod programs;
mod scratch;
mod skip;

pub mod certificates;
pub mod child;
pub mod error_text;
pub mod forked;
pub mod hang;
pub mod haproxy;
pub mod language;
pub mod logs;
pub mod mariadb;
pub mod network;
pub mod odyssey;
pub mod pgbouncer;
pub mod pgpool;
pub mod place;
pub mod port;
pub mod postgres;
pub mod proxy;
pub mod script;
pub mod shortage;
pub mod wait;

/// Returns from the calling test when a server's programs are not installed.
///
/// `support::require!(postgres);`, `(mariadb)`, `(pgbouncer)`, `(pgpool)`, `(odyssey)` or `(haproxy)` is the first line of
/// a test. It says on stderr what was skipped and why; with
/// `REQUIRE_SERVERS=1` in the environment it panics instead.
///
/// `support::require!(postgres, tls);`, `(postgres, translated)` and `(mariadb, mariadb_only)`
/// also return, with the reason, if the installed version lacks the feature under test.
#[macro_export]
macro_rules! require {
    ($server:ident) => {
        if !$crate::$server::available() {
            return;
        }
    };
    ($server:ident, $ability:ident) => {
        if !$crate::$server::available() || !$crate::$server::$ability() {
            return;
        }
    };
}
