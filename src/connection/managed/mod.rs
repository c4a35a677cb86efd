//! A managed connection: the driver's own, with everything that decides whether it
//! may be handed out or kept.

mod age;
mod before_close;
mod cause;
mod check;
mod check_in;
mod closing;
mod final_message;
mod fleet_turn;
mod hook;
#[expect(clippy::module_inception, reason = "one noun per file; this file holds nothing")]
mod managed;
mod parts;
mod ping_elsewhere;
mod verdict;

pub(crate) use cause::CloseCause;
pub(crate) use managed::Managed;
pub(crate) use parts::Parts;
pub(crate) use ping_elsewhere::ping_elsewhere;
pub(crate) use verdict::{CheckinVerdict, CheckoutVerdict};
