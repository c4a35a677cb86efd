//! Who gets which connection: check-out, the wait queue, dials, maintenance.
//!
//! `core` decides under the one lock of a pool; the other files carry its decisions
//! out without a lock.

mod checkout;
mod checkout_error;
mod core;
pub(crate) mod dial;
mod dial_report;
mod dial_task;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod engine;
mod health;
mod keepalive;
mod lease;
mod limits;
mod maintenance;
mod ping;
mod prepare;
mod refill_pace;
mod report;
mod sharing;
mod suspension;
mod use_count;
mod wait_phase;

pub(crate) use checkout::Blocking;
pub(crate) use engine::Engine;
pub(crate) use lease::Lease;
pub(crate) use prepare::Prepared;
pub(crate) use use_count::UseCounts;
