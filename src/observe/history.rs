//! What has happened to a pool lately, for its status page.

use super::close_reason::CloseReason;
use super::event::Closed;
use super::outage_log::EndedOutage;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

/// How many kinds of closes are kept.
const CLOSES: usize = 12;

/// How many outages are kept.
const OUTAGES: usize = 8;

/// How many periods of waits are kept, and how long each is.
const PERIODS: usize = 60;
const PERIOD: Duration = Duration::from_secs(5);

/// The last closes, outages and waits of one pool or manager.
pub(super) struct History {
    closes: Mutex<VecDeque<PastClose>>,
    outages: Mutex<VecDeque<PastOutage>>,
    waits: Mutex<Waits>,
}

/// The closes for one reason and with one message of the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PastClose {
    pub(crate) reason: CloseReason,
    /// The server's message, if it sent one.
    pub(crate) message: Option<String>,
    pub(crate) count: u64,
    /// The last connection that was closed so, and when.
    pub(crate) connection: u64,
    pub(crate) at: SystemTime,
}

/// An outage that has ended, or the one of now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PastOutage {
    pub(crate) began: SystemTime,
    /// `None`: it goes on.
    pub(crate) lasted: Option<Duration>,
    /// The error of the first attempt that failed.
    pub(crate) error: String,
    /// How many attempts failed and how many connections were lost; known when it has ended.
    pub(crate) failed: u64,
    pub(crate) lost: u64,
}

/// The longest wait of each period.
struct Waits {
    origin: Instant,
    /// The number of the newest period.
    newest: u64,
    longest: [Duration; PERIODS],
}

impl History {
    pub(super) fn new(now: Instant) -> History {
        let waits = Waits { origin: now, newest: 0, longest: [Duration::ZERO; PERIODS] };
        History { closes: Mutex::default(), outages: Mutex::default(), waits: Mutex::new(waits) }
    }

    pub(super) fn closed(&self, event: &Closed<'_>, at: SystemTime) {
        let message = event.message.map(ToString::to_string);
        let mut closes = self.closes.lock();
        let same = |past: &PastClose| past.reason == event.reason && past.message == message;
        let known = closes.iter().position(same).and_then(|index| closes.remove(index));
        let count = known.map_or(0, |past| past.count) + 1;
        let (reason, connection) = (event.reason, event.connection);
        push(&mut closes, CLOSES, PastClose { reason, message, count, connection, at });
    }

    pub(super) fn outage_began(&self, error: String, began: SystemTime) {
        let outage = PastOutage { began, lasted: None, error, failed: 0, lost: 0 };
        push(&mut self.outages.lock(), OUTAGES, outage);
    }

    pub(super) fn outage_ended(&self, ended: &EndedOutage, now: SystemTime) {
        let mut outages = self.outages.lock();
        for outage in outages.iter_mut().filter(|outage| outage.lasted.is_none()) {
            outage.lasted = Some(ended.lasted);
            outage.began = now.checked_sub(ended.lasted).unwrap_or(outage.began);
            (outage.failed, outage.lost) = (ended.failed, ended.lost);
        }
    }

    pub(super) fn waited(&self, waited: Duration, now: Instant) {
        self.waits.lock().record(waited, now);
    }

    /// Returns the closes, the last one first.
    pub(super) fn closes(&self) -> Vec<PastClose> {
        self.closes.lock().iter().rev().cloned().collect()
    }

    /// Returns the outages, the last one first.
    pub(super) fn outages(&self) -> Vec<PastOutage> {
        self.outages.lock().iter().rev().cloned().collect()
    }

    /// Returns the longest wait of each of the last periods, the newest last.
    pub(super) fn waits(&self, now: Instant) -> Vec<Duration> {
        let mut waits = self.waits.lock();
        waits.advance(now);
        let newest = (waits.newest % PERIODS as u64) as usize;
        (1..=PERIODS).map(|index| waits.longest[(newest + index) % PERIODS]).collect()
    }
}

fn push<T>(list: &mut VecDeque<T>, most: usize, item: T) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

impl Waits {
    /// Begins the period of now, and clears those in which nobody waited.
    fn advance(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.origin);
        let period = (elapsed.as_secs() / PERIOD.as_secs()).max(self.newest);
        let first_kept = (period + 1).saturating_sub(PERIODS as u64);
        for begun in (self.newest + 1).max(first_kept)..=period {
            self.longest[(begun % PERIODS as u64) as usize] = Duration::ZERO;
        }
        self.newest = period;
    }

    fn record(&mut self, waited: Duration, now: Instant) {
        self.advance(now);
        let slot = &mut self.longest[(self.newest % PERIODS as u64) as usize];
        *slot = waited.max(*slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::ServerMessage;

    const SECOND: Duration = Duration::from_secs(1);

    fn closed(history: &History, connection: u64, reason: CloseReason, text: Option<&str>) {
        let message = text.map(|text| ServerMessage::new("57P01", text.into(), reason));
        let event = Closed {
            pool: "orders",
            connection,
            reason,
            message: message.as_ref(),
            age: SECOND,
            idle: SECOND,
        };
        history.closed(&event, SystemTime::UNIX_EPOCH + connection as u32 * SECOND);
    }

    #[test]
    fn closes_of_one_kind_are_one_entry_and_the_oldest_kind_gives_way() {
        let history = History::new(Instant::now());
        closed(&history, 1, CloseReason::ServerShutdown, Some("by order"));
        closed(&history, 2, CloseReason::MaxLifetime, None);
        closed(&history, 3, CloseReason::ServerShutdown, Some("by order"));
        let all = history.closes();
        let brief: Vec<_> = all.iter().map(|past| (past.connection, past.count)).collect();
        assert_eq!(brief, [(3, 2), (2, 1)]);
        assert_eq!(all[0].message.as_deref(), Some("by order (57P01)"));
        for number in 10..10 + CLOSES as u64 {
            closed(&history, number, CloseReason::ServerError, Some(&number.to_string()));
        }
        let all = history.closes();
        assert_eq!(all.len(), CLOSES);
        assert!(all.iter().all(|past| past.reason == CloseReason::ServerError));
    }

    #[test]
    fn an_outage_has_a_beginning_and_when_it_has_ended_an_end() {
        let (history, now) = (History::new(Instant::now()), SystemTime::now());
        history.outage_began("refused".into(), now);
        assert_eq!(history.outages()[0].lasted, None);
        let ended = EndedOutage { lasted: 5 * SECOND, failed: 2, lost: 3, is_logged: true };
        history.outage_ended(&ended, now + 3 * SECOND);
        let outage = history.outages().remove(0);
        assert_eq!((outage.lasted, outage.began), (Some(5 * SECOND), now - 2 * SECOND));
        assert_eq!((outage.failed, outage.lost, outage.error.as_str()), (2, 3, "refused"));
    }

    #[test]
    fn the_longest_wait_of_each_period_is_kept_until_it_is_too_old() {
        let start = Instant::now();
        let (history, at) = (History::new(start), |seconds: u32| start + seconds * SECOND);
        history.waited(SECOND, at(1));
        history.waited(SECOND / 2, at(2));
        history.waited(3 * SECOND, at(11));
        let waits = history.waits(at(16));
        assert_eq!(waits.len(), PERIODS);
        let newest = |count: usize| waits[PERIODS - count..].to_vec();
        assert_eq!(newest(4), [SECOND, Duration::ZERO, 3 * SECOND, Duration::ZERO]);
        assert_eq!(history.waits(at(5 * 61 + 1)).iter().max(), Some(&(3 * SECOND)));
        assert_eq!(history.waits(at(5 * 62 + 1)).iter().max(), Some(&Duration::ZERO));
        history.waited(SECOND, at(5 * 1_000));
        let all = history.waits(at(5 * 1_000));
        assert_eq!((all[PERIODS - 1], all.iter().sum::<Duration>()), (SECOND, SECOND));
    }
}
