//! What all managed connections of one pool or manager share: the driver, the
//! knobs, the counters, the journal, and what is suspected.

use super::Parts;
use super::bounds::{Bounds, Since};
use super::conflicts;
use super::holder::{Holder, Holders, Roster};
use super::sizing::Sizing;
use crate::budget::Budget;
use crate::cap::Cap;
use crate::config::Config;
use crate::driver::Driver;
use crate::error::BoxError;
use crate::fence::{Panicked, fence};
use crate::limits::ServerLimits;
use crate::observe::{Counters, Journal, Observer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Prepares a new connection, on the thread that opens it.
pub(crate) type InitHook<C> = dyn Fn(&mut C) -> Result<(), BoxError> + Send + Sync;

/// The shared part of all managed connections of one pool or manager.
pub(crate) struct Warden<D: Driver> {
    driver: D,
    config: Config,
    init: Option<Arc<InitHook<D::Connection>>>,
    totals: Counters,
    journal: Journal,
    roster: Roster,
    budget: Arc<Budget>,
    bounds: Bounds,
    sizing: Mutex<Sizing>,
    known: Mutex<Known>,
    /// When a ping last timed out: what was proven before is proven no more.
    suspicion: Since,
    /// When something happened that may have happened to all: what was proven before
    /// is asked about before its next use.
    doubt: Since,
    /// When a server said that it takes no writes: what was opened before leads to it.
    shunned: Since,
    /// When all connections were retired: those born before go.
    retirement: Since,
}

/// What is known of the server's limits.
#[derive(Default)]
struct Known {
    limits: Option<ServerLimits>,
    asked: Option<Instant>,
    /// The knobs that the server's limits contradict, as last told.
    conflicts: Vec<String>,
}

/// How often the server's limits are read again.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// A pool of replicas, to which somebody writes by mistake, opens its connections anew
/// no more often than this.
const SHUN_EVERY: Duration = Duration::from_secs(1);

impl<D: Driver> Warden<D> {
    pub(crate) fn new(
        driver: D,
        config: Config,
        init: Option<Arc<InitHook<D::Connection>>>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Arc<Warden<D>> {
        let label = || fence(|| driver.label()).unwrap_or_else(|_| "unnamed".into());
        let name = config.name.clone().unwrap_or_else(label);
        let sizing = Sizing::new(
            config.cap.unwrap_or(Cap::Fixed(config.max_size)),
            config.cap.and(config.max_size_is_chosen.then_some(config.max_size)),
            config.max_size,
        );
        Arc::new(Warden {
            budget: Budget::new(sizing.effective()),
            bounds: Bounds::new(&config),
            sizing: Mutex::new(sizing),
            known: Mutex::default(),
            driver,
            config,
            init,
            totals: Counters::new(),
            journal: Journal::new(name, observers),
            roster: Roster::default(),
            suspicion: Since::never(),
            doubt: Since::never(),
            shunned: Since::never(),
            retirement: Since::never(),
        })
    }

    pub(crate) fn driver(&self) -> &D {
        &self.driver
    }

    /// Asks the driver something, behind the fence; a panic is counted.
    #[inline]
    pub(crate) fn ask<'a, T>(&'a self, question: impl FnOnce(&'a D) -> T) -> Result<T, Panicked> {
        let answer = fence(|| question(&self.driver));
        if answer.is_err() {
            self.totals.count_panic();
        }
        answer
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn init(&self) -> Option<&Arc<InitHook<D::Connection>>> {
        self.init.as_ref()
    }

    pub(crate) fn totals(&self) -> &Counters {
        &self.totals
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn name(&self) -> &str {
        self.journal.pool()
    }

    /// Numbers a new connection and puts it on the roster.
    pub(super) fn enrol(&self) -> (u64, Arc<Holder>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        let holder = Arc::new(Holder::new(id));
        self.roster.enrol(&holder);
        (id, holder)
    }

    pub(super) fn dismiss(&self, holder: &Arc<Holder>) {
        self.roster.dismiss(holder);
    }

    pub(crate) fn holders(&self, now: Instant) -> Holders {
        self.roster.report(now)
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// A ping that began then got no answer: nothing proven before is proven.
    pub(crate) fn suspect(&self, since: Instant) {
        self.suspicion.raise(since);
        self.doubt(since);
    }

    /// Since when everything is suspected, if it is.
    pub(super) fn suspected_since(&self) -> Option<Instant> {
        self.suspicion.get()
    }

    /// A server said then that it takes no writes: what was opened before is closed
    /// before its next use. At most once in a while, since opening anew may lead to
    /// the same server; tells whether it was done.
    pub(crate) fn shun(&self, since: Instant) -> bool {
        let raised = self.shunned.raise_if_older(SHUN_EVERY, since);
        self.doubt(since);
        raised
    }

    /// Since when everything opened is known to lead to a server of no use.
    pub(super) fn shunned_since(&self) -> Option<Instant> {
        self.shunned.get()
    }

    /// Something happened then that may have happened to all connections: each is
    /// asked about before its next use.
    pub(crate) fn doubt(&self, since: Instant) {
        self.doubt.raise(since);
    }

    /// Since when every connection is to be asked about, if it is. No suspicion and
    /// no shunning is later than this.
    #[inline]
    pub(super) fn doubted_since(&self) -> Option<Instant> {
        self.doubt.get()
    }

    /// Retires every connection born before this instant.
    pub(crate) fn retire_all(&self, now: Instant) {
        self.retirement.raise(now);
    }

    #[inline]
    pub(super) fn retired_since(&self) -> Option<Instant> {
        self.retirement.get()
    }

    /// The server's limits as last read.
    pub(crate) fn limits(&self) -> Option<ServerLimits> {
        self.known.lock().limits.clone()
    }

    /// The knobs that the server's limits contradict, each with the numbers.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        self.known.lock().conflicts.clone()
    }

    /// Takes the duty to read the limits, if it is time.
    pub(crate) fn claim_reading(&self, now: Instant) -> bool {
        let mut known = self.known.lock();
        let due = known.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= REFRESH);
        if due {
            known.asked = Some(now);
        }
        due
    }

    /// Asks for a new reading at the next occasion.
    pub(crate) fn read_again(&self) {
        self.known.lock().asked = None;
    }

    /// Reads the limits over this connection; the error says how it was lost over that.
    pub(crate) fn read_limits(
        &self,
        parts: &mut Parts<D>,
        deadline: Instant,
    ) -> Result<(), BoxError> {
        let read = self
            .ask(|driver| driver.server_limits(&mut parts.connection, &mut parts.side, deadline));
        let limits = read.map_err(BoxError::from).flatten()?;
        limits.into_iter().for_each(|limits| self.learn(limits));
        Ok(())
    }

    /// Brings cap, idle time and lifetime below the server's limits, and warns of
    /// every knob that had to be lowered, with the arithmetic.
    pub(crate) fn learn(&self, limits: ServerLimits) {
        self.bounds.apply(&self.config, limits.idle_timeout);
        let rule = {
            let mut sizing = self.sizing.lock();
            let rule = sizing.rule();
            sizing.allow(rule.apply(&limits).map(|allowance| allowance.cap));
            self.budget.set_limit(sizing.effective());
            rule
        };
        let conflicts = conflicts::find(&self.config, rule, &limits);
        self.known.lock().limits = Some(limits);
        self.tell(conflicts);
    }

    /// Tells of the knobs that contradict one another before a server is asked.
    pub(crate) fn compare_knobs(&self) {
        let rule = self.sizing.lock().rule();
        self.tell(conflicts::find(&self.config, rule, &ServerLimits::default()));
    }

    fn tell(&self, conflicts: Vec<String>) {
        let told = {
            let mut known = self.known.lock();
            std::mem::replace(&mut known.conflicts, conflicts.clone())
        };
        if self.config.strict_limits {
            return;
        }
        for conflict in conflicts.iter().filter(|conflict| !told.contains(conflict)) {
            self.journal.warn(&self.totals, conflict);
        }
    }

    pub(crate) fn set_max_size(&self, count: u32) {
        let mut sizing = self.sizing.lock();
        sizing.set_max_size(count);
        if let Some(limits) = self.limits() {
            let allowance = sizing.rule().apply(&limits);
            sizing.allow(allowance.map(|allowance| allowance.cap));
        }
        self.budget.set_limit(sizing.effective());
    }

    /// The server is full while it holds so many of ours: asks for no more for a
    /// while.
    pub(crate) fn squeeze(&self, held: u32, now: Instant) {
        let mut sizing = self.sizing.lock();
        sizing.squeeze(held, now);
        self.budget.set_limit(sizing.effective());
    }

    /// Takes a step back up, if it is time; tells whether the cap changed.
    pub(crate) fn grow(&self, now: Instant) -> bool {
        let mut sizing = self.sizing.lock();
        let grown = sizing.grow(now);
        self.budget.set_limit(sizing.effective());
        grown
    }

    pub(crate) fn next_step(&self) -> Option<Instant> {
        self.sizing.lock().next_step()
    }
}
