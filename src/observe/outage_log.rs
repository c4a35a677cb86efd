//! Measures outages: from the first failed attempt to the first success.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Connections lost no longer than this before the first failed attempt belong to the
/// outage.
const LOSS_WINDOW: Duration = Duration::from_secs(3);

/// The outage of one pool or manager, if there is one.
#[derive(Default)]
pub(super) struct OutageLog(Mutex<Record>);

#[derive(Default)]
struct Record {
    /// When an attempt last succeeded.
    succeeded: Option<Instant>,
    /// When the first and the last connection were lost.
    losses: Option<(Instant, Instant)>,
    lost: u64,
    /// When the outage began.
    since: Option<Instant>,
    failed: u64,
    /// The beginning was logged, so the end must be.
    is_logged: bool,
}

/// An outage that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EndedOutage {
    pub(super) lasted: Duration,
    pub(super) failed: u64,
    pub(super) lost: u64,
    /// Its beginning was logged.
    pub(super) is_logged: bool,
}

impl OutageLog {
    pub(super) fn lost(&self, now: Instant) {
        let mut record = self.0.lock();
        let is_recent = |last| now.saturating_duration_since(last) <= LOSS_WINDOW;
        match record.losses {
            Some((first, last)) if record.since.is_some() || is_recent(last) => {
                record.losses = Some((first, now));
                record.lost += 1;
            }
            _ => (record.losses, record.lost) = (Some((now, now)), 1),
        }
    }

    /// Counts a failed attempt; `is_logged` if it was logged. Returns `true` if an outage
    /// begins with it. An attempt that began before the last success is no sign of an outage.
    pub(super) fn failed(&self, began: Instant, is_logged: bool, now: Instant) -> bool {
        let mut record = self.0.lock();
        if record.succeeded.is_some_and(|succeeded| began < succeeded) {
            return false;
        }
        let is_first = record.since.is_none();
        if is_first {
            let is_recent = |last| now.saturating_duration_since(last) <= LOSS_WINDOW;
            let losses = record.losses.filter(|(_, last)| is_recent(*last));
            if losses.is_none() {
                (record.losses, record.lost) = (None, 0);
            }
            record.since = Some(losses.map_or(now, |(first, _)| first));
        }
        record.failed += 1;
        record.is_logged |= is_logged;
        is_first
    }

    /// Returns the outage that the success of an attempt ends.
    pub(super) fn succeeded(&self, began: Instant, now: Instant) -> Option<EndedOutage> {
        let mut record = self.0.lock();
        let ended = std::mem::take(&mut *record);
        record.succeeded = Some(now);
        let Some(since) = ended.since else {
            // An attempt that began after the losses shows that they were no outage.
            let losses = ended.losses.filter(|(_, last)| began <= *last);
            if losses.is_some() {
                (record.losses, record.lost) = (losses, ended.lost);
            }
            return None;
        };
        let lasted = now.saturating_duration_since(since);
        let Record { failed, lost, is_logged, .. } = ended;
        Some(EndedOutage { lasted, failed, lost, is_logged })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_outage_lasts_from_its_first_loss_to_the_first_success() {
        let (log, start) = (OutageLog::default(), Instant::now());
        (0..6).for_each(|_| log.lost(start));
        assert!(log.failed(start + SECOND, true, start + SECOND));
        log.lost(start + 20 * SECOND);
        assert!(!log.failed(start + 30 * SECOND, false, start + 31 * SECOND), "it goes on");
        let ended = EndedOutage { lasted: 60 * SECOND, failed: 2, lost: 7, is_logged: true };
        assert_eq!(log.succeeded(start, start + 60 * SECOND), Some(ended));
        assert_eq!(log.succeeded(start, start + 61 * SECOND), None);
    }

    #[test]
    fn an_earlier_loss_and_an_attempt_from_before_a_success_are_no_part_of_an_outage() {
        let (log, start) = (OutageLog::default(), Instant::now());
        log.lost(start);
        assert_eq!(log.succeeded(start, start + SECOND), None);
        assert!(!log.failed(start, true, start + 2 * SECOND));
        assert_eq!(log.succeeded(start, start + 3 * SECOND), None);
        assert!(log.failed(start + 9 * SECOND, true, start + 9 * SECOND));
        let ended = EndedOutage { lasted: SECOND, failed: 1, lost: 0, is_logged: true };
        assert_eq!(log.succeeded(start, start + 10 * SECOND), Some(ended));
    }

    #[test]
    fn losses_after_which_the_server_was_seen_to_accept_are_no_part_of_an_outage() {
        let (log, start) = (OutageLog::default(), Instant::now());
        let at = |seconds: u32| start + seconds * SECOND;
        log.lost(at(0));
        assert_eq!(log.succeeded(at(1), at(1)), None);
        log.lost(at(2));
        // This attempt began before that loss.
        assert_eq!(log.succeeded(at(1), at(2)), None);
        assert!(log.failed(at(3), true, at(3)));
        let ended = EndedOutage { lasted: 2 * SECOND, failed: 1, lost: 1, is_logged: true };
        assert_eq!(log.succeeded(at(4), at(4)), Some(ended));
    }

    #[test]
    fn of_an_outage_it_is_known_whether_its_beginning_was_logged() {
        let (log, now) = (OutageLog::default(), Instant::now());
        assert!(log.failed(now, false, now));
        let ended = EndedOutage { lasted: SECOND, failed: 1, lost: 0, is_logged: false };
        assert_eq!(log.succeeded(now, now + SECOND), Some(ended));
    }
}
