//! Closing: one thread of the process drops driver connections and releases their
//! permits when the server has confirmed the close.

mod cancel_sender;
mod close_job;
mod close_queue;
mod closing_socket;
mod dropper;

pub(crate) use cancel_sender::Stop;
pub(crate) use close_job::{CloseJob, CloseMode};
pub(crate) use close_queue::submit;
