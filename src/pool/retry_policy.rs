//! What is retried, how often, and for how long.

use crate::error::{Fault, FaultClass, RetrySafety};
use crate::sys::backoff::Backoff;
use std::time::Duration;

/// Determines what [`Pool::run`](crate::Pool::run) and `transaction_with` retry, how
/// often, and for how long.
///
/// By default only work that was provably not done is retried: nothing of it was sent,
/// or the server rolled it back. [`idempotent`] declares that doing the work twice has
/// the same effect as doing it once: then work whose outcome is unknown is retried as
/// well.
///
/// There are two presets. A web request should fail early, with an accurate error:
/// [`web`](RetryPolicy::web). A script should wait until its work is done:
/// [`script`](RetryPolicy::script).
///
/// ```
/// use poolwarden::RetryPolicy;
/// use std::time::Duration;
///
/// let nightly = RetryPolicy::script(Duration::from_secs(600)).idempotent();
/// let request = RetryPolicy::web().attempts(2);
/// # let _ = (nightly, request);
/// ```
///
/// [`idempotent`]: RetryPolicy::idempotent
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct RetryPolicy {
    attempts: Option<u32>,
    within: Option<Duration>,
    backoff: Backoff,
    idempotent: bool,
    outages: bool,
}

/// What to do after an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Retry after this pause.
    Retry(Duration),
    /// A retry would be safe, but no attempts or no time are left.
    Exhausted,
    /// A retry is not safe, or cannot help.
    Final,
}

/// While a server is down, a pool makes one attempt to connect every 100 ms: a longer
/// pause would only delay the recovery.
const DURING_AN_OUTAGE: Duration = Duration::from_millis(100);

impl RetryPolicy {
    /// One attempt.
    pub const fn none() -> RetryPolicy {
        RetryPolicy {
            attempts: Some(1),
            within: None,
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(100)),
            idempotent: false,
            outages: false,
        }
    }

    /// For web requests: three attempts within a second, 10 to 100 ms apart; no retry
    /// while the server is down or out of connections: that error is returned
    /// immediately.
    ///
    /// Retried are conflicts (serialization failures, deadlocks, lock timeouts), and work
    /// that found its connection already dead.
    pub const fn web() -> RetryPolicy {
        RetryPolicy {
            attempts: Some(3),
            within: Some(Duration::from_secs(1)),
            ..RetryPolicy::none()
        }
    }

    /// For scripts and jobs: retries until this much time has passed, also through a
    /// restart of the server, with pauses of up to half a second.
    pub const fn script(deadline: Duration) -> RetryPolicy {
        RetryPolicy {
            attempts: None,
            within: Some(deadline),
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(500)),
            idempotent: false,
            outages: true,
        }
    }

    /// Sets the maximum number of attempts, the first one included; 0 counts as 1.
    pub const fn attempts(mut self, most: u32) -> RetryPolicy {
        self.attempts = Some(if most == 0 { 1 } else { most });
        self
    }

    /// Sets the time, from the first attempt on, after which no attempt begins and no
    /// attempt waits for a connection. A running attempt is not interrupted.
    pub const fn within(mut self, time: Duration) -> RetryPolicy {
        self.within = Some(time);
        self
    }

    /// Sets the pauses between attempts: a random part of a bound that starts at `first`
    /// and doubles up to `most`.
    pub const fn backoff(mut self, first: Duration, most: Duration) -> RetryPolicy {
        self.backoff = Backoff::new(first, most);
        self
    }

    /// Marks the work as idempotent: it is retried also if the server may have done it
    /// already.
    pub const fn idempotent(mut self) -> RetryPolicy {
        self.idempotent = true;
        self
    }

    /// Sets whether to retry while the server is down, out of connections, or read-only.
    /// Default: `true` for [`script`](RetryPolicy::script), else `false`.
    pub const fn through_outages(mut self, retry: bool) -> RetryPolicy {
        self.outages = retry;
        self
    }
}

impl RetryPolicy {
    /// Returns how long an attempt that begins now may wait for a connection.
    pub(crate) fn checkout_timeout(&self, elapsed: Duration, own: Duration) -> Duration {
        self.within.map_or(own, |within| own.min(within.saturating_sub(elapsed)))
    }

    /// Decides after the `attempt`-th attempt, counted from 1, has failed.
    pub(crate) fn next(&self, fault: Fault, attempt: u32, elapsed: Duration, spread: f64) -> Next {
        let may = match fault.retry_safety() {
            RetrySafety::NothingSent | RetrySafety::RolledBack => true,
            RetrySafety::OutcomeUnknown => self.idempotent,
            RetrySafety::Permanent => false,
        };
        let outage = affects_every_connection(fault);
        if !may || outage && !self.outages && self.attempts != Some(1) {
            return Next::Final;
        }
        let most = if outage { DURING_AN_OUTAGE } else { Duration::MAX };
        let pause = self.backoff.pause(attempt, spread).min(most);
        let in_time = self.within.is_none_or(|within| elapsed.saturating_add(pause) < within);
        if in_time && self.attempts.is_none_or(|most| attempt < most) {
            Next::Retry(pause)
        } else {
            Next::Exhausted
        }
    }
}

/// Returns `true` for a fault that every connection of the pool would meet until the
/// state of the server (or of this machine) changes.
fn affects_every_connection(fault: Fault) -> bool {
    match fault.class() {
        FaultClass::Saturated
        | FaultClass::FleetFull
        | FaultClass::ReadOnly
        | FaultClass::TimedOut
        | FaultClass::LocalResource => true,
        FaultClass::Starting => fault.retry_safety() == RetrySafety::NothingSent,
        class => class.is_unreachable(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Usability;

    const MS: Duration = Duration::from_millis(1);

    fn fault(class: FaultClass, repeat: RetrySafety) -> Fault {
        Fault::new(class, Usability::Usable, repeat)
    }

    fn next(policy: RetryPolicy, class: FaultClass, repeat: RetrySafety) -> Next {
        policy.next(fault(class, repeat), 1, Duration::ZERO, 0.0)
    }

    #[test]
    fn only_what_was_provably_not_done_is_retried_unless_it_is_idempotent() {
        let (web, script) = (RetryPolicy::web(), RetryPolicy::script(1_000 * MS));
        for policy in [web, script] {
            let retry = Next::Retry(10 * MS);
            assert_eq!(next(policy, FaultClass::Conflict, RetrySafety::RolledBack), retry);
            assert_eq!(next(policy, FaultClass::Disconnected, RetrySafety::NothingSent), retry);
            let unknown = RetrySafety::OutcomeUnknown;
            assert_eq!(next(policy, FaultClass::Disconnected, unknown), Next::Final);
            let idempotent = policy.idempotent();
            assert_eq!(next(idempotent, FaultClass::Disconnected, unknown), retry);
            let permanent = RetrySafety::Permanent;
            assert_eq!(next(idempotent, FaultClass::Statement, permanent), Next::Final);
        }
    }

    #[test]
    fn a_script_retries_while_the_server_is_down_and_a_web_request_does_not() {
        let script = RetryPolicy::script(1_000 * MS);
        for class in [FaultClass::Unreachable, FaultClass::Starting, FaultClass::Saturated] {
            let sent = RetrySafety::NothingSent;
            assert_eq!(next(RetryPolicy::web(), class, sent), Next::Final);
            assert!(matches!(next(script, class, sent), Next::Retry(_)));
            let late = script.next(fault(class, sent), 30, 800 * MS, 0.0);
            assert_eq!(late, Next::Retry(100 * MS), "no further apart than the pool's own");
        }
    }

    #[test]
    fn no_attempt_follows_the_last_one_or_the_end_of_the_time() {
        let conflict = fault(FaultClass::Conflict, RetrySafety::RolledBack);
        let web = RetryPolicy::web();
        assert_eq!(web.next(conflict, 2, Duration::ZERO, 0.0), Next::Retry(20 * MS));
        assert_eq!(web.next(conflict, 3, Duration::ZERO, 0.0), Next::Exhausted);
        assert_eq!(web.next(conflict, 1, 995 * MS, 0.0), Next::Exhausted);
        assert_eq!(RetryPolicy::none().next(conflict, 1, Duration::ZERO, 0.0), Next::Exhausted);
        assert_eq!(web.attempts(0).next(conflict, 1, Duration::ZERO, 0.0), Next::Exhausted);
    }

    #[test]
    fn an_attempt_waits_for_a_connection_no_longer_than_the_time_left() {
        let (policy, own) = (RetryPolicy::none().within(100 * MS), 30 * MS);
        assert_eq!(policy.checkout_timeout(Duration::ZERO, own), own);
        assert_eq!(policy.checkout_timeout(80 * MS, own), 20 * MS);
        assert_eq!(policy.checkout_timeout(200 * MS, own), Duration::ZERO);
        assert_eq!(RetryPolicy::none().checkout_timeout(200 * MS, own), own);
    }
}
