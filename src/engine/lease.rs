//! A connection taken from the core, which is accounted for whatever its holder does.

use super::engine::{Engine, closing, discard, discard_all};
use super::use_count::UseCount;
use crate::connection::{CheckinVerdict, CloseCause, Managed, Shared};
use crate::driver::Driver;
use crate::observe::CloseReason;
use crate::sys::clock::Tick;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection that was taken from the core and not checked in yet.
///
/// Its drop is the check-in: no I/O and no wait, unless the session must be reset,
/// which takes a round trip.
pub(crate) struct Lease<D: Driver> {
    /// Law: `None` only after the core has counted it off.
    managed: Option<Box<Managed<D>>>,
    engine: Arc<UseCount<Engine<D>>>,
    /// A connection that is used in a destructor while its thread unwinds is kept; one
    /// whose thread began to panic while it held the connection is discarded.
    was_panicking: bool,
}

impl<D: Driver> Lease<D> {
    #[inline]
    pub(super) fn new(engine: &Arc<Engine<D>>, managed: Box<Managed<D>>) -> Lease<D> {
        Lease {
            managed: Some(managed),
            engine: engine.known_counts.one_more(engine),
            was_panicking: std::thread::panicking(),
        }
    }

    #[inline]
    pub(super) fn hand_out(&self, site: &'static Location<'static>, waited: Duration, now: Tick) {
        if !waited.is_zero() {
            // First: whoever sees the check-out counted finds its wait.
            self.engine.shared.totals().count_wait(waited);
        }
        self.managed().checkout().check_out(site, now);
        self.managed().handed_out();
        if !waited.is_zero() || self.engine.shared.event_log().is_observed() {
            self.report_checkout(site, waited, now);
        }
    }

    #[cold]
    fn report_checkout(&self, site: &'static Location<'static>, waited: Duration, now: Tick) {
        let now = now.instant();
        let shared = &self.engine.shared;
        let (totals, slow) = (shared.totals(), shared.config().slow_checkout);
        shared.event_log().checked_out(totals, (self.managed().id(), site), waited, slow, now);
    }

    #[inline]
    pub(crate) fn managed(&self) -> &Managed<D> {
        self.managed.as_ref().expect("bug: a connection was used after it was given back")
    }

    #[inline]
    pub(crate) fn managed_mut(&mut self) -> &mut Managed<D> {
        self.managed.as_mut().expect("bug: a connection was used after it was given back")
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<D>> {
        &self.engine.shared
    }

    /// Closes the connection instead of checking it in.
    pub(crate) fn discard(mut self, cause: CloseCause) {
        self.end(cause);
    }

    fn end(&mut self, cause: CloseCause) {
        if self.managed.as_ref().is_some_and(|managed| managed.is_forked()) {
            return drop(self.managed.take());
        }
        if cause.reason.hints_at_an_outage() {
            let has_served = self.managed.as_ref().is_none_or(|managed| managed.has_served());
            if has_served {
                self.engine.core.forbid_extra_attempts();
            } else {
                self.engine.core.new_connection_lost(Instant::now());
            }
        }
        if let Some(managed) = self.take() {
            discard(managed, cause);
        }
    }

    /// Takes the connection out of the pool and counts it off.
    pub(crate) fn take(&mut self) -> Option<Box<Managed<D>>> {
        let managed = self.managed.take()?;
        if !managed.is_forked() {
            self.engine.core.removed();
        }
        Some(managed)
    }

    /// Checks the connection in unchanged, because the caller does not use it.
    pub(super) fn put_back(mut self) {
        if let Some(managed) = self.managed.take() {
            self.check_in(managed);
        }
    }

    /// Gives the connection to another thread; it stays counted as in use.
    pub(super) fn lend(&mut self) -> Option<Box<Managed<D>>> {
        self.managed.take()
    }

    pub(super) fn is_lent(&self) -> bool {
        self.managed.is_none()
    }

    pub(super) fn returned(&mut self, managed: Box<Managed<D>>) {
        self.managed = Some(managed);
    }

    /// Counts off a connection that was lent and will not return.
    pub(super) fn lost(&mut self) {
        self.engine.core.removed();
    }

    #[inline]
    fn check_in(&self, managed: Box<Managed<D>>) {
        if let Some(late) = self.engine.core.check_in(managed, Instant::now) {
            discard_all(closing(late));
        }
    }
}

impl<D: Driver> Drop for Lease<D> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut managed) = self.managed.take() else { return };
        if managed.is_forked() {
            return;
        }
        let now = managed.now();
        let has_served = managed.has_served();
        let verdict = if std::thread::panicking() && !self.was_panicking {
            Err(CloseCause::planned(CloseReason::Panicked))
        } else {
            managed.keep(now)
        };
        if !has_served && verdict.is_ok() {
            self.engine.core.new_connection_served();
        }
        match verdict {
            Ok(CheckinVerdict::Keep) => self.check_in(managed),
            Ok(CheckinVerdict::NeedsReset) => self.reset_and_check_in(managed),
            Err(cause) => {
                self.managed = Some(managed);
                self.end(cause);
            }
        }
    }
}

impl<D: Driver> Lease<D> {
    /// Resets the session, which takes a round trip: on this thread if it may block,
    /// otherwise on another.
    #[cold]
    fn reset_and_check_in(&self, managed: Box<Managed<D>>) {
        let task = ResetTask { engine: Arc::clone(&**self.engine), managed: Some(managed) };
        if task.may_run_here() {
            return task.run();
        }
        let thread = std::thread::Builder::new().name("poolwarden-reset".into());
        // If no thread can be started, the task is dropped here, which closes it.
        let _ = thread.spawn(move || task.run());
    }
}

/// The reset of a connection at check-in; the connection stays counted as in use and
/// is accounted for whatever happens.
struct ResetTask<D: Driver> {
    engine: Arc<Engine<D>>,
    managed: Option<Box<Managed<D>>>,
}

impl<D: Driver> ResetTask<D> {
    fn may_run_here(&self) -> bool {
        self.managed.as_ref().is_some_and(|managed| managed.may_clean_here())
    }

    fn run(mut self) {
        let Some(managed) = self.managed.as_mut() else { return };
        if let Err(cause) = managed.clean() {
            managed.close_with(cause);
            return;
        }
        let Some(managed) = self.managed.take() else { return };
        if let Some(late) = self.engine.core.check_in(managed, Instant::now) {
            discard_all(closing(late));
        }
    }
}

impl<D: Driver> Drop for ResetTask<D> {
    fn drop(&mut self) {
        if let Some(managed) = self.managed.take() {
            self.engine.core.removed();
            discard(managed, CloseCause::planned(CloseReason::Dirty));
        }
    }
}
