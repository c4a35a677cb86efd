//! One binary for all tests: `mod` per subject, names are sentences.

mod common;

mod async_context;
mod autotraits;
mod bare_r2d2;
mod checkout;
mod cleaning;
mod closing;
mod config;
mod deadline;
mod foreign;
mod housekeeping;
mod layers;
mod lifetime;
#[cfg(feature = "sqlite")]
mod locks;
mod model;
mod outage;
mod panic_safety;
mod queue;
mod settings;
mod sizing;
#[cfg(feature = "sqlite")]
mod statement_timeout;
mod suspicion;
mod telling;

// The model's world is built around the crate's own files, which expect their
// neighbours at the crate's root.
#[allow(dead_code)]
#[path = "../../src/budget.rs"]
mod budget;
#[allow(dead_code)]
#[path = "../../src/core.rs"]
mod core;
use model::sync;
