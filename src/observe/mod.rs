//! What a pool reports about itself: counters, snapshots, events and log lines.
//!
//! Nothing here opens, closes or waits; no log call and no user code runs under a
//! lock.

mod call_gate;
mod close_reason;
mod connection_info;
mod counters;
mod emit;
mod encryption;
mod event;
mod event_log;
mod health;
mod histogram;
mod history;
mod log_lines;
mod log_throttle;
#[cfg(feature = "metrics")]
pub mod metrics;
mod outage_log;
mod report;
mod series;
mod server_message;
mod snapshot;
pub mod status;

pub(crate) use call_gate::CALL_LIMIT;
pub use close_reason::CloseReason;
pub use connection_info::{ConnectionInfo, ConnectionStatus, HolderThread};
pub(crate) use counters::{Counters, Uses};
pub use encryption::{Encryption, Protection};
pub use event::{
    CheckedIn, CheckedOut, Closed, LimitChanged, Observer, Opened, OutageEnded, SlowStatement,
};
pub(crate) use event_log::EventLog;
#[cfg(feature = "postgres")]
pub(crate) use event_log::warn;
pub use health::Health;
pub use histogram::Histogram;
pub(crate) use histogram::HistogramCells;
pub(crate) use report::{LimitsReport, PoolReport, Reporting, register};
pub use server_message::ServerMessage;
pub use snapshot::Snapshot;
