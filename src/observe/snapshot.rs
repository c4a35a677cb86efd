//! A pool's state at one moment, for people and for metrics.

use super::counters::Counters;
use super::encryption::Encryption;
use super::reason::CloseReason;
use crate::error::Levels;
use std::fmt;

/// A pool's levels at one moment and its running totals.
///
/// The levels (open, idle, in use, pending, waiting) are read in one step and
/// agree with one another; the totals may be a few operations away from them or behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The pool's name.
    pub name: String,
    /// Level: most connections that may be open, being opened and being closed.
    pub max_size: u32,
    /// Level: connections that are open, idle or in use.
    pub open: u32,
    /// Level: connections that wait in the pool for a caller.
    pub idle: u32,
    /// Level: connections that are checked out.
    pub in_use: u32,
    /// Level: connections that are being opened.
    pub pending: u32,
    /// Level: connections closed by us whose end the server has not confirmed.
    pub closing: u32,
    /// Level: closed connections that the server did not confirm within
    /// `close_grace`; their permits went back, the server may still hold them.
    pub abandoned: u32,
    /// Level: callers that wait for a connection.
    pub waiting: u32,
    /// Level: how the least protected of the open connections is protected on its
    /// way; `None` if there is none that leaves this computer's own sockets and
    /// memory, or the driver does not say.
    pub encryption: Option<Encryption>,
    /// Total: connections opened.
    pub opened: u64,
    /// Total: attempts to open a connection.
    pub connect_attempts: u64,
    /// Total: attempts to open a connection that failed.
    pub connect_failures: u64,
    /// Total: connections handed out.
    pub checkouts: u64,
    /// Total: check-outs that ran into their deadline.
    pub timeouts: u64,
    /// Total: peeks at idle sockets.
    pub peeks: u64,
    /// Total: pings of idle connections.
    pub pings: u64,
    /// Total: connections cleaned at check-in, a round trip each.
    pub resets: u64,
    /// Total: open transactions found at check-in and rolled back.
    pub rolled_back: u64,
    /// Total: panics of drivers, hooks and log sinks that were caught.
    pub panics: u64,
    closed: [u64; CloseReason::ALL.len()],
}

impl Snapshot {
    pub(crate) fn new(name: &str, levels: Levels, abandoned: u32, totals: &Counters) -> Snapshot {
        Snapshot {
            name: name.to_owned(),
            max_size: levels.max_size,
            open: levels.open,
            idle: levels.idle,
            in_use: levels.in_use,
            pending: levels.pending,
            closing: levels.closing,
            abandoned,
            waiting: levels.waiting,
            encryption: totals.weakest_protection(),
            opened: totals.opened(),
            connect_attempts: totals.connect_attempts(),
            connect_failures: totals.connect_failures(),
            checkouts: totals.checkouts(),
            timeouts: totals.timeouts(),
            peeks: totals.peeks(),
            pings: totals.pings(),
            resets: totals.resets(),
            rolled_back: totals.rolled_back(),
            panics: totals.panics(),
            closed: totals.closed(),
        }
    }

    /// Returns how many connections were closed, for whatever reason.
    pub fn closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Returns how many connections were closed for this reason.
    pub fn closed_by(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }

    /// Returns the reasons that occurred, each with its count.
    pub fn close_reasons(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        let all = CloseReason::ALL.iter().map(|reason| (*reason, self.closed_by(*reason)));
        all.filter(|(_, count)| *count > 0)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: open {} of {} (in use {}, idle {}), pending {}, closing {}, waiting {}; \
             opened {}, closed {}, check-outs {}, time-outs {}, peeks {}, pings {}",
            self.name,
            self.open,
            self.max_size,
            self.in_use,
            self.idle,
            self.pending,
            self.closing,
            self.waiting,
            self.opened,
            self.closed(),
            self.checkouts,
            self.timeouts,
            self.peeks,
            self.pings
        )?;
        if let Some(encryption) = self.encryption {
            write!(f, ", encryption {encryption}")?;
        }
        if self.abandoned > 0 {
            write!(f, ", abandoned {}", self.abandoned)?;
        }
        for (reason, count) in self.close_reasons() {
            write!(f, ", closed by {reason} {count}")?;
        }
        Ok(())
    }
}
