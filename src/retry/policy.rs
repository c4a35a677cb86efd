//! What may be done again, how often, and for how long.

use super::Backoff;
use crate::error::{Fault, FaultClass, Repeat};
use std::time::Duration;

/// Says what [`Pool::run`](crate::Pool::run) and `transaction_with` do again, how
/// often, and for how long.
///
/// Without your word only work is repeated that provably was not done: of which
/// nothing was sent, or which the server has rolled back. [`idempotent`] is your word
/// that doing it twice is the same as doing it once: then work whose outcome is
/// unknown is repeated too.
///
/// There are two ways to meet trouble. A web request should fail early, with a true
/// error: [`web`](RetryPolicy::web). A script should wait, and get its work done in
/// the end: [`script`](RetryPolicy::script).
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
    /// Wait this long, then do it again.
    Again(Duration),
    /// It might be done again, but attempts or time are used up.
    Exhausted,
    /// It must not, or need not, be done again.
    Final,
}

/// While a server is down a pool lets one attempt through every 100 ms: to ask less
/// often would only be served later.
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

    /// For web requests: three attempts within a second, 10 to 100 ms apart, and none
    /// more if the server is down or full: that is told at once.
    ///
    /// What is repeated are collisions (serialization failures, deadlocks, locks), and
    /// work that met a connection that was dead already.
    pub const fn web() -> RetryPolicy {
        RetryPolicy {
            attempts: Some(3),
            within: Some(Duration::from_secs(1)),
            ..RetryPolicy::none()
        }
    }

    /// For scripts and jobs: goes on until so much time has passed, through a restart
    /// of the server, with pauses of up to half a second.
    pub const fn script(deadline: Duration) -> RetryPolicy {
        RetryPolicy {
            attempts: None,
            within: Some(deadline),
            backoff: Backoff::new(Duration::from_millis(10), Duration::from_millis(500)),
            idempotent: false,
            outages: true,
        }
    }

    /// Sets how many attempts are made at most, the first one included; 0 counts as 1.
    pub const fn attempts(mut self, most: u32) -> RetryPolicy {
        self.attempts = Some(if most == 0 { 1 } else { most });
        self
    }

    /// Sets the time after whose end no attempt begins, and no attempt waits for a
    /// connection. It counts from the first attempt; one under way is not interrupted.
    pub const fn within(mut self, time: Duration) -> RetryPolicy {
        self.within = Some(time);
        self
    }

    /// Sets the pauses between attempts: any part of a bound that begins with `first`
    /// and doubles up to `most`.
    pub const fn backoff(mut self, first: Duration, most: Duration) -> RetryPolicy {
        self.backoff = Backoff::new(first, most);
        self
    }

    /// Gives your word that the work may be done twice: it is repeated also where the
    /// server may have done it.
    pub const fn idempotent(mut self) -> RetryPolicy {
        self.idempotent = true;
        self
    }

    /// Sets whether attempts go on while the server is down, full, or takes no
    /// writes. Default: `true` for [`script`](RetryPolicy::script), else `false`.
    pub const fn through_outages(mut self, goes_on: bool) -> RetryPolicy {
        self.outages = goes_on;
        self
    }
}

impl RetryPolicy {
    /// How long an attempt that begins now may wait for a connection.
    pub(crate) fn patience(&self, elapsed: Duration, own: Duration) -> Duration {
        self.within.map_or(own, |within| own.min(within.saturating_sub(elapsed)))
    }

    /// Decides after the `attempt`-th attempt, counted from 1, has failed.
    pub(crate) fn next(&self, fault: Fault, attempt: u32, elapsed: Duration, spread: f64) -> Next {
        let may = match fault.repeat() {
            Repeat::NothingSent | Repeat::RolledBack => true,
            Repeat::OutcomeUnknown => self.idempotent,
            Repeat::Permanent => false,
        };
        let outage = is_of_the_server(fault);
        if !may || outage && !self.outages && self.attempts != Some(1) {
            return Next::Final;
        }
        let most = if outage { DURING_AN_OUTAGE } else { Duration::MAX };
        let pause = self.backoff.pause(attempt, spread).min(most);
        let in_time = self.within.is_none_or(|within| elapsed.saturating_add(pause) < within);
        if in_time && self.attempts.is_none_or(|most| attempt < most) {
            Next::Again(pause)
        } else {
            Next::Exhausted
        }
    }
}

/// No connection of the pool would fare better, until the server has changed.
fn is_of_the_server(fault: Fault) -> bool {
    matches!(
        fault.class(),
        FaultClass::Unreachable
            | FaultClass::Saturated
            | FaultClass::ReadOnly
            | FaultClass::TimedOut
            | FaultClass::LocalResource
    ) || fault.class() == FaultClass::Starting && fault.repeat() == Repeat::NothingSent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Usability;

    const MS: Duration = Duration::from_millis(1);

    fn fault(class: FaultClass, repeat: Repeat) -> Fault {
        Fault::new(class, Usability::Usable, repeat)
    }

    fn next(policy: RetryPolicy, class: FaultClass, repeat: Repeat) -> Next {
        policy.next(fault(class, repeat), 1, Duration::ZERO, 0.0)
    }

    #[test]
    fn only_what_was_provably_not_done_is_repeated_without_a_word() {
        let (web, script) = (RetryPolicy::web(), RetryPolicy::script(1_000 * MS));
        for policy in [web, script] {
            let again = Next::Again(10 * MS);
            assert_eq!(next(policy, FaultClass::Conflict, Repeat::RolledBack), again);
            assert_eq!(next(policy, FaultClass::Disconnected, Repeat::NothingSent), again);
            let unknown = Repeat::OutcomeUnknown;
            assert_eq!(next(policy, FaultClass::Disconnected, unknown), Next::Final);
            let word = policy.idempotent();
            assert_eq!(next(word, FaultClass::Disconnected, unknown), again);
            assert_eq!(next(word, FaultClass::Statement, Repeat::Permanent), Next::Final);
        }
    }

    #[test]
    fn a_script_goes_on_while_the_server_is_down_and_a_request_does_not() {
        let script = RetryPolicy::script(1_000 * MS);
        for class in [FaultClass::Unreachable, FaultClass::Starting, FaultClass::Saturated] {
            let sent = Repeat::NothingSent;
            assert_eq!(next(RetryPolicy::web(), class, sent), Next::Final);
            assert!(matches!(next(script, class, sent), Next::Again(_)));
            let late = script.next(fault(class, sent), 30, 800 * MS, 0.0);
            assert_eq!(late, Next::Again(100 * MS), "no further apart than the pool's own");
        }
    }

    #[test]
    fn attempts_and_time_are_used_up() {
        let conflict = fault(FaultClass::Conflict, Repeat::RolledBack);
        let web = RetryPolicy::web();
        assert_eq!(web.next(conflict, 2, Duration::ZERO, 0.0), Next::Again(20 * MS));
        assert_eq!(web.next(conflict, 3, Duration::ZERO, 0.0), Next::Exhausted);
        assert_eq!(web.next(conflict, 1, 995 * MS, 0.0), Next::Exhausted);
        assert_eq!(RetryPolicy::none().next(conflict, 1, Duration::ZERO, 0.0), Next::Exhausted);
        assert_eq!(web.attempts(0).next(conflict, 1, Duration::ZERO, 0.0), Next::Exhausted);
    }

    #[test]
    fn a_connection_is_waited_for_no_longer_than_the_time_left() {
        let (policy, own) = (RetryPolicy::none().within(100 * MS), 30 * MS);
        assert_eq!(policy.patience(Duration::ZERO, own), own);
        assert_eq!(policy.patience(80 * MS, own), 20 * MS);
        assert_eq!(policy.patience(200 * MS, own), Duration::ZERO);
        assert_eq!(RetryPolicy::none().patience(200 * MS, own), own);
    }
}
