//! What a pool tells about itself: counters, snapshots, events, log lines.
//!
//! Nothing here opens, closes or waits; no log call and no user code runs under
//! a lock.

mod counters;
mod encryption;
mod event;
mod journal;
mod reason;
mod snapshot;

pub(crate) use counters::Counters;
pub use encryption::{Encryption, Protection};
pub use event::{Closed, Observer, Opened};
pub(crate) use journal::Journal;
#[cfg(feature = "postgres")]
pub(crate) use journal::warn;
pub use reason::{CloseReason, Words};
pub use snapshot::Snapshot;
