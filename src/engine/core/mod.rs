//! The wait queue of one pool and its state, behind one lock, and the
//! slots that need none.

mod attempts;
mod locked;
mod queue;
mod slots;
mod state;
mod ticket;

pub(crate) use queue::{Core, Counts, Join, Take};
pub(crate) use ticket::{DialId, DialOrder, Failure, Handover, Opened, Ticket};
