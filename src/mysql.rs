//! MySQL and MariaDB through the blocking `mysql` driver.
//!
//! The driver shows its socket once the handshake is over. While it dials, the
//! socket is found by a mark: a receive time-out that nobody would choose.

mod cleaning;
mod configure;
mod control;
mod driver;
mod limits;
mod security;
mod socket_options;
mod words;

pub use driver::MySql;
