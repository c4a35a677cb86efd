//! Sockets, timers, threads and other services of the operating system; nothing here
//! knows a database, a driver or a pool.

pub(crate) mod backoff;
pub(crate) mod backtrace;
pub(crate) mod catch_panic;
pub(crate) mod clock;
pub(crate) mod counted;
pub(crate) mod deadlines;
pub(crate) mod descriptors;
pub(crate) mod housekeeper;
pub(crate) mod human_duration;
pub(crate) mod one_line;
pub(crate) mod process;
pub(crate) mod secret;
pub(crate) mod socket_search;
pub(crate) mod socket_state;
pub(crate) mod sockets;
pub(crate) mod spawn;
pub(crate) mod stalled;
pub(crate) mod sync;
pub(crate) mod thread_number;
pub(crate) mod unix_sockets;
pub(crate) mod watcher;
