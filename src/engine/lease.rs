//! A connection on loan: whatever happens to its holder, it is accounted for.

use super::{Engine, discard};
use crate::driver::Driver;
use crate::managed::{Discard, Kept, Managed, Warden};
use crate::observe::CloseReason;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

/// A connection that was taken from the core and not yet given back.
///
/// Its drop is the check-in. No I/O and no wait, unless the borrower left something
/// behind that only a round trip cleans.
pub(crate) struct Lease<D: Driver> {
    /// Law: `None` only when the core has been told that it is gone.
    managed: Option<Box<Managed<D>>>,
    engine: Arc<Engine<D>>,
    /// A guard that is used inside a destructor while its thread unwinds is not
    /// thrown away for that; one whose thread began to panic with it is.
    was_panicking: bool,
}

impl<D: Driver> Lease<D> {
    #[inline]
    pub(super) fn new(engine: &Arc<Engine<D>>, managed: Box<Managed<D>>) -> Lease<D> {
        Lease {
            managed: Some(managed),
            engine: Arc::clone(engine),
            was_panicking: std::thread::panicking(),
        }
    }

    #[inline]
    pub(super) fn handed_out(self, site: &'static Location<'static>, now: Instant) -> Lease<D> {
        self.managed().holder().check_out(site, now);
        self.managed().handed_out();
        self.engine.warden.totals().count_checkout();
        self
    }

    #[inline]
    pub(crate) fn managed(&self) -> &Managed<D> {
        self.managed.as_ref().expect("bug: a connection was used after it was given back")
    }

    #[inline]
    pub(crate) fn managed_mut(&mut self) -> &mut Managed<D> {
        self.managed.as_mut().expect("bug: a connection was used after it was given back")
    }

    pub(crate) fn warden(&self) -> &Arc<Warden<D>> {
        &self.engine.warden
    }

    /// Closes the connection instead of giving it back.
    pub(crate) fn discard(mut self, fate: Discard) {
        self.end(fate);
    }

    fn end(&mut self, fate: Discard) {
        if fate.reason.hints_at_an_outage() {
            self.engine.core.distrust();
        }
        if let Some(managed) = self.take() {
            discard(managed, fate);
        }
    }

    /// Takes the connection out of the pool's books.
    pub(crate) fn take(&mut self) -> Option<Box<Managed<D>>> {
        let managed = self.managed.take()?;
        self.engine.core.removed();
        Some(managed)
    }

    /// Puts it back untouched: it was looked at and not wanted.
    pub(super) fn put_back(mut self, now: Instant) {
        if let Some(managed) = self.managed.take() {
            self.give_back(managed, now);
        }
    }

    /// Lends it to another thread for a moment; it stays counted as in use.
    pub(super) fn lend(&mut self) -> Option<Box<Managed<D>>> {
        self.managed.take()
    }

    pub(super) fn returned(&mut self, managed: Box<Managed<D>>) {
        self.managed = Some(managed);
    }

    /// What was lent does not come back.
    pub(super) fn lost(&mut self) {
        self.engine.core.removed();
    }

    #[inline]
    fn give_back(&self, managed: Box<Managed<D>>, now: Instant) {
        if let Some(late) = self.engine.core.check_in(managed, now) {
            discard(late, Discard::planned(CloseReason::PoolClosed));
        }
    }
}

impl<D: Driver> Drop for Lease<D> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut managed) = self.managed.take() else { return };
        let now = Instant::now();
        let verdict = if std::thread::panicking() && !self.was_panicking {
            Err(Discard::planned(CloseReason::Panicked))
        } else {
            managed.keep(now)
        };
        match verdict {
            Ok(Kept::Clean) => self.give_back(managed, now),
            Ok(Kept::Soiled) => self.clean_and_give_back(managed),
            Err(fate) => {
                self.managed = Some(managed);
                self.end(fate);
            }
        }
    }
}

impl<D: Driver> Lease<D> {
    /// Cleaning costs a round trip: here if this thread may block, else elsewhere.
    #[cold]
    fn clean_and_give_back(&self, managed: Box<Managed<D>>) {
        let soiled = Soiled { engine: Arc::clone(&self.engine), managed: Some(managed) };
        if soiled.may_be_cleaned_here() {
            return soiled.clean();
        }
        let thread = std::thread::Builder::new().name("poolwarden-clean".into());
        // Without a thread it drops here, and is closed instead.
        let _ = thread.spawn(move || soiled.clean());
    }
}

/// A connection on its way from a borrower through a reset; still counted as in
/// use, and accounted for whatever happens.
struct Soiled<D: Driver> {
    engine: Arc<Engine<D>>,
    managed: Option<Box<Managed<D>>>,
}

impl<D: Driver> Soiled<D> {
    fn may_be_cleaned_here(&self) -> bool {
        self.managed.as_ref().is_some_and(|managed| managed.may_clean_here())
    }

    fn clean(mut self) {
        let Some(managed) = self.managed.as_mut() else { return };
        if let Err(fate) = managed.clean() {
            managed.doom(fate);
            return;
        }
        let Some(managed) = self.managed.take() else { return };
        if let Some(late) = self.engine.core.check_in(managed, Instant::now()) {
            discard(late, Discard::planned(CloseReason::PoolClosed));
        }
    }
}

impl<D: Driver> Drop for Soiled<D> {
    fn drop(&mut self) {
        if let Some(managed) = self.managed.take() {
            self.engine.core.removed();
            discard(managed, Discard::planned(CloseReason::Dirty));
        }
    }
}
