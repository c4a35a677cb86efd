//! Decides which of many similar events are logged.
//!
//! A server that ends a hundred sessions at the same time is one event to the person
//! on call. The first event of a burst is logged; the rest only moves the counters.

use super::close_reason::CloseReason;
use crate::error::FaultClass;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Events of one kind belong to one burst while no gap between them is longer.
const BURST_GAP: Duration = Duration::from_secs(3);

/// A burst that does not end is logged again at this interval.
const BURST_REMINDER: Duration = Duration::from_secs(60);

/// The bursts of events of one pool or manager.
pub(super) struct LogThrottle {
    bursts: Mutex<Vec<Burst>>,
}

/// What makes two events similar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum EventKind {
    Closed(CloseReason, String),
    ConnectFailed(FaultClass),
    Once(&'static str),
    RolledBack,
    SlowCheckout,
    SlowStatement,
    TimedOut,
}

/// Consecutive events of one kind; `suppressed` of them were not logged.
struct Burst {
    kind: EventKind,
    logged: Option<Instant>,
    latest: Instant,
    suppressed: u64,
    /// How many events to come are counted by the line that was logged.
    announced: u64,
}

/// A burst that has ended with events that were not logged.
#[derive(Debug, PartialEq)]
pub(super) struct EndedBurst {
    pub(super) kind: EventKind,
    pub(super) suppressed: u64,
    /// The time from the last log line to the last event.
    pub(super) lasted: Duration,
}

impl LogThrottle {
    pub(super) fn new() -> LogThrottle {
        LogThrottle { bursts: Mutex::new(Vec::new()) }
    }

    /// Returns `true` the first time that this text is to be logged.
    pub(super) fn is_first(&self, id: &'static str, now: Instant) -> bool {
        let mut bursts = self.bursts.lock();
        let is_known = bursts.iter().any(|burst| burst.kind == EventKind::Once(id));
        if !is_known {
            bursts.push(Burst::new(EventKind::Once(id), now));
        }
        !is_known
    }

    /// Returns `None` if this event must not be logged; otherwise how many similar
    /// events were suppressed since the last line.
    pub(super) fn admit(&self, kind: EventKind, now: Instant) -> Option<u64> {
        let mut bursts = self.bursts.lock();
        let burst = find_or_begin(&mut bursts, kind, now);
        let is_logged = !burst.is_silent(now);
        burst.latest = now.max(burst.latest);
        match (is_logged, burst.announced) {
            (_, 1..) => burst.announced -= 1,
            (true, 0) => return Some(burst.log(now)),
            (false, 0) => burst.suppressed += 1,
        }
        None
    }

    /// As `admit`, for a line that counts this many events, which are reported afterwards.
    pub(super) fn announce(&self, kind: EventKind, events: u64, now: Instant) -> Option<u64> {
        let mut bursts = self.bursts.lock();
        let burst = find_or_begin(&mut bursts, kind, now);
        if burst.is_silent(now) {
            return None;
        }
        burst.announced = events;
        Some(burst.log(now))
    }
}

fn find_or_begin(bursts: &mut Vec<Burst>, kind: EventKind, now: Instant) -> &mut Burst {
    if let Some(index) = bursts.iter().position(|burst| burst.kind == kind) {
        return &mut bursts[index];
    }
    bursts.retain(|burst| !burst.has_ended(now) || burst.suppressed > 0);
    bursts.push(Burst::new(kind, now));
    bursts.last_mut().expect("one was pushed")
}

impl LogThrottle {
    /// Removes the bursts that have ended; returns those of which events were not
    /// logged, and when the next of these ends.
    pub(super) fn end_bursts(&self, now: Instant) -> (Vec<EndedBurst>, Option<Instant>) {
        let mut bursts = self.bursts.lock();
        let mut ended = Vec::new();
        // The server chooses the codes, so the number of kinds is not bounded by us.
        bursts.retain(|burst| {
            let has_ended = burst.has_ended(now);
            if has_ended && burst.suppressed > 0 {
                ended.push(EndedBurst {
                    kind: burst.kind.clone(),
                    suppressed: burst.suppressed,
                    lasted: burst
                        .latest
                        .saturating_duration_since(burst.logged.unwrap_or(burst.latest)),
                });
            }
            !has_ended
        });
        (ended, next_end(&bursts))
    }

    /// Returns when the next burst of which events were not logged ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        next_end(&self.bursts.lock())
    }

    /// Forgets the failed attempts that were not logged, because another line has
    /// counted them.
    pub(super) fn forget_failed_attempts(&self) {
        for burst in &mut *self.bursts.lock() {
            if matches!(burst.kind, EventKind::ConnectFailed(_)) {
                burst.suppressed = 0;
            }
        }
    }
}

fn next_end(bursts: &[Burst]) -> Option<Instant> {
    let silent = bursts.iter().filter(|burst| burst.suppressed > 0);
    silent.map(|burst| burst.latest + BURST_GAP).min()
}

impl Burst {
    fn new(kind: EventKind, now: Instant) -> Burst {
        Burst { kind, logged: None, latest: now, suppressed: 0, announced: 0 }
    }

    /// Returns `true` if a line was logged that stands for an event of now as well.
    fn is_silent(&self, now: Instant) -> bool {
        let gap = now.saturating_duration_since(self.latest);
        let since_line = self.logged.map(|logged| now.saturating_duration_since(logged));
        gap < BURST_GAP && since_line.is_some_and(|since| since < BURST_REMINDER)
    }

    /// Notes that a line is logged; returns how many events it must mention.
    fn log(&mut self, now: Instant) -> u64 {
        self.logged = Some(now);
        std::mem::take(&mut self.suppressed)
    }

    fn has_ended(&self, now: Instant) -> bool {
        let gap = now.saturating_duration_since(self.latest);
        gap >= BURST_GAP && !matches!(self.kind, EventKind::Once(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> EventKind {
        EventKind::Closed(CloseReason::ServerClosed, String::new())
    }

    #[test]
    fn a_burst_is_logged_once_and_the_next_one_with_the_count_of_suppressed_events() {
        let throttle = LogThrottle::new();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(throttle.admit(kind(), at(0)), Some(0));
        assert_eq!(throttle.admit(kind(), at(1)), None);
        assert_eq!(throttle.admit(kind(), at(2_900)), None);
        assert_eq!(throttle.admit(kind(), at(6_000)), Some(2));
    }

    #[test]
    fn a_burst_that_does_not_end_is_logged_every_minute() {
        let throttle = LogThrottle::new();
        let start = Instant::now();
        let lines = (0..180)
            .filter(|second| throttle.admit(kind(), start + Duration::from_secs(*second)).is_some())
            .count();
        assert_eq!(lines, 3);
    }

    #[test]
    fn events_that_a_line_has_counted_are_not_suppressed_ones() {
        let throttle = LogThrottle::new();
        let now = Instant::now();
        assert_eq!(throttle.announce(kind(), 2, now), Some(0));
        assert_eq!((0..3).filter_map(|_| throttle.admit(kind(), now)).count(), 0);
        assert_eq!(throttle.announce(kind(), 2, now), None, "the burst goes on");
        let (ended, _) = throttle.end_bursts(now + BURST_GAP);
        assert_eq!(ended[0].suppressed, 1, "the third event");
    }

    #[test]
    fn events_of_one_kind_do_not_suppress_those_of_another() {
        let throttle = LogThrottle::new();
        let now = Instant::now();
        assert_eq!(throttle.admit(kind(), now), Some(0));
        let other = EventKind::Closed(CloseReason::ServerShutdown, "57P01".into());
        assert_eq!(throttle.admit(other, now), Some(0));
    }

    #[test]
    fn a_burst_ends_by_time_with_the_count_of_events_that_were_not_logged() {
        let throttle = LogThrottle::new();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let admitted = (0..5).filter_map(|event| throttle.admit(kind(), at(event * 1_000)));
        assert_eq!(admitted.collect::<Vec<_>>(), [0]);
        assert_eq!(throttle.next_end(), Some(at(7_000)));
        assert_eq!(throttle.end_bursts(at(6_999)), (Vec::new(), Some(at(7_000))));
        let lasted = Duration::from_secs(4);
        let ended = EndedBurst { kind: kind(), suppressed: 4, lasted };
        assert_eq!(throttle.end_bursts(at(7_000)), (vec![ended], None));
        assert_eq!(throttle.admit(kind(), at(7_001)), Some(0), "a burst of its own");
    }
}
