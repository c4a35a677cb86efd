//! The pace of attempts to open a connection.
//!
//! While the server is not known to be up, attempts are spaced: many callers must not
//! connect at the same time to a server that is down or has just recovered.

use super::ticket::Failure;
use std::time::{Duration, Instant};

/// Attempts are this far apart while the server is not known to be up.
const ATTEMPT_GAP: Duration = Duration::from_millis(100);

/// The same while nothing listens at the server's address, and for how many attempts of an
/// outage: they reach no server and end at once, and a restart is over by then. Where the
/// server stays down there are ten attempts a second on average.
const REFUSED: Close = Close { gap: Duration::from_millis(30), attempts: 100 };

/// The same while the server says that it is starting up: fewer, because each costs it work.
const STARTING: Close = Close { gap: Duration::from_millis(40), attempts: 10 };

/// The same while an earlier attempt of an outage has not ended yet.
const OUTAGE_GAP: Duration = Duration::from_secs(1);

/// An attempt that is pending for longer is stalled: it may hang until
/// `connect_timeout`, so no waiter is expected to be served by it.
const STALL_AFTER: Duration = Duration::from_millis(500);

/// The pending attempts of one pool and when the next one may begin.
pub(super) struct Attempts {
    /// Law: the orders returned and not reported yet.
    pending: Vec<Pending>,
    next_number: u64,
    /// How many attempts beyond one may be pending: none after a failure or a sign of
    /// one, more with every success. Many callers must not connect to a server that
    /// has just died before the first attempt has ended.
    extra: u32,
    /// When the last attempt began, unless a success has followed.
    last: Option<Instant>,
    /// When an attempt last succeeded.
    succeeded: Option<Instant>,
    /// The last new connection was lost before it had served a caller: a proxy accepts
    /// connections for a server that refuses them.
    is_unproven: bool,
    /// What the last failure said, and how often the same was said since the last success.
    failure: Option<Failure>,
    refused: u32,
    starting: u32,
}

/// Attempts that follow each other closely, because a restart may end at any moment.
struct Close {
    gap: Duration,
    attempts: u32,
}

struct Pending {
    number: u64,
    began: Instant,
}

impl Attempts {
    pub(super) fn new() -> Attempts {
        Attempts {
            pending: Vec::new(),
            next_number: 0,
            extra: 0,
            last: None,
            succeeded: None,
            is_unproven: false,
            failure: None,
            refused: 0,
            starting: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Returns how many pending attempts may soon serve a waiter.
    pub(super) fn promising(&self, now: Instant) -> usize {
        self.pending.iter().filter(|pending| now < pending.began + STALL_AFTER).count()
    }

    /// Returns how many attempts are stalled that began after the last success.
    fn stalled(&self, now: Instant) -> u32 {
        let is_recent = |began| self.succeeded.is_none_or(|succeeded| began >= succeeded);
        let began = self.pending.iter().map(|pending| pending.began);
        let stalled = began.filter(|began| now >= *began + STALL_AFTER && is_recent(*began));
        u32::try_from(stalled.count()).unwrap_or(u32::MAX)
    }

    /// Counts a new attempt as pending and returns its number.
    pub(super) fn begin(&mut self, now: Instant) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.pending.push(Pending { number, began: now });
        self.last = Some(now);
        number
    }

    pub(super) fn succeed(&mut self, number: u64, now: Instant) {
        self.end(number);
        self.extra = self.extra.saturating_mul(2).saturating_add(1);
        self.last = None;
        self.succeeded = Some(now);
        (self.failure, self.refused, self.starting) = (None, 0, 0);
    }

    /// Returns `true` if a success has followed the begin of this attempt, so that its
    /// failure is no sign that the server is down.
    pub(super) fn fail(&mut self, number: u64, failure: Failure) -> bool {
        let began = self.end(number);
        self.extra = 0;
        self.failure = Some(failure);
        match failure {
            Failure::Refused => self.refused = self.refused.saturating_add(1),
            Failure::Starting => self.starting = self.starting.saturating_add(1),
            Failure::Waits | Failure::Fails => {}
        }
        self.succeeded.is_some_and(|succeeded| began < succeeded)
    }

    fn end(&mut self, number: u64) -> Instant {
        let index = self.pending.iter().position(|pending| pending.number == number);
        self.pending.swap_remove(index.expect("bug: an order was reported twice")).began
    }

    /// Allows only one attempt at a time until one succeeds.
    pub(super) fn forbid_extra(&mut self) {
        self.extra = 0;
    }

    /// Spaces the attempts until a new connection has served a caller.
    pub(super) fn new_connection_lost(&mut self, now: Instant) {
        self.extra = 0;
        self.is_unproven = true;
        self.last = self.last.max(Some(now));
    }

    pub(super) fn new_connection_served(&mut self) {
        self.is_unproven = false;
    }

    pub(super) fn may_begin(&self, is_down: bool, now: Instant) -> bool {
        let is_up = !is_down && !self.is_unproven && self.stalled(now) == 0;
        let is_up = is_up && self.promising(now) <= self.extra as usize;
        is_up || self.last.is_none_or(|last| now >= last + self.gap(is_down, now))
    }

    /// Returns when the next attempt may begin, or a pending one stalls; `None` if
    /// neither lies ahead.
    pub(super) fn next_due(&self, is_down: bool, now: Instant) -> Option<Instant> {
        let spaced = self.last.map(|last| last + self.gap(is_down, now));
        let stalls = self.pending.iter().map(|pending| pending.began + STALL_AFTER);
        stalls.chain(spaced).filter(|due| *due > now).min()
    }

    /// Returns when to look again for a permit, while attempts are being spaced.
    pub(super) fn retry_at(&self, now: Instant) -> Option<Instant> {
        self.last.map(|_| now + ATTEMPT_GAP)
    }

    fn gap(&self, is_down: bool, now: Instant) -> Duration {
        // Each stalled attempt holds a permit: the more there are, the slower the next.
        let stalled = STALL_AFTER.saturating_mul(self.stalled(now));
        if is_down && !self.pending.is_empty() {
            OUTAGE_GAP.max(stalled)
        } else if let Some(close) = self.close_attempts().filter(|_| is_down) {
            close.gap.max(stalled)
        } else {
            ATTEMPT_GAP.max(stalled)
        }
    }

    fn close_attempts(&self) -> Option<&'static Close> {
        let (close, so_far) = match self.failure? {
            Failure::Refused => (&REFUSED, self.refused),
            Failure::Starting => (&STARTING, self.starting),
            Failure::Waits | Failure::Fails => return None,
        };
        (so_far <= close.attempts).then_some(close)
    }
}
