//! What all managed connections of one pool or manager share: the driver, the
//! options, the counters, the event log, and since when connections must be verified.

use super::age_limits::AgeLimits;
use super::atomic_instant::AtomicInstant;
use super::checkouts::{CheckoutInfo, HolderReport};
use super::effective_size::EffectiveSize;
use super::exact_times;
use super::hooks::Hooks;
use super::known_limits::KnownLimits;
use super::option_conflicts;
use super::permits::Permits;
use super::pool_totals::PoolTotals;
use crate::config::{Config, ServerLimits, SessionDefaults, SizePolicy, Validation};
use crate::driver::Driver;
use crate::driver::workarounds::async_context::thread_may_block;
use crate::error::{BoxError, Error, ErrorKind};
use crate::observe::{ConnectionInfo, Counters, EventLog, Observer, Uses};
use crate::sys::catch_panic::{CatchOnDrop, CaughtPanic, catch_panic};
use crate::sys::clock::{self, Tick};
use crate::sys::process;
use crate::sys::sockets::Descriptor;
use crate::sys::watcher::{self, OnEnd, Watched};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The shared part of all managed connections of one pool or manager.
pub(crate) struct Shared<D: Driver> {
    driver: CatchOnDrop<D>,
    config: Config,
    hooks: Hooks<D::Connection>,
    /// `None` if no default is set.
    session_defaults: Option<SessionDefaults>,
    totals: Arc<PoolTotals>,
    event_log: EventLog,
    /// Called when the watcher has noticed ends of connections, and for the end of a burst.
    on_end: OnceLock<Arc<OnEnd>>,
    /// It will be called for the end of the bursts of now.
    bursts_are_watched: AtomicBool,
    permits: Arc<Permits>,
    age_limits: AgeLimits,
    effective_size: Mutex<EffectiveSize>,
    known: Mutex<KnownLimits>,
    /// The process that built the pool: a child forked from it must leave it alone.
    generation: usize,
    /// How long the computer has been suspended, as last noted; nanoseconds.
    suspended: AtomicU64,
    /// When a ping that timed out began: connections not verified since are ruled out.
    ruled_out: AtomicInstant,
    /// When a connection was last lost unexpectedly: connections not verified since are
    /// pinged before their next use.
    verify_after: AtomicInstant,
    /// When a server was last found read-only: connections opened before lead to it.
    read_only: AtomicInstant,
    /// When all connections were last retired: those opened before are closed.
    retirement: AtomicInstant,
    /// When the server last answered that no session waits for a slot of the fleet.
    slots_not_wanted: AtomicInstant,
}

/// How often a write refused as read-only may close all older connections: a pool of
/// replicas to which a caller writes by mistake must not reopen them all the time.
const READ_ONLY_EVERY: Duration = Duration::from_secs(1);

/// The process of a pool that no process can use: it would share its state with the
/// parent process.
const NOWHERE: usize = usize::MAX;

/// How often a pool of a fleet asks whether a session waits for a slot.
const ASK_FOR_SLOTS_EVERY: Duration = Duration::from_millis(500);

/// What is shorter ends no connection.
const SUSPENSION: Duration = Duration::from_secs(1);

impl<D: Driver> Shared<D> {
    pub(crate) fn new(
        driver: D,
        config: Config,
        hooks: Hooks<D::Connection>,
        observers: Vec<Arc<dyn Observer>>,
    ) -> Arc<Shared<D>> {
        process::watch_forks();
        let label = || catch_panic(|| driver.label()).unwrap_or_else(|_| "unnamed".into());
        let name = config.name.clone().unwrap_or_else(label);
        let effective_size = EffectiveSize::new(
            config.size_policy.unwrap_or(SizePolicy::Fixed(config.max_size)),
            config.size_policy.and(config.max_size_is_chosen.then_some(config.max_size)),
            config.max_size,
        );
        let defaults = config.session_defaults();
        let session_defaults = (!defaults.is_empty()).then_some(defaults);
        let is_exact = !observers.is_empty() || exact_times::are_needed(&config);
        Arc::new(Shared {
            permits: Permits::new(effective_size.effective()),
            age_limits: AgeLimits::new(&config),
            effective_size: Mutex::new(effective_size),
            known: Mutex::default(),
            generation: if process::is_forked() { NOWHERE } else { process::generation() },
            suspended: AtomicU64::new(clock::nanos_of(clock::suspended())),
            driver: CatchOnDrop::new(driver),
            config,
            hooks,
            session_defaults,
            totals: Arc::new(PoolTotals::new(is_exact)),
            event_log: EventLog::new(name, observers),
            on_end: OnceLock::new(),
            bursts_are_watched: AtomicBool::new(false),
            ruled_out: AtomicInstant::never(),
            verify_after: AtomicInstant::never(),
            read_only: AtomicInstant::never(),
            retirement: AtomicInstant::never(),
            slots_not_wanted: AtomicInstant::never(),
        })
    }

    pub(crate) fn driver(&self) -> &D {
        &self.driver
    }

    /// Calls the driver; catches and counts its panic.
    #[inline]
    pub(crate) fn ask<'a, T>(&'a self, call: impl FnOnce(&'a D) -> T) -> Result<T, CaughtPanic> {
        let answer = catch_panic(|| call(&self.driver));
        if answer.is_err() {
            self.totals().count_panic();
        }
        answer
    }

    /// Returns `true` if the pool may make this thread wait: it drives no async runtime, or
    /// the pool may block such threads.
    pub(crate) fn may_wait_here(&self) -> bool {
        self.config.allow_async_threads || thread_may_block()
    }

    /// Returns `true` if the pool may make this thread wait for the driver's I/O.
    pub(crate) fn may_block_here(&self) -> bool {
        self.may_wait_here() && self.ask(D::may_block_here).unwrap_or(false)
    }

    /// Returns `true` if the pool may make this thread wait in its queue, which does none of
    /// the driver's I/O.
    pub(crate) fn may_queue_here(&self) -> bool {
        self.config.allow_async_threads || self.may_block_here()
    }

    /// Returns `true` if a connection can be used on this thread.
    #[inline]
    pub(crate) fn is_usable_here(&self) -> bool {
        self.config.allow_async_threads || self.ask(D::is_usable_here).unwrap_or(false)
    }

    /// Returns `true` if this process was forked from the one that built the pool: its
    /// connections are the parent's, and its locks may be locked forever.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.generation != process::generation()
    }

    /// Returns the error of every call in a forked child.
    pub(crate) fn forked(&self) -> Error {
        let text = format!(
            "pool {}: this process was forked from one that has used poolwarden, and no pool \
             works here: use the pool in the parent process, or start a program by exec",
            self.name()
        );
        Error::new(ErrorKind::Forked, text)
    }

    /// Looks whether the computer was suspended since the last call: then every connection
    /// is pinged before its next use, and its age counts that time.
    pub(crate) fn note_suspension(&self, suspended: Duration, now: Instant) {
        let (before, total) = (self.suspended.load(Relaxed), clock::nanos_of(suspended));
        if total.saturating_sub(before) >= clock::nanos_of(SUSPENSION) {
            self.suspended.store(total, Relaxed);
            self.require_verification(now);
        }
    }

    /// Returns how long the computer has been suspended, in nanoseconds, as last noted.
    #[inline]
    pub(super) fn suspended(&self) -> u64 {
        self.suspended.load(Relaxed)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// Sets the session's defaults on a new connection, or on one that a reset has cleared.
    pub(crate) fn set_session_defaults(
        &self,
        session: &mut D::Session,
    ) -> Result<Result<(), BoxError>, CaughtPanic> {
        let Some(defaults) = &self.session_defaults else { return Ok(Ok(())) };
        self.ask(|driver| driver.defaults().map_or(Ok(()), |by| by.set_defaults(session, defaults)))
    }

    #[inline]
    pub(crate) fn hooks(&self) -> &Hooks<D::Connection> {
        &self.hooks
    }

    pub(crate) fn totals(&self) -> &Counters {
        &self.totals.counters
    }

    /// Returns the totals, which may outlive the pool.
    pub(crate) fn pool_totals(&self) -> &Arc<PoolTotals> {
        &self.totals
    }

    pub(crate) fn event_log(&self) -> &EventLog {
        &self.event_log
    }

    pub(crate) fn name(&self) -> &str {
        self.event_log.pool()
    }

    /// Has this called when the watcher has noticed that peers have ended connections. It
    /// must not block.
    pub(crate) fn on_end(&self, call: Arc<OnEnd>) {
        let _ = self.on_end.set(call);
    }

    /// Has the pool maintained for the end of a burst of events that were not all logged: there
    /// may be no connection left for which anything looks again.
    pub(crate) fn watch_bursts(&self) {
        let is_needed = self.event_log.next_burst_end().is_some();
        if is_needed
            && !self.bursts_are_watched.swap(true, Relaxed)
            && let Some(call) = self.on_end.get()
        {
            call();
        }
    }

    /// Logs the bursts of events that have ended; returns when the next one ends.
    pub(crate) fn end_bursts(&self, now: Instant) -> Option<Instant> {
        self.bursts_are_watched.store(false, Relaxed);
        let next = self.event_log.end_bursts(self.totals(), now);
        self.bursts_are_watched.store(next.is_some(), Relaxed);
        next
    }

    /// Has the watcher notice when the peer ends a new connection; `None` if it cannot, or
    /// if nothing is checked.
    pub(super) fn watch(&self, socket: Option<&Descriptor>) -> Option<Watched> {
        if self.config.validation == Validation::Off {
            return None;
        }
        watcher::watch(socket?, self.on_end.get_or_init(|| Arc::new(|| ())))
    }

    /// Numbers a new connection and registers it with the check-outs.
    pub(super) fn register(
        &self,
        server_process: Option<u64>,
        birth: Instant,
        deadline: Option<Instant>,
    ) -> (u64, Arc<CheckoutInfo>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Relaxed);
        let one_in = self.config.held_backtrace;
        let checkout = CheckoutInfo::new((id, server_process), birth, deadline, one_in);
        let checkout = Arc::new(checkout);
        self.totals.checkouts.register(&checkout);
        (id, checkout)
    }

    pub(super) fn unregister(&self, checkout: &Arc<CheckoutInfo>) {
        self.totals.unregister(checkout);
    }

    /// Returns how often connections were checked out and peeked at.
    pub(crate) fn uses(&self) -> Uses {
        self.totals.uses()
    }

    pub(crate) fn holders(&self, now: Instant) -> HolderReport {
        self.totals.checkouts.report(now)
    }

    /// Returns every open connection; the oldest first.
    pub(crate) fn connections(&self, now: Instant) -> Vec<ConnectionInfo> {
        self.totals.checkouts.list(now)
    }

    /// Logs and reports the connections that have been held for longer than `held_warning`.
    pub(crate) fn warn_of_held(&self, now: Instant) {
        let Some(limit) = self.config.held_warning else { return };
        for info in self.totals.checkouts.newly_held_for(limit, now) {
            self.event_log.held_too_long(self.totals(), &info, limit);
        }
    }

    pub(crate) fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    pub(crate) fn age_limits(&self) -> &AgeLimits {
        &self.age_limits
    }

    /// Rules out every connection not verified since: a ping that began then timed out.
    pub(crate) fn rule_out_unverified(&self, since: Instant) {
        self.ruled_out.raise(since);
        self.require_verification(since);
    }

    /// Returns the instant since which a connection must have been verified not to be
    /// ruled out, if a ping has timed out.
    pub(super) fn ruled_out_before(&self) -> Option<Tick> {
        self.ruled_out.get()
    }

    /// Closes every connection opened before this instant before its next use: a server
    /// was found read-only then. Rate-limited, because a new connection may lead to the
    /// same server; returns `true` if it was done.
    pub(crate) fn mark_read_only(&self, since: Instant) -> bool {
        let raised = self.read_only.raise_if_older(READ_ONLY_EVERY, since);
        self.require_verification(since);
        raised
    }

    /// Returns the instant before which opened connections lead to a read-only server, if
    /// one was found.
    pub(super) fn read_only_since(&self) -> Option<Tick> {
        self.read_only.get()
    }

    /// Requires a ping, before its next use, of every connection not verified since: a
    /// connection was lost then, and others may have been.
    pub(crate) fn require_verification(&self, since: Instant) {
        self.verify_after.raise(since);
    }

    /// Returns the instant since which a connection must have been verified to be used
    /// without a ping, if there is one. `ruled_out_before` and `read_only_since` are never
    /// later than this.
    #[inline]
    pub(super) fn verify_after(&self) -> Option<Tick> {
        self.verify_after.get()
    }

    /// Retires every connection born before this instant.
    pub(crate) fn retire_all(&self, now: Instant) {
        self.retirement.raise(now);
    }

    #[inline]
    pub(super) fn retired_since(&self) -> Option<Tick> {
        self.retirement.get()
    }

    /// Notes that no session waits for a slot of the fleet.
    pub(super) fn slots_are_not_wanted(&self, now: Instant) {
        self.slots_not_wanted.raise(now);
    }

    /// Returns `true` if a connection may ask whether a session waits for a slot.
    pub(super) fn may_ask_for_slots(&self, now: Tick) -> bool {
        let every = clock::nanos_of(ASK_FOR_SLOTS_EVERY);
        self.slots_not_wanted.get().is_none_or(|at| now.nanos_since(at) >= every)
    }

    /// Returns the server's limits as last read.
    pub(crate) fn limits(&self) -> Option<ServerLimits> {
        self.known.lock().limits.clone()
    }

    /// Returns how the maximum size follows from these limits.
    pub(super) fn calculation(&self, limits: &ServerLimits) -> Option<String> {
        let rule = self.effective_size.lock().rule();
        rule.apply(limits).map(|allowance| allowance.calculation)
    }

    /// Returns the options that exceed the server's limits, each with the numbers.
    pub(crate) fn conflicts(&self) -> Vec<String> {
        self.known.lock().conflicts.clone()
    }

    /// Returns `true` if the limits are due to be read.
    pub(crate) fn is_reading_due(&self, now: Instant) -> bool {
        self.config.read_server_limits && self.known.lock().is_reading_due(now)
    }

    /// Returns `true` if the limits are due to be read; the caller must then read them.
    pub(crate) fn claim_reading(&self, now: Instant) -> bool {
        self.config.read_server_limits && self.known.lock().claim_reading(now)
    }

    /// Makes the limits due to be read again, unless the last two readings failed.
    pub(crate) fn reading_failed(&self) {
        self.known.lock().reading_failed();
    }

    /// Makes the limits due to be read.
    pub(crate) fn reread_limits(&self) {
        self.known.lock().reread();
    }

    /// Lowers size, idle time and lifetime below the server's limits, and logs a warning
    /// for every option that had to be lowered, with the arithmetic.
    pub(crate) fn apply_limits(&self, limits: ServerLimits) {
        self.age_limits.apply(&self.config, limits.idle_timeout);
        let rule = self.resize(|effective_size| {
            let rule = effective_size.rule();
            effective_size.allow(rule.apply(&limits).map(|allowance| allowance.max_size));
            rule
        });
        let conflicts = option_conflicts::find(&self.config, rule, &limits);
        self.known.lock().read(limits);
        self.warn_of(conflicts);
    }

    /// Logs a warning for every option that exceeds a proxy's configured limits, before a
    /// server's limits are known.
    pub(crate) fn compare_options(&self) {
        let rule = self.effective_size.lock().rule();
        self.warn_of(option_conflicts::find(&self.config, rule, &ServerLimits::default()));
    }

    fn warn_of(&self, conflicts: Vec<String>) {
        let logged = {
            let mut known = self.known.lock();
            std::mem::replace(&mut known.conflicts, conflicts.clone())
        };
        if self.config.strict_limits {
            return;
        }
        for conflict in conflicts.iter().filter(|conflict| !logged.contains(conflict)) {
            self.event_log.warn(self.totals(), conflict);
        }
    }

    /// Changes what the size depends on, and reports the size if it has changed.
    fn resize<T>(&self, change: impl FnOnce(&mut EffectiveSize) -> T) -> T {
        let (changed, before, after) = {
            let mut effective_size = self.effective_size.lock();
            let before = effective_size.effective();
            let changed = change(&mut effective_size);
            let after = effective_size.effective();
            self.permits.set_limit(after);
            (changed, before, after)
        };
        if before != after {
            self.event_log.limit_changed(self.totals(), before, after);
        }
        changed
    }

    pub(crate) fn set_max_size(&self, count: u32) {
        let limits = self.limits();
        self.resize(|effective_size| {
            effective_size.set_max_size(count);
            if let Some(limits) = limits {
                let allowance = effective_size.rule().apply(&limits);
                effective_size.allow(allowance.map(|allowance| allowance.max_size));
            }
        });
    }

    /// Reduces the size for a while: the server is full while this many of its connections
    /// are ours.
    pub(crate) fn reduce(&self, held: u32, now: Instant) {
        self.resize(|effective_size| effective_size.reduce(held, now));
    }

    /// Ends a reduction of the size, in a fleet: a session has found a free slot, and there may
    /// be more.
    pub(crate) fn slot_was_free(&self) {
        if self.config.fleet_cap.is_some() {
            self.resize(EffectiveSize::restore);
        }
    }

    /// Takes a step back up, if one is due; returns `true` if the size changed.
    pub(crate) fn grow(&self, now: Instant) -> bool {
        self.resize(|effective_size| effective_size.grow(now))
    }

    pub(crate) fn next_step(&self) -> Option<Instant> {
        self.effective_size.lock().next_step()
    }
}
