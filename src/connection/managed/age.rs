//! Lifetime, idle time and retirement of a connection.

use super::managed::{Managed, tick_of};
use crate::connection::{exact_times, lifetime};
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::clock::Tick;
use std::time::{Duration, Instant};

impl<D: Driver> Managed<D> {
    /// Returns `true` if it is past its deadline, or past a lifetime that was lowered
    /// after its birth.
    #[inline]
    pub(crate) fn is_too_old(&self, now: Instant) -> bool {
        if lifetime::is_past(self.deadline, now) || self.shared.age_limits().is_as_at_birth() {
            return lifetime::is_past(self.deadline, now);
        }
        lifetime::idled(self.birth, self.shared.age_limits().lifetime(), now + self.asleep)
    }

    /// Returns `true` if its age can be a reason to close it: two loads, for every check-in.
    #[inline]
    pub(super) fn may_be_too_old(&self, now: Tick) -> bool {
        now >= self.deadline_tick || !self.shared.age_limits().is_as_at_birth()
    }

    /// Returns the time, for its check-out and its check-in: by the coarse clock, unless
    /// somebody may notice.
    #[inline]
    pub(crate) fn now(&self) -> Tick {
        if self.shared.pool_totals().checkouts.is_exact() {
            return Tick::read();
        }
        let now = Tick::read_coarse();
        if now < self.exact_from && self.shared.age_limits().is_as_at_birth() {
            return now;
        }
        Tick::read()
    }

    /// Counts the time for which the computer was suspended, which instants do not count.
    #[inline]
    pub(super) fn count_suspension(&mut self) {
        let suspended = self.shared.suspended();
        if suspended != self.suspended {
            self.grow_older(Duration::from_nanos(suspended.saturating_sub(self.suspended)));
            self.suspended = suspended;
        }
    }

    #[cold]
    fn grow_older(&mut self, time: Duration) {
        let earlier = |instant: Instant| instant.checked_sub(time).unwrap_or(instant);
        self.asleep += time;
        self.deadline = self.deadline.map(earlier);
        self.deadline_tick = tick_of(self.deadline);
        self.exact_from = exact_times::from(self.deadline);
        self.idle_since = self.idle_since.earlier_by(time);
        self.kept_alive = self.kept_alive.map(earlier);
    }

    /// Returns `true` if neither its age nor its idle time can be a reason to close it: a
    /// few loads, for nearly every check-out.
    #[inline]
    pub(super) fn is_within_limits(&self, now: Tick) -> bool {
        now < self.deadline_tick
            && self.shared.age_limits().allows_idle(now.nanos_since(self.idle_since))
            && self.shared.retired_since().is_none()
    }

    /// Returns the reason to close it, if its age or its idle time is one.
    #[cold]
    pub(super) fn age_reason(&self, now: Instant) -> Option<CloseReason> {
        let idle = self.shared.config().min_idle == 0 && self.idled_too_long(now);
        self.overdue(now).or(idle.then_some(CloseReason::IdleTimeout))
    }

    pub(crate) fn idle_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.idle_since.instant())
    }

    /// Returns `true` if it has been idle for longer than connections beyond `min_idle` may.
    #[inline]
    pub(crate) fn idled_too_long(&self, now: Instant) -> bool {
        lifetime::idled(self.idle_since.instant(), self.shared.age_limits().idle(), now)
    }

    /// Returns since when there has been no traffic on it: since its check-in, or the
    /// last ping that kept it alive.
    fn quiet_since(&self) -> Instant {
        let idle = self.idle_since.instant();
        self.kept_alive.map_or(idle, |pinged| pinged.max(idle))
    }

    /// Returns `true` if it has been without traffic for almost as long as the server or a
    /// proxy allows.
    #[inline]
    pub(crate) fn idled_past_hard_limit(&self, now: Instant) -> bool {
        lifetime::idled(self.quiet_since(), self.shared.age_limits().hard_idle(), now)
    }

    /// Returns when it is to be pinged so that it stays open, if it is.
    pub(crate) fn keepalive_due(&self) -> Option<Instant> {
        let every = self.shared.age_limits().keepalive()?;
        Some(lifetime::ping_due(self.quiet_since(), every, self.id))
    }

    /// Returns `true` if it was opened before all connections were retired.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.shared.retired_since().is_some_and(|since| Tick::of(self.birth) <= since)
    }

    /// Returns the reason for which housekeeping must close it, whatever `min_idle` is.
    pub(crate) fn overdue(&self, now: Instant) -> Option<CloseReason> {
        if self.is_too_old(now) {
            Some(CloseReason::MaxLifetime)
        } else if self.idled_past_hard_limit(now) {
            Some(CloseReason::IdleTimeout)
        } else {
            self.is_retired().then_some(CloseReason::Retired)
        }
    }

    /// Returns the instants at which its age or idle time requires housekeeping.
    pub(crate) fn dues(&self) -> impl Iterator<Item = Instant> {
        let bounds = self.shared.age_limits();
        let idle = bounds.idle().map(|timeout| self.idle_since.instant() + timeout);
        let hard = bounds.hard_idle().map(|limit| self.quiet_since() + limit);
        let life = bounds.lifetime().map(|lifetime| self.birth + lifetime);
        [self.deadline, idle, hard, life, self.keepalive_due()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::connection::hooks::Hooks;
    use crate::connection::managed::{CheckoutVerdict, Parts};
    use crate::connection::shared::Shared;
    use crate::driver::{Attempt, SocketAccess};
    use crate::error::{BoxError, ConnectError, FaultClass};
    use crate::sys::deadlines;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    /// Its connections are sockets on which nothing arrives.
    struct Quiet;

    impl Driver for Quiet {
        type Connection = UnixStream;
        type Session = UnixStream;

        fn label(&self) -> String {
            "quiet".into()
        }

        fn connect(&self, _: &Attempt) -> Result<UnixStream, ConnectError> {
            Err(ConnectError::new(FaultClass::Other, "quiet"))
        }

        fn ping(&self, _: &mut UnixStream, _: Instant) -> Result<(), BoxError> {
            Ok(())
        }

        fn socket_access<'a>(&self, stream: &'a UnixStream) -> SocketAccess<'a> {
            SocketAccess::Socket(stream.as_fd())
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    /// A connection that was born now, and the server's end of its socket.
    fn open(shared: &Arc<Shared<Quiet>>, now: Instant) -> (Box<Managed<Quiet>>, UnixStream) {
        let (near, far) = UnixStream::pair().expect("a socket pair");
        let timers = deadlines::hold().expect("a thread");
        let (parts, outcome) = Parts::new(shared, near, None, timers);
        outcome.expect("a descriptor");
        let permit = shared.permits().try_take().expect("a permit");
        (Managed::new(shared, parts, permit, now, now), far)
    }

    fn shared() -> Arc<Shared<Quiet>> {
        let config = Config {
            max_lifetime: Some(4 * HOUR),
            lifetime_jitter: 0.0,
            idle_timeout: Some(3 * HOUR),
            ping_after: None,
            ..Config::default()
        };
        Shared::new(Quiet, config, Hooks::none(), Vec::new())
    }

    /// The suspended time that the pool has noted so far, and so much more.
    fn after(shared: &Shared<Quiet>, more: Duration) -> Duration {
        Duration::from_nanos(shared.suspended()) + more
    }

    /// Returns `true` if a hundred readings of its clock are exact.
    fn is_exact(managed: &Managed<Quiet>) -> bool {
        (0..100).all(|_| {
            let before = Tick::read();
            let now = managed.now();
            before <= now && now <= Tick::read()
        })
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_clock_is_coarse_until_somebody_may_notice() {
        let (shared, now) = (shared(), Instant::now());
        let (mut managed, _far) = open(&shared, now);
        assert!(!is_exact(&managed));
        // It ends in less than the coarse clock may be late.
        managed.grow_older(4 * HOUR - Duration::from_millis(50));
        assert!(is_exact(&managed));
        let (managed, _far) = open(&shared, now);
        assert!(!is_exact(&managed));
        let proxy = Config { proxy_max_lifetime: Some(HOUR), ..Config::default() };
        shared.age_limits().apply(&proxy, None);
        assert!(is_exact(&managed), "it may live less long than it was to");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_reads_the_times_in_use_or_is_told_of_them_has_exact_ones() {
        let (shared, now) = (shared(), Instant::now());
        let (managed, _far) = open(&shared, now);
        assert!(!is_exact(&managed));
        let _ = shared.uses();
        assert!(is_exact(&managed));
        struct Told;
        impl crate::observe::Observer for Told {}
        let config = Config { max_lifetime: Some(HOUR), ..Config::default() };
        let observed = Shared::new(Quiet, config, Hooks::none(), vec![Arc::new(Told)]);
        assert!(is_exact(&open(&observed, now).0));
    }

    #[test]
    fn after_a_suspend_an_idle_connection_is_pinged_before_its_next_use() {
        let (shared, now) = (shared(), Instant::now());
        let (mut managed, _far) = open(&shared, now);
        assert!(matches!(managed.look(Tick::of(now)), CheckoutVerdict::Ready));
        shared.note_suspension(after(&shared, Duration::from_millis(900)), now);
        assert!(
            matches!(managed.look(Tick::of(now)), CheckoutVerdict::Ready),
            "too short to end one"
        );
        shared.note_suspension(after(&shared, HOUR), now);
        assert!(matches!(managed.look(Tick::of(now)), CheckoutVerdict::Unverified));
        let (mut later, _far) = open(&shared, now + Duration::from_millis(1));
        assert!(
            matches!(later.look(Tick::of(now)), CheckoutVerdict::Ready),
            "it was opened afterwards"
        );
    }

    #[test]
    fn lifetimes_and_idle_times_count_the_time_asleep() {
        let (shared, now) = (shared(), Instant::now());
        let reason = |managed: &mut Managed<Quiet>, at: Instant| match managed.look(Tick::of(at)) {
            CheckoutVerdict::Close(cause) => Some(cause.reason),
            _ => None,
        };
        let (mut managed, _far) = open(&shared, now);
        shared.note_suspension(after(&shared, 2 * HOUR), now);
        assert_eq!(reason(&mut managed, now), None);
        assert_eq!(reason(&mut managed, now + HOUR), Some(CloseReason::IdleTimeout));
        managed.idle_since = Tick::of(now);
        assert_eq!(reason(&mut managed, now + HOUR), None);
        shared.note_suspension(after(&shared, 2 * HOUR), now);
        assert_eq!(reason(&mut managed, now), Some(CloseReason::MaxLifetime));
        let (mut later, _far) = open(&shared, now);
        assert_eq!(reason(&mut later, now + HOUR), None, "it did not sleep");
    }
}
