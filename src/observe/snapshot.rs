//! A pool's state at one moment, for people and for metrics.

use super::close_reason::CloseReason;
use super::counters::{Counters, Uses};
use super::encryption::Encryption;
use super::histogram::Histogram;
use crate::error::Levels;
use std::fmt;

/// A pool's levels at one moment and its running totals.
///
/// The [`levels`](Snapshot::levels) are read in one step and are consistent with one another;
/// the totals may be a few operations ahead or behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The pool's name.
    pub name: String,
    /// How full the pool is: open, idle, in use, pending, closing and waiting.
    pub levels: Levels,
    /// Level: closed connections whose close the server did not confirm within
    /// `close_grace`; their permits were released, but the server may still hold them.
    pub abandoned: u32,
    /// Level: the weakest encryption among the open connections; `None` if no
    /// connection leaves this computer, or the driver does not report it.
    pub encryption: Option<Encryption>,
    /// Total: connections opened.
    pub opened: u64,
    /// Total: attempts to open a connection.
    pub connect_attempts: u64,
    /// Total: attempts to open a connection that failed.
    pub connect_failures: u64,
    /// Total: connections handed out.
    pub checkouts: u64,
    /// Total: check-outs that reached their deadline.
    pub timeouts: u64,
    /// Total: peeks at idle sockets.
    pub peeks: u64,
    /// Total: pings of idle connections.
    pub pings: u64,
    /// Total: those among `pings` by which `keepalive_ping` kept connections open.
    pub keepalive_pings: u64,
    /// Total: sessions reset at check-in, with a round trip each.
    pub resets: u64,
    /// Total: open transactions that were found at check-in and rolled back.
    pub rolled_back: u64,
    /// Total: panics of drivers, hooks and log sinks that were caught.
    pub panics: u64,
    /// Total: threads left behind because an observer, a log sink or a destructor held
    /// them up for too long; others took their place.
    pub left_behind: u64,
    /// Total: events that were neither logged nor reported to the observers, because an
    /// observer or a log sink had not returned from an earlier one for half a second.
    pub events_dropped: u64,
    /// Total: check-outs that took longer than `slow_checkout`.
    pub slow_checkouts: u64,
    /// Total: statements that took longer than `slow_statement`.
    pub slow_statements: u64,
    /// Total: check-outs that were held for longer than `held_warning`.
    pub held_too_long: u64,
    /// Total: outages, each from a failed attempt to connect to the next success.
    pub outages: u64,
    /// How long the check-outs waited that got a connection; those that found a healthy
    /// connection idle count as zero.
    pub wait: Histogram,
    /// How long connections were in use, from check-out to check-in, resets included.
    ///
    /// Measured to the nanosecond from the first snapshot of the pool on; from the start if the
    /// pool has an observer or an option that needs it, such as a `ping_after` below a second.
    /// Until then the clock is as coarse as the system's timer (1 to 10 ms): each time may be
    /// wrong by that, but not their mean.
    pub usage: Histogram,
    /// How long it took to open connections.
    pub connect: Histogram,
    closed: [u64; CloseReason::ALL.len()],
}

impl Snapshot {
    pub(crate) fn new(
        name: &str,
        levels: Levels,
        abandoned: u32,
        totals: &Counters,
        uses: Uses,
    ) -> Snapshot {
        Snapshot {
            name: name.to_owned(),
            levels,
            abandoned,
            encryption: totals.weakest_encryption(),
            opened: totals.opened(),
            connect_attempts: totals.connect_attempts(),
            connect_failures: totals.connect_failures(),
            checkouts: uses.checkouts,
            timeouts: totals.timeouts(),
            peeks: uses.peeks,
            pings: totals.pings(),
            keepalive_pings: totals.keepalive_pings(),
            resets: totals.resets(),
            rolled_back: totals.rolled_back(),
            panics: totals.panics(),
            left_behind: totals.left_behind(),
            events_dropped: totals.events_dropped(),
            slow_checkouts: totals.slow_checkouts(),
            slow_statements: totals.slow_statements(),
            held_too_long: totals.held_too_long(),
            outages: totals.outages(),
            wait: totals.wait(uses.checkouts),
            usage: uses.times,
            connect: totals.connect(),
            closed: totals.closed(),
        }
    }

    /// Returns the snapshot of a pool that has done nothing.
    pub(crate) fn empty(name: &str) -> Snapshot {
        Snapshot::new(name, Levels::default(), 0, &Counters::new(), Uses::default())
    }

    /// Adds the levels and totals of another pool, but for its maximum size.
    pub(crate) fn add(&mut self, other: &Snapshot) {
        self.levels.add(&other.levels);
        self.abandoned += other.abandoned;
        let weakest = [self.encryption, other.encryption].into_iter().flatten();
        self.encryption = weakest.min_by_key(|level| *level as usize);
        self.opened += other.opened;
        self.connect_attempts += other.connect_attempts;
        self.connect_failures += other.connect_failures;
        self.checkouts += other.checkouts;
        self.timeouts += other.timeouts;
        self.peeks += other.peeks;
        self.pings += other.pings;
        self.keepalive_pings += other.keepalive_pings;
        self.resets += other.resets;
        self.rolled_back += other.rolled_back;
        self.panics += other.panics;
        self.left_behind += other.left_behind;
        self.events_dropped += other.events_dropped;
        self.slow_checkouts += other.slow_checkouts;
        self.slow_statements += other.slow_statements;
        self.held_too_long += other.held_too_long;
        self.outages += other.outages;
        self.wait.add(&other.wait);
        self.usage.add(&other.usage);
        self.connect.add(&other.connect);
        self.closed.iter_mut().zip(other.closed).for_each(|(sum, more)| *sum += more);
    }

    /// Returns how many connections were closed, for all reasons.
    pub fn closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Returns how many connections were closed for this reason.
    pub fn closed_by(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }

    /// Returns the close reasons that occurred, each with its count.
    pub fn close_reasons(&self) -> impl Iterator<Item = (CloseReason, u64)> + '_ {
        let all = CloseReason::ALL.iter().map(|reason| (*reason, self.closed_by(*reason)));
        all.filter(|(_, count)| *count > 0)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Levels { max_size, open, in_use, idle, pending, closing, waiting } = self.levels;
        write!(
            f,
            "{}: open {open} of {max_size} (in use {in_use}, idle {idle}), pending {pending}, \
             closing {closing}, waiting {waiting}; opened {}, closed {}, check-outs {}, \
             timeouts {}, peeks {}, pings {}",
            self.name,
            self.opened,
            self.closed(),
            self.checkouts,
            self.timeouts,
            self.peeks,
            self.pings
        )?;
        if self.keepalive_pings > 0 {
            write!(f, ", keepalive pings {}", self.keepalive_pings)?;
        }
        if let Some(encryption) = self.encryption {
            write!(f, ", encryption {encryption}")?;
        }
        if self.abandoned > 0 {
            write!(f, ", abandoned {}", self.abandoned)?;
        }
        if self.events_dropped > 0 {
            write!(f, ", events dropped {}", self.events_dropped)?;
        }
        for (reason, count) in self.close_reasons() {
            write!(f, ", closed by {reason} {count}")?;
        }
        Ok(())
    }
}
