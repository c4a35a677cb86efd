//! How full a pool was at one moment.

use std::fmt;

/// How full a pool was at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Levels {
    /// Most connections that may be open, being opened and being closed.
    pub max_size: u32,
    /// Connections that are open: idle and in use.
    pub open: u32,
    /// Connections that are checked out.
    pub in_use: u32,
    /// Connections in the pool that no caller has checked out.
    pub idle: u32,
    /// Connections that are being opened.
    pub pending: u32,
    /// Connections that the pool closed and the server has not confirmed.
    pub closing: u32,
    /// Callers waiting for a connection.
    pub waiting: u32,
}

impl Levels {
    /// Adds the levels of another pool, but for its maximum size.
    pub(crate) fn add(&mut self, other: &Levels) {
        self.open += other.open;
        self.in_use += other.in_use;
        self.idle += other.idle;
        self.pending += other.pending;
        self.closing += other.closing;
        self.waiting += other.waiting;
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "max size {}, in use {}, idle {}, pending {}, closing {}, waiting {}",
            self.max_size, self.in_use, self.idle, self.pending, self.closing, self.waiting
        )
    }
}
