//! One binary for all tests: `mod` per subject, names are sentences.

mod common;

mod async_context;
mod autotraits;
mod bare_r2d2;
mod blocking_observers;
#[cfg(feature = "sqlite")]
mod byte_limit;
mod checkout;
mod cleaning;
mod closing;
mod config;
mod deadline;
mod effective_size;
mod events;
mod foreign;
mod fork;
mod holders;
mod hooks;
mod housekeeping;
mod hurry;
mod keepalive_ping;
mod layers;
mod lifetime;
#[cfg(feature = "sqlite")]
mod locks;
mod log_lines;
mod log_texts;
mod model;
mod observed;
mod outage;
mod panic_safety;
mod plain_driver;
mod query_texts;
mod queue;
mod reexports;
mod session_defaults;
mod settings;
mod shared_permits;
mod shortages;
#[cfg(feature = "sqlite")]
mod sqlite_before_connect;
#[cfg(feature = "sqlite")]
mod sqlite_outcomes;
#[cfg(feature = "sqlite")]
mod sqlite_own_errors;
#[cfg(feature = "sqlite")]
mod sqlite_sessions;
#[cfg(feature = "sqlite")]
mod sqlite_shortage;
#[cfg(feature = "sqlite")]
mod sqlite_transactions;
#[cfg(feature = "sqlite")]
mod statement_timeout;
mod supply;
mod suspend;
mod tenants;
mod texts;
mod verification;
mod watcher;

// The model is built around the crate's own files, included by their paths.
#[expect(dead_code, unused_imports, reason = "the crate uses more of it than the model does")]
#[path = "../../src/engine/core/mod.rs"]
mod core;
#[path = "../../src/connection/permit_counts.rs"]
mod permit_counts;
#[expect(dead_code, unused_imports, reason = "the crate uses more of it than the model does")]
#[path = "../../src/connection/permit_group/mod.rs"]
mod permit_group;
#[expect(dead_code, reason = "the crate uses more of it than the model does")]
#[path = "../../src/connection/permits.rs"]
mod permits;
use model::sync;

/// The crate's own paths to these files.
mod connection {
    pub(crate) use crate::{permit_counts, permit_group, permits};
}
mod sys {
    pub(crate) use crate::sync;
}
