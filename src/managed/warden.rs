//! What all managed connections of one pool or manager share: the driver, the
//! knobs, the counters, the journal, and what is suspected.

use super::holder::{Holder, Holders, Roster};
use crate::config::Config;
use crate::driver::Driver;
use crate::error::BoxError;
use crate::fence::{Panicked, fence};
use crate::observe::{Counters, Journal, Observer};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

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
    suspicion: Suspicion,
}

/// When a ping last timed out: what was proven before that is proven no more.
///
/// The flag keeps the lock off the path of a pool where nothing is suspected.
#[derive(Default)]
struct Suspicion {
    raised: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl<D: Driver> Warden<D> {
    pub(crate) fn new(
        driver: D,
        config: Config,
        init: Option<Arc<InitHook<D::Connection>>>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Arc<Warden<D>> {
        let label = || fence(|| driver.label()).unwrap_or_else(|_| "unnamed".into());
        let name = config.name.clone().unwrap_or_else(label);
        Arc::new(Warden {
            driver,
            config,
            init,
            totals: Counters::new(),
            journal: Journal::new(name, observers),
            roster: Roster::default(),
            suspicion: Suspicion::default(),
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

    /// A ping that began then got no answer: nothing proven before is proven.
    pub(crate) fn suspect(&self, since: Instant) {
        let mut latest = self.suspicion.since.lock();
        *latest = (*latest).max(Some(since));
        self.suspicion.raised.store(true, Relaxed);
    }

    /// Since when everything is suspected, if it is.
    #[inline]
    pub(super) fn suspected_since(&self) -> Option<Instant> {
        if !self.suspicion.raised.load(Relaxed) {
            return None;
        }
        *self.suspicion.since.lock()
    }
}
