//! One binary for all tests: `mod` per subject, names are sentences.

mod common;

mod async_context;
mod autotraits;
mod bare_r2d2;
mod checkout;
mod closing;
mod config;
mod deadline;
mod foreign;
mod housekeeping;
mod lifetime;
mod outage;
mod panic_safety;
mod queue;
mod telling;
