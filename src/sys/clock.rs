//! Arithmetic on deadlines that must not overflow, moments that cost little to compare, and the
//! time that the computer sleeps.

use super::sockets;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The time since the computer's start, with the time that it was suspended, and the monotonic
/// time as of the last tick of the system's timer.
#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: libc::clockid_t = libc::CLOCK_BOOTTIME;
#[cfg(any(target_os = "linux", target_os = "android"))]
const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;

/// Elsewhere there are no such clocks.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: libc::clockid_t = libc::CLOCK_MONOTONIC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const COARSE: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// A moment in nanoseconds, for what is asked at every check-out: to compare two of them costs
/// one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// One moment by both clocks, by which they are converted.
static EPOCH: LazyLock<(Instant, Tick)> = LazyLock::new(|| {
    loop {
        let (before, now, after) = (Tick::read(), Instant::now(), Tick::read());
        // Otherwise this thread has stopped in between.
        if after.nanos_since(before) < CLOSE {
            return (now, before);
        }
    }
});

/// How far apart the two readings of one moment may be; nanoseconds.
const CLOSE: u64 = 50_000;

/// The tick of the computer's start: moments before that, by the time that it was suspended,
/// are ticks as well.
const START: u64 = 1 << 62;

impl Tick {
    /// Later than every other.
    pub(crate) const NEVER: Tick = Tick(u64::MAX);

    /// Reads the clock.
    #[inline]
    pub(crate) fn read() -> Tick {
        Tick(START.wrapping_add(sockets::time_of(libc::CLOCK_MONOTONIC)))
    }

    /// Reads the clock as of the last tick of the system's timer: up to 10 ms ago, and at a
    /// fifth of the cost.
    #[inline]
    pub(crate) fn read_coarse() -> Tick {
        Tick(START.wrapping_add(sockets::time_of(COARSE)))
    }

    pub(crate) fn of(instant: Instant) -> Tick {
        let (then, tick) = *EPOCH;
        match instant.checked_duration_since(then) {
            Some(since) => Tick(tick.0.saturating_add(nanos_of(since))),
            None => Tick(tick.0.saturating_sub(nanos_of(then - instant))),
        }
    }

    pub(crate) fn instant(self) -> Instant {
        let (then, tick) = *EPOCH;
        let before = Duration::from_nanos(tick.0.saturating_sub(self.0));
        then.checked_sub(before).unwrap_or(then)
            + Duration::from_nanos(self.0.saturating_sub(tick.0))
    }

    /// Returns the nanoseconds since an earlier moment; zero if that is later.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    #[inline]
    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn from_nanos(nanos: u64) -> Tick {
        Tick(nanos)
    }

    pub(crate) fn earlier_by(self, time: Duration) -> Tick {
        Tick(self.0.saturating_sub(nanos_of(time)))
    }
}

/// Returns nanoseconds without the division of `Duration::as_nanos`; a time beyond about
/// six hundred years counts as that.
#[inline]
pub(crate) fn nanos_of(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()))
}

/// Stands for a timeout too long to add to an instant: ten years.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Returns `now + timeout`, or an instant ten years ahead if that overflows.
pub(crate) fn after(now: Instant, timeout: Duration) -> Instant {
    now.checked_add(timeout).unwrap_or_else(|| now + FAR)
}

/// Returns the time left until the deadline; zero once it has passed.
pub(crate) fn left(deadline: Instant, now: Instant) -> Duration {
    deadline.saturating_duration_since(now)
}

/// Returns how long the computer has been suspended since its start: instants do not
/// count that time. Zero where the system does not tell.
pub(crate) fn suspended() -> Duration {
    let (since_boot, awake) = (sockets::time_of(BOOT), sockets::time_of(libc::CLOCK_MONOTONIC));
    Duration::from_nanos(since_boot.saturating_sub(awake))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_suspended_does_not_grow_while_the_computer_is_awake() {
        let before = suspended();
        std::thread::sleep(Duration::from_millis(50));
        let grown = suspended().abs_diff(before);
        assert!(grown < Duration::from_secs(1), "{grown:?}");
    }

    #[test]
    fn a_reading_of_the_clock_is_now() {
        for _ in 0..1_000 {
            let before = Tick::of(Instant::now());
            let read = Tick::read();
            let after = Tick::of(Instant::now());
            // The two clocks are compared once, with a difference of their readings.
            assert!(before.nanos_since(read) <= CLOSE, "{before:?} {read:?}");
            assert!(read.nanos_since(after) <= CLOSE, "{read:?} {after:?}");
        }
    }

    #[test]
    fn a_moment_is_the_same_by_both_clocks() {
        let now = Instant::now();
        for moment in [now, now + Duration::from_secs(3600), now - Duration::from_millis(5)] {
            assert_eq!(Tick::of(moment).instant(), moment);
        }
        let tick = Tick::of(now);
        let early = tick.earlier_by(Duration::from_secs(1_000_000_000));
        assert_eq!(
            (tick.nanos_since(early), early.nanos_since(tick)),
            (1_000_000_000_000_000_000, 0)
        );
        assert!(tick < Tick::NEVER);
        assert_eq!(
            tick.earlier_by(Duration::from_nanos(7)).instant() + Duration::from_nanos(7),
            now
        );
    }

    #[test]
    fn a_timeout_that_overflows_is_a_deadline_far_ahead() {
        let now = Instant::now();
        assert!(after(now, Duration::MAX) > now + Duration::from_secs(3600));
        assert_eq!(left(now, now + Duration::from_secs(1)), Duration::ZERO);
    }
}
