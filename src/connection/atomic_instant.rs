//! An instant that many threads read without a lock.

use crate::sys::clock::{Tick, nanos_of};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use std::time::Instant;

/// An instant that only moves forward, or none; read by one relaxed load.
///
/// The nanoseconds of a [`Tick`]; zero if it was never set.
#[derive(Default)]
pub(super) struct AtomicInstant(AtomicU64);

impl AtomicInstant {
    /// Creates one that is not set.
    pub(super) fn never() -> AtomicInstant {
        AtomicInstant::default()
    }

    /// Sets it to this instant unless it is later already.
    pub(super) fn raise(&self, at: Instant) {
        self.0.fetch_max(Tick::of(at).as_nanos(), Relaxed);
    }

    /// Sets it to this instant unless it is less than `age` earlier; returns `true` if it
    /// was set.
    pub(super) fn raise_if_older(&self, age: Duration, at: Instant) -> bool {
        let nanos = Tick::of(at).as_nanos();
        let due = |last: u64| last == 0 || last.saturating_add(nanos_of(age)) <= nanos;
        self.0.fetch_update(Relaxed, Relaxed, |last| due(last).then_some(nanos)).is_ok()
    }

    #[inline]
    pub(super) fn get(&self) -> Option<Tick> {
        match self.0.load(Relaxed) {
            0 => None,
            nanos => Some(Tick::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_only_moves_forward_and_not_too_often() {
        let (since, now) = (AtomicInstant::never(), Instant::now());
        assert_eq!(since.get(), None);
        since.raise(now);
        since.raise(now - Duration::from_nanos(1));
        assert_eq!(since.get(), Some(Tick::of(now)));
        let second = Duration::from_secs(1);
        assert!(!since.raise_if_older(second, now + second / 2));
        assert_eq!(since.get(), Some(Tick::of(now)));
        assert!(since.raise_if_older(second, now + second));
        assert_eq!(since.get(), Some(Tick::of(now + second)));
    }
}
