//! Log lines and observer calls of one pool: one line for each burst of events.

use super::call_gate::CallGate;
use super::close_reason::CloseReason;
use super::connection_info::ConnectionInfo;
use super::counters::Counters;
use super::event::{
    CheckedIn, CheckedOut, Closed, LimitChanged, LostTogether, Observer, Opened, OutageEnded,
    SlowStatement,
};
use super::history::{History, PastClose, PastOutage};
use super::log_lines;
use super::log_throttle::{EventKind, LogThrottle};
use super::outage_log::{EndedOutage, OutageLog};
use super::server_message::ServerMessage;
use crate::error::ConnectError;
use crate::sys::catch_panic::{CatchOnDrop, catch_panic};
use crate::sys::one_line::one_line;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// Writes the log lines and calls the observers of one pool or manager.
pub(crate) struct EventLog {
    pool: String,
    observers: Vec<CatchOnDrop<Arc<dyn Observer>>>,
    throttle: LogThrottle,
    outage: OutageLog,
    history: History,
    calls: CallGate,
    /// Events dropped that the observers were not told of.
    untold: AtomicU64,
}

impl EventLog {
    pub(crate) fn new(pool: String, observers: Vec<Arc<dyn Observer>>) -> EventLog {
        // A driver's label may hold foreign text; a name that a user chose holds none.
        let pool = one_line(&pool).into_owned();
        // Each by itself: a second panic in the drop of their list would abort.
        let observers = observers.into_iter().map(CatchOnDrop::new).collect();
        EventLog {
            pool,
            observers,
            throttle: LogThrottle::new(),
            outage: OutageLog::default(),
            history: History::new(Instant::now()),
            calls: CallGate::default(),
            untold: AtomicU64::new(0),
        }
    }

    pub(crate) fn pool(&self) -> &str {
        &self.pool
    }

    /// Returns `true` if there are observers.
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        !self.observers.is_empty()
    }

    pub(crate) fn opened(&self, totals: &Counters, connection: u64, took: Duration, now: Instant) {
        totals.count_opened(took);
        let ended = self.outage.succeeded(now.checked_sub(took).unwrap_or(now), now);
        if let Some(ended) = &ended {
            self.history.outage_ended(ended, SystemTime::now());
            self.throttle.forget_failed_attempts();
        }
        self.report(totals, || {
            if let Some(ended) = &ended {
                self.report_end(totals, ended);
            }
            self.catching(totals, || log_lines::opened(&self.pool, connection, took));
            let event = Opened { pool: &self.pool, connection, took };
            self.notify(totals, |observer| observer.opened(&event));
        });
    }

    fn report_end(&self, totals: &Counters, ended: &EndedOutage) {
        let EndedOutage { lasted, failed, lost, is_logged } = *ended;
        let event = OutageEnded { pool: &self.pool, lasted, failed, lost };
        if is_logged {
            self.catching(totals, || log_lines::outage_ended(&event));
        }
        self.notify(totals, |observer| observer.outage_ended(&event));
    }

    pub(crate) fn closed(&self, totals: &Counters, event: &Closed<'_>, now: Instant) {
        totals.count_closed(event.reason);
        self.history.closed(event, SystemTime::now());
        let is_planned = event.reason.is_planned();
        let admitted = if is_planned {
            None
        } else {
            self.outage.lost(now);
            let code = event.message.map(|message| message.code.to_string()).unwrap_or_default();
            self.throttle.admit(EventKind::Closed(event.reason, code), now)
        };
        self.report(totals, || {
            if is_planned {
                self.catching(totals, || log_lines::closed_as_planned(event));
            } else if let Some(suppressed) = admitted {
                self.catching(totals, || log_lines::lost(event, suppressed));
            }
            self.notify(totals, |observer| observer.closed(event));
        });
    }

    /// Reports a check-out; `slow` is the option `slow_checkout`.
    pub(crate) fn checked_out(
        &self,
        totals: &Counters,
        (connection, site): (u64, &'static std::panic::Location<'static>),
        waited: Duration,
        slow: Option<Duration>,
        now: Instant,
    ) {
        if !waited.is_zero() {
            self.history.waited(waited, now);
        }
        let event = CheckedOut { pool: &self.pool, connection, waited, site };
        let exceeded = slow.filter(|limit| waited >= *limit);
        if exceeded.is_none() && !self.is_observed() {
            return;
        }
        let line = exceeded.and_then(|limit| {
            totals.count_slow_checkout();
            Some((limit, self.throttle.admit(EventKind::SlowCheckout, now)?))
        });
        self.report(totals, || {
            if let Some((limit, suppressed)) = line {
                self.catching(totals, || log_lines::slow_checkout(&event, limit, suppressed));
            }
            self.notify(totals, |observer| observer.checked_out(&event));
            if exceeded.is_some() {
                self.notify(totals, |observer| observer.slow_checkout(&event));
            }
        });
    }

    /// Reports that several connections, `lost` of `open`, were lost together for the same
    /// reason; each is reported by `closed` afterwards.
    pub(crate) fn lost_together(
        &self,
        totals: &Counters,
        (lost, open): (usize, usize),
        (reason, message): (CloseReason, Option<&ServerMessage>),
        now: Instant,
    ) {
        let code = message.map(|message| message.code.to_string()).unwrap_or_default();
        let admitted = self.throttle.announce(EventKind::Closed(reason, code), lost as u64, now);
        let event = LostTogether { pool: &self.pool, lost, open, reason, message };
        self.report(totals, || {
            if let Some(suppressed) = admitted {
                self.catching(totals, || log_lines::lost_together(&event, suppressed));
            }
            self.notify(totals, |observer| observer.lost_together(&event));
        });
    }

    /// Reports the end of a check-out to the observers.
    pub(crate) fn checked_in(&self, totals: &Counters, connection: u64, used: Duration) {
        if self.is_observed() {
            let event = CheckedIn { pool: &self.pool, connection, used };
            self.report(totals, || {
                self.notify(totals, |observer| observer.checked_in(&event));
            });
        }
    }

    /// Reports a statement that took `limit` or longer.
    pub(crate) fn slow_statement(
        &self,
        totals: &Counters,
        (connection, site): (u64, Option<&'static std::panic::Location<'static>>),
        took: Duration,
        limit: Duration,
        now: Instant,
    ) {
        totals.count_slow_statement();
        let admitted = self.throttle.admit(EventKind::SlowStatement, now);
        let event = SlowStatement { pool: &self.pool, connection, took, site };
        self.report(totals, || {
            if let Some(suppressed) = admitted {
                self.catching(totals, || log_lines::slow_statement(&event, limit, suppressed));
            }
            self.notify(totals, |observer| observer.slow_statement(&event));
        });
    }

    /// Logs that a borrower left a transaction open; `site` is where it checked out.
    pub(crate) fn rolled_back(
        &self,
        totals: &Counters,
        connection: u64,
        site: &dyn Display,
        now: Instant,
    ) {
        totals.count_rolled_back();
        if let Some(suppressed) = self.throttle.admit(EventKind::RolledBack, now) {
            self.report_line(totals, || {
                log_lines::rolled_back(&self.pool, connection, site, suppressed);
            });
        }
    }

    /// Logs a failed attempt that began at `began`.
    pub(crate) fn connect_failed(
        &self,
        totals: &Counters,
        error: &ConnectError,
        began: Instant,
        now: Instant,
    ) {
        totals.count_connect_failure();
        let admitted = self.throttle.admit(EventKind::ConnectFailed(error.class()), now);
        let is_first = self.outage.failed(began, admitted.is_some(), now);
        if is_first {
            totals.count_outage();
            let text = catch_panic(|| one_line(&error.to_string()).into_owned());
            self.history.outage_began(text.unwrap_or_default(), SystemTime::now());
        }
        self.report(totals, || {
            if let Some(suppressed) = admitted {
                self.catching(totals, || log_lines::connect_failed(&self.pool, error, suppressed));
            }
            self.notify(totals, |observer| observer.connect_failed(&self.pool, error));
            if is_first {
                self.notify(totals, |observer| observer.outage_began(&self.pool, error));
            }
        });
    }

    /// Logs a check-out that reached its deadline; `text` is that of its error.
    pub(crate) fn timed_out(&self, totals: &Counters, waited: Duration, text: &str, now: Instant) {
        totals.count_timeout();
        self.history.waited(waited, now);
        let admitted = self.throttle.admit(EventKind::TimedOut, now);
        self.report(totals, || {
            if let Some(suppressed) = admitted {
                self.catching(totals, || {
                    log_lines::timed_out(&self.pool, waited, text, suppressed);
                });
            }
            self.notify(totals, |observer| observer.timed_out(&self.pool, waited));
        });
    }

    /// Logs that a caller holds a connection for longer than `limit`.
    pub(crate) fn held_too_long(&self, totals: &Counters, info: &ConnectionInfo, limit: Duration) {
        totals.count_held_too_long();
        self.report(totals, || {
            self.catching(totals, || log_lines::held_too_long(&self.pool, info, limit));
            self.notify(totals, |observer| observer.held_too_long(&self.pool, info));
        });
    }

    /// Logs that a connection came back that was reported as held too long; `site` is where
    /// it was checked out.
    pub(crate) fn returned_late(
        &self,
        totals: &Counters,
        connection: u64,
        held: Duration,
        site: &dyn Display,
    ) {
        self.report(totals, || {
            self.catching(totals, || log_lines::returned_late(&self.pool, connection, held, site));
            self.notify(totals, |observer| observer.returned_late(&self.pool, connection, held));
        });
    }

    /// Reports that the pool may have another number of connections.
    pub(crate) fn limit_changed(&self, totals: &Counters, before: u32, max_size: u32) {
        let event = LimitChanged { pool: &self.pool, before, max_size };
        self.report(totals, || {
            self.catching(totals, || log_lines::limit_changed(&event));
            self.notify(totals, |observer| observer.limit_changed(&event));
        });
    }

    /// Returns the last closes, the newest first.
    pub(crate) fn closes(&self) -> Vec<PastClose> {
        self.history.closes()
    }

    /// Returns the last outages, the newest first.
    pub(crate) fn outages(&self) -> Vec<PastOutage> {
        self.history.outages()
    }

    /// Returns the longest wait of each of the last periods, the newest last.
    pub(crate) fn waits(&self, now: Instant) -> Vec<Duration> {
        self.history.waits(now)
    }

    /// Logs that the pool was suspended or resumed.
    pub(crate) fn suspended(&self, totals: &Counters, is_suspended: bool) {
        let text = match is_suspended {
            true => "suspended: it hands out no connection until it is resumed",
            false => "resumed",
        };
        self.report_line(totals, || log_lines::mention(&self.pool, text));
    }

    /// Logs the bursts that have ended with events that were not logged. Returns when
    /// the next one ends.
    pub(crate) fn end_bursts(&self, totals: &Counters, now: Instant) -> Option<Instant> {
        let (ended, next) = self.throttle.end_bursts(now);
        for burst in ended {
            self.report_line(totals, || log_lines::burst_ended(&self.pool, &burst));
        }
        next
    }

    /// Returns when the next burst ends of which events were not logged.
    pub(crate) fn next_burst_end(&self) -> Option<Instant> {
        self.throttle.next_end()
    }

    /// Logs a warning about an option whose value had to be lowered.
    pub(crate) fn warn(&self, totals: &Counters, text: &str) {
        self.report_line(totals, || log_lines::warning(&self.pool, text));
    }

    /// Logs a warning once in the life of the pool.
    pub(crate) fn warn_once(&self, totals: &Counters, id: &'static str, text: &str, now: Instant) {
        if self.throttle.is_first(id, now) {
            self.warn(totals, text);
        }
    }

    /// Logs something worth knowing once in the life of the pool.
    pub(crate) fn mention_once(
        &self,
        totals: &Counters,
        id: &'static str,
        text: &str,
        now: Instant,
    ) {
        if self.throttle.is_first(id, now) {
            self.report_line(totals, || log_lines::mention(&self.pool, text));
        }
    }

    /// Calls the log sink and the observers for one event, unless an earlier call blocks.
    fn report(&self, totals: &Counters, report: impl FnOnce()) {
        match self.calls.enter(Instant::now()) {
            Some(_call) => {
                self.report_dropped(totals);
                report();
            }
            None => {
                self.untold.fetch_add(1, Relaxed);
                totals.count_event_dropped();
            }
        }
    }

    fn report_dropped(&self, totals: &Counters) {
        if self.untold.load(Relaxed) > 0 {
            let count = self.untold.swap(0, Relaxed);
            if count > 0 {
                self.notify(totals, |observer| observer.events_dropped(&self.pool, count));
            }
        }
    }

    /// As `report`, for an event that is only logged.
    fn report_line(&self, totals: &Counters, log: impl FnOnce()) {
        self.report(totals, || self.catching(totals, log));
    }

    fn catching(&self, totals: &Counters, log: impl FnOnce()) {
        if catch_panic(log).is_err() {
            totals.count_panic();
        }
    }

    fn notify(&self, totals: &Counters, call: impl Fn(&dyn Observer)) {
        for observer in &self.observers {
            if catch_panic(|| call(&***observer)).is_err() {
                totals.count_panic();
            }
        }
    }
}

/// Logs a warning of a driver that does not know its pool yet.
#[cfg(feature = "postgres")]
pub(crate) fn warn(text: &str) {
    // A log sink that panics must not cost an attempt to connect; nothing counts it.
    let _ = catch_panic(|| log_lines::warning_of_driver(text));
}
