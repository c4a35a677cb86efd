//! Statement timeouts and cancel requests of one connection.

mod cancel_request;
mod running;
mod timer;
mod timing;

pub use timer::Stopped;
pub(crate) use timer::{CancelState, SlowStatements, StatementTimer, TimerSettings};
