//! What a pool reports about itself: the events of an [`Observer`], the
//! connections of a pool, the parts of a [`Snapshot`], a status page, and
//! metrics.
//!
//! Nothing here opens, closes or waits; no log call and no user code runs under a
//! lock.

mod call_gate;
pub(crate) mod close_reason;
mod connection_info;
mod counters;
mod emit;
mod encryption;
pub(crate) mod event;
mod event_log;
pub(crate) mod health;
mod histogram;
mod history;
mod log_lines;
mod log_throttle;
#[cfg(feature = "metrics")]
pub mod metrics;
mod outage_log;
mod report;
mod samples;
mod series;
mod server_message;
pub(crate) mod snapshot;
pub mod status;
mod tenant_label;
mod tenant_series;
mod tenant_totals;
mod tenants_report;

pub use crate::error::{ConnectionIdentity, Levels};
pub(crate) use call_gate::CALL_LIMIT;
pub(crate) use close_reason::CloseReason;
pub use connection_info::{ConnectionInfo, ConnectionStatus, HolderThread};
pub(crate) use counters::{Counters, Uses};
pub use encryption::{Encryption, Protection};
pub(crate) use event::Observer;
pub use event::{
    CheckedIn, CheckedOut, Closed, LimitChanged, LostTogether, Opened, OutageEnded, SlowStatement,
};
pub(crate) use event_log::EventLog;
#[cfg(feature = "postgres")]
pub(crate) use event_log::warn;
pub(crate) use health::Health;
pub use histogram::Histogram;
pub(crate) use histogram::HistogramCells;
pub(crate) use history::PastOutage;
pub(crate) use report::{LimitsReport, PoolReport, Reporting, register};
pub use server_message::ServerMessage;
pub(crate) use snapshot::Snapshot;
pub(crate) use tenant_label::tenant_label;
pub(crate) use tenant_series::TenantSeries;
pub(crate) use tenant_totals::TenantTotals;
pub(crate) use tenants_report::{SharedPermitsReport, TenantLevels, TenantReport, TenantsReport};
