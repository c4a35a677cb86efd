//! Log lines and observer calls of one pool: one line an event burst.
//!
//! A server that ends a hundred sessions at once is one event to the person on
//! call. The first close of a burst is logged in the server's words; the rest of
//! the burst only moves the counters.

use super::counters::Counters;
use super::event::{Closed, Observer, Opened};
use super::reason::CloseReason;
use crate::error::ConnectError;
use crate::fence::fence;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The target of all log lines of this crate.
const TARGET: &str = "poolwarden";

/// Events of one kind belong to one burst while no gap between them is longer.
const BURST_GAP: Duration = Duration::from_secs(3);

/// A burst without end is mentioned again this often.
const BURST_REMINDER: Duration = Duration::from_secs(60);

/// The voice of one pool or manager.
pub(crate) struct Journal {
    pool: String,
    observers: Vec<Arc<dyn Observer>>,
    bursts: Mutex<Vec<Burst>>,
}

/// A row of events of one kind; `silent` of them were not logged.
struct Burst {
    kind: Kind,
    logged: Instant,
    latest: Instant,
    silent: u64,
}

#[derive(Clone, PartialEq)]
enum Kind {
    Closed(CloseReason, String),
    ConnectFailed(crate::error::ConnectFault),
    Once(&'static str),
    RolledBack,
}

impl Journal {
    pub(crate) fn new(pool: String, observers: Vec<Arc<dyn Observer>>) -> Journal {
        Journal { pool, observers, bursts: Mutex::new(Vec::new()) }
    }

    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    pub(crate) fn opened(&self, totals: &Counters, connection: u64, took: Duration) {
        totals.count_opened();
        self.speak(totals, || {
            log::debug!(
                target: TARGET,
                pool = self.pool.as_str(), conn = connection, took_ms = millis(took);
                "pool {}: opened connection {connection} in {took:.1?}", self.pool
            );
        });
        let event = Opened { pool: &self.pool, connection, took };
        self.tell(totals, |observer| observer.opened(&event));
    }

    pub(crate) fn closed(&self, totals: &Counters, event: &Closed<'_>, now: Instant) {
        totals.count_closed(event.reason);
        if event.reason.is_planned() {
            self.speak(totals, || self.log_planned(event));
        } else {
            let code = event.words.map(|words| words.code.to_string()).unwrap_or_default();
            if let Some(silent) = self.enter_burst(Kind::Closed(event.reason, code), now) {
                self.speak(totals, || self.log_unplanned(event, silent));
            }
        }
        self.tell(totals, |observer| observer.closed(event));
    }

    fn log_planned(&self, event: &Closed<'_>) {
        log::debug!(
            target: TARGET,
            pool = self.pool.as_str(), conn = event.connection,
            reason = event.reason.as_str(), age_ms = millis(event.age),
            idle_ms = millis(event.idle);
            "pool {}: closed connection {}: {}, age {:.1?}",
            self.pool, event.connection, event.reason.phrase(), event.age
        );
    }

    fn log_unplanned(&self, event: &Closed<'_>, silent: u64) {
        let code = event.words.map_or("", |words| &*words.code);
        let said = event.words.map(|words| format!(": {words}"));
        let busy = event.idle.is_zero();
        let state = if busy { "in use".into() } else { format!("idle {:.1?}", event.idle) };
        let more = (silent > 0).then(|| format!(" ({silent} more like it since the last line)"));
        log::warn!(
            target: TARGET,
            pool = self.pool.as_str(), conn = event.connection,
            reason = event.reason.as_str(), code = code,
            age_ms = millis(event.age), idle_ms = millis(event.idle);
            "pool {}: connection {} is gone: {}{} (age {:.1?}, {state}){}",
            self.pool, event.connection, event.reason.phrase(), said.unwrap_or_default(),
            event.age, more.unwrap_or_default()
        );
    }

    /// A borrower left a transaction open; `site` is where it checked out.
    pub(crate) fn rolled_back(
        &self,
        totals: &Counters,
        connection: u64,
        site: &dyn std::fmt::Display,
        now: Instant,
    ) {
        totals.count_rolled_back();
        if let Some(silent) = self.enter_burst(Kind::RolledBack, now) {
            self.speak(totals, || {
                let more = (silent > 0).then(|| format!(" ({silent} more since the last line)"));
                log::warn!(
                    target: TARGET,
                    pool = self.pool.as_str(), conn = connection;
                    "pool {}: connection {connection} came back inside a transaction, which was \
                     rolled back; it was checked out at {site}{}",
                    self.pool, more.unwrap_or_default()
                );
            });
        }
    }

    pub(crate) fn connect_failed(&self, totals: &Counters, error: &ConnectError, now: Instant) {
        totals.count_connect_failure();
        if let Some(silent) = self.enter_burst(Kind::ConnectFailed(error.fault()), now) {
            self.speak(totals, || {
                let more = (silent > 0).then(|| format!(" ({silent} more since the last line)"));
                log::warn!(
                    target: TARGET,
                    pool = self.pool.as_str(), fault:? = error.fault(),
                    code = error.code().unwrap_or("");
                    "pool {}: {}{}", self.pool, error.full_text(), more.unwrap_or_default()
                );
            });
        }
        self.tell(totals, |observer| observer.connect_failed(&self.pool, error));
    }

    pub(crate) fn timed_out(&self, totals: &Counters, waited: Duration) {
        totals.count_timeout();
        self.tell(totals, |observer| observer.timed_out(&self.pool, waited));
    }

    /// Warns of a knob that had to be changed.
    pub(crate) fn warn(&self, totals: &Counters, text: &str) {
        self.speak(totals, || {
            log::warn!(target: TARGET, pool = self.pool.as_str(); "pool {}: {text}", self.pool);
        });
    }

    /// Warns of something once in the life of the pool.
    pub(crate) fn warn_once(&self, totals: &Counters, id: &'static str, text: &str, now: Instant) {
        if self.is_first(id, now) {
            self.warn(totals, text);
        }
    }

    /// Mentions something once in the life of the pool.
    pub(crate) fn mention_once(
        &self,
        totals: &Counters,
        id: &'static str,
        text: &str,
        now: Instant,
    ) {
        if self.is_first(id, now) {
            self.speak(totals, || {
                log::info!(target: TARGET, pool = self.pool.as_str(); "pool {}: {text}", self.pool);
            });
        }
    }

    fn is_first(&self, id: &'static str, now: Instant) -> bool {
        let mut bursts = self.bursts.lock();
        let known = bursts.iter().any(|burst| burst.kind == Kind::Once(id));
        if !known {
            bursts.push(Burst { kind: Kind::Once(id), logged: now, latest: now, silent: 0 });
        }
        !known
    }

    /// Returns how many events were silent before this one, if it is to be logged.
    fn enter_burst(&self, kind: Kind, now: Instant) -> Option<u64> {
        let mut bursts = self.bursts.lock();
        let Some(burst) = bursts.iter_mut().find(|burst| burst.kind == kind) else {
            forget_old(&mut bursts, now);
            bursts.push(Burst { kind, logged: now, latest: now, silent: 0 });
            return Some(0);
        };
        let gap = now.saturating_duration_since(burst.latest);
        burst.latest = now.max(burst.latest);
        if gap <= BURST_GAP && now.saturating_duration_since(burst.logged) < BURST_REMINDER {
            burst.silent += 1;
            return None;
        }
        burst.logged = now;
        Some(std::mem::take(&mut burst.silent))
    }

    fn speak(&self, totals: &Counters, log: impl FnOnce()) {
        if fence(log).is_err() {
            totals.count_panic();
        }
    }

    fn tell(&self, totals: &Counters, call: impl Fn(&dyn Observer)) {
        for observer in &self.observers {
            if fence(|| call(&**observer)).is_err() {
                totals.count_panic();
            }
        }
    }
}

/// Warns of what no pool is known for: a driver says it, before there is a connection.
#[cfg(feature = "postgres")]
pub(crate) fn warn(text: &str) {
    // A log sink that panics must not cost an attempt to connect; nothing counts it.
    let _ = fence(|| log::warn!(target: TARGET, "{text}"));
}

/// Codes come from servers, so their number is not ours to trust.
fn forget_old(bursts: &mut Vec<Burst>, now: Instant) {
    bursts.retain(|burst| {
        matches!(burst.kind, Kind::Once(_))
            || now.saturating_duration_since(burst.latest) <= BURST_GAP
    });
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> Kind {
        Kind::Closed(CloseReason::ServerClosed, String::new())
    }

    #[test]
    fn a_burst_is_logged_once_and_the_next_one_again_with_the_count() {
        let journal = Journal::new("p".into(), Vec::new());
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(journal.enter_burst(kind(), at(0)), Some(0));
        assert_eq!(journal.enter_burst(kind(), at(1)), None);
        assert_eq!(journal.enter_burst(kind(), at(2_900)), None);
        assert_eq!(journal.enter_burst(kind(), at(6_000)), Some(2));
    }

    #[test]
    fn a_burst_without_end_is_mentioned_every_minute() {
        let journal = Journal::new("p".into(), Vec::new());
        let start = Instant::now();
        let lines = (0..180)
            .filter(|second| {
                journal.enter_burst(kind(), start + Duration::from_secs(*second)).is_some()
            })
            .count();
        assert_eq!(lines, 3);
    }

    #[test]
    fn kinds_do_not_silence_one_another() {
        let journal = Journal::new("p".into(), Vec::new());
        let now = Instant::now();
        assert_eq!(journal.enter_burst(kind(), now), Some(0));
        let other = Kind::Closed(CloseReason::ServerShutdown, "57P01".into());
        assert_eq!(journal.enter_burst(other, now), Some(0));
    }
}
