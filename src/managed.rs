//! A managed connection: the driver's own, with all that decides whether it may
//! be handed out again. What is guaranteed here holds in a bare `r2d2::Pool` too.

mod autopsy;
mod bounds;
mod brake;
mod check;
mod conflicts;
mod holder;
mod sizing;
mod warden;

pub(crate) use brake::Brake;
pub use brake::Stopped;
pub(crate) use check::{Discard, Kept, Look};
pub(crate) use holder::Holder;
pub(crate) use warden::{InitHook, Warden};

use crate::budget::Permit;
use crate::closer::{self, Farewell, Manner, Stop};
use crate::driver::{Driver, Gauge, Link};
use crate::fence::Panicked;
use crate::lifetime;
use crate::liveness::Descriptor;
use crate::observe::{CloseReason, Closed, Encryption, Words};
use crate::reset::Handling;
use crate::watchdog;
use brake::{Fittings, Parting};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An open connection and everything the pool knows about it.
///
/// Dropping it closes it, through the closer, for the reason it was doomed for.
pub(crate) struct Managed<D: Driver> {
    /// Law: present until the connection is closed or detached.
    parts: Option<Parts<D>>,
    warden: Arc<Warden<D>>,
    id: u64,
    birth: Instant,
    /// Law: computed once, at birth; neither handed out nor kept past it.
    deadline: Option<Instant>,
    /// When it came back last; its birth if it was never out.
    idle_since: Instant,
    /// When it was last known to work: its birth, or the last answered ping.
    verified: Instant,
    never_out: bool,
    /// How the borrower of now has had it.
    handling: Handling,
    fate: Option<Discard>,
    /// Made when it is first wanted.
    brake: OnceLock<Arc<Brake>>,
    /// A request to cancel was sent for the borrower who has just given it back.
    shaken: bool,
    holder: Arc<Holder>,
    permit: Option<Permit>,
    /// Law: entered in the counters from here on until the report of its end.
    encryption: Option<Encryption>,
}

/// What the driver gave us.
pub(crate) struct Parts<D: Driver> {
    pub(crate) connection: D::Connection,
    pub(crate) side: D::Side,
}

impl<D: Driver> Parts<D> {
    /// Asks the driver how the connection can be looked at.
    #[inline]
    fn link(&self, warden: &Warden<D>) -> Result<Link<'_>, Panicked> {
        warden.ask(|driver| driver.link(&self.connection, &self.side))
    }

    /// A descriptor of our own for the connection's socket, if it shows one.
    pub(crate) fn socket_copy(&self, warden: &Warden<D>) -> Option<Descriptor> {
        // Without a descriptor the permit would go back before the server has let go:
        // a driver that panicked over the question is asked once more.
        match self.link(warden).or_else(|_| self.link(warden)) {
            Ok(Link::Socket(socket)) => Descriptor::duplicate(socket).ok(),
            Ok(Link::InProcess | Link::Hidden) | Err(_) => None,
        }
    }
}

impl<D: Driver> Managed<D> {
    pub(crate) fn new(
        warden: &Arc<Warden<D>>,
        parts: Parts<D>,
        permit: Permit,
        birth: Instant,
        now: Instant,
    ) -> Box<Managed<D>> {
        let config = warden.config();
        let spread = fastrand::f64();
        let lifetime = warden.bounds().lifetime();
        let (id, holder) = warden.enrol();
        let managed = Box::new(Managed {
            parts: Some(parts),
            warden: Arc::clone(warden),
            id,
            birth,
            deadline: lifetime::deadline(birth, lifetime, config.lifetime_jitter, spread),
            idle_since: now,
            verified: now,
            never_out: true,
            handling: Handling::Untouched,
            fate: None,
            brake: OnceLock::new(),
            shaken: false,
            holder,
            permit: Some(permit),
            encryption: None,
        });
        if config.statement_timeout.is_some() {
            let _ = managed.brake.set(managed.make_brake());
        }
        managed
    }

    /// Asks how the connection is protected on its way, enters it in the books, and
    /// warns once of one that is not.
    pub(crate) fn enter_protection(&mut self, now: Instant) {
        let Some(parts) = &self.parts else { return };
        let told = self.warden.ask(|driver| driver.protection(&parts.connection, &parts.side));
        let Ok(Some(protection)) = told else { return };
        let totals = self.warden.totals();
        totals.enter_protected(protection.encryption);
        self.encryption = Some(protection.encryption);
        if let Some(warning) = protection.warning {
            let id = protection.encryption.as_str();
            self.warden.journal().warn_once(totals, id, &warning, now);
        }
    }

    #[inline]
    pub(crate) fn connection(&self) -> &D::Connection {
        &self.parts.as_ref().expect("bug: a closed connection was used").connection
    }

    #[inline]
    pub(crate) fn connection_mut(&mut self) -> &mut D::Connection {
        self.handled(Handling::Raw)
    }

    /// Borrows the connection and enters how, for the check-in.
    #[inline]
    pub(crate) fn handled(&mut self, handling: Handling) -> &mut D::Connection {
        self.handling = self.handling.max(handling);
        &mut self.parts.as_mut().expect("bug: a closed connection was used").connection
    }

    /// Borrows the connection for one of the pool's own queries, with what the
    /// driver keeps beside it.
    pub(crate) fn own_parts(&mut self) -> &mut Parts<D> {
        self.handling = self.handling.max(Handling::Own);
        self.parts.as_mut().expect("bug: a closed connection was used")
    }

    /// What the driver keeps beside the connection.
    pub(crate) fn side(&self) -> Option<&D::Side> {
        self.parts.as_ref().map(|parts| &parts.side)
    }

    /// What the driver gave us, until it is closed.
    pub(crate) fn parts(&self) -> Option<&Parts<D>> {
        self.parts.as_ref()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Tells whether there is no socket to look at.
    pub(crate) fn is_hidden(&self) -> bool {
        matches!(self.link(), Ok(Link::Hidden) | Err(_))
    }

    /// Tells whether it was opened since then and nobody has had it yet.
    pub(crate) fn is_new_since(&self, then: Instant) -> bool {
        self.never_out && self.idle_since >= then
    }

    /// Past its deadline, or past a lifetime that was lowered after its birth.
    #[inline]
    pub(crate) fn is_too_old(&self, now: Instant) -> bool {
        if lifetime::is_past(self.deadline, now) || self.warden.bounds().is_as_at_birth() {
            return lifetime::is_past(self.deadline, now);
        }
        lifetime::idled(self.birth, self.warden.bounds().lifetime(), now)
    }

    /// Tells, in a few loads, that no age and no idle time can be a reason to close
    /// it: the case of nearly every check-out.
    #[inline]
    fn is_in_its_prime(&self, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.idle_since);
        !lifetime::is_past(self.deadline, now)
            && self.warden.bounds().bears(idle)
            && self.warden.retired_since().is_none()
    }

    /// Why its age or its idle time is a reason to close it.
    #[cold]
    fn past_its_prime(&self, now: Instant) -> Option<CloseReason> {
        let idle = self.warden.config().min_idle == 0 && self.idled_too_long(now);
        self.overdue(now).or(idle.then_some(CloseReason::IdleTimeout))
    }

    /// Idle for longer than connections beyond `min_idle` may.
    #[inline]
    pub(crate) fn idled_too_long(&self, now: Instant) -> bool {
        lifetime::idled(self.idle_since, self.warden.bounds().idle(), now)
    }

    /// Idle for almost as long as the server or a proxy bears.
    #[inline]
    pub(crate) fn idled_unsafely(&self, now: Instant) -> bool {
        lifetime::idled(self.idle_since, self.warden.bounds().hard_idle(), now)
    }

    /// Born before all were retired.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.warden.retired_since().is_some_and(|since| self.birth <= since)
    }

    /// Why housekeeping must close it, whatever `min_idle` says.
    pub(crate) fn overdue(&self, now: Instant) -> Option<CloseReason> {
        if self.is_too_old(now) {
            Some(CloseReason::MaxLifetime)
        } else if self.idled_unsafely(now) {
            Some(CloseReason::IdleTimeout)
        } else {
            self.is_retired().then_some(CloseReason::Retired)
        }
    }

    /// Gives up its place if more are open than may be; it must then be closed.
    pub(crate) fn leave_if_surplus(&mut self) -> bool {
        self.permit.as_mut().is_some_and(Permit::leave_if_surplus)
    }

    /// The instant at which housekeeping has something to do with this one.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let bounds = self.warden.bounds();
        let idle = bounds.idle().map(|timeout| self.idle_since + timeout);
        let life = bounds.lifetime().map(|lifetime| self.birth + lifetime);
        [self.deadline, idle, life].into_iter().flatten().min()
    }

    /// Reads the server's limits over this connection, by the deadline.
    ///
    /// Blocks on the server until the deadline at most, if it has a socket.
    pub(crate) fn read_limits(&mut self, deadline: Instant) -> Result<(), Discard> {
        let watch = self.socket_copy().map(|socket| watchdog::cut_at(deadline, socket));
        let warden = Arc::clone(&self.warden);
        let parts = self.parts.as_mut().expect("bug: a closed connection was asked");
        let outcome = warden.read_limits(parts, deadline);
        drop(watch);
        outcome.map_err(|_| Discard::planned(CloseReason::PingFailed))
    }

    /// Decides why this connection is closed when it is dropped; the first
    /// decision stays.
    pub(crate) fn doom(&mut self, discard: Discard) {
        if discard.reason.casts_doubt() {
            self.warden.doubt(Instant::now());
        }
        self.fate.get_or_insert(discard);
    }

    /// Takes the driver's connection out of the pool's care; the permit goes back
    /// and every descriptor of ours is closed.
    pub(crate) fn detach(mut self) -> Option<D::Connection> {
        self.retire_brake();
        self.doom(Discard::planned(CloseReason::Detached));
        let parts = self.parts.take();
        self.report(Instant::now());
        parts.map(|parts| parts.connection)
    }

    /// What stops its statements, made at the first call, with the number of the
    /// borrow under way.
    pub(crate) fn brake_of_borrow(&self) -> (Arc<Brake>, u64) {
        let brake = self.brake.get_or_init(|| self.make_brake());
        (Arc::clone(brake), brake.check_out())
    }

    /// What stops its statements, if that was ever wanted.
    #[inline]
    pub(crate) fn brake(&self) -> Option<&Arc<Brake>> {
        self.brake.get()
    }

    fn make_brake(&self) -> Arc<Brake> {
        let config = self.warden.config();
        let brake = Brake::new(Fittings {
            connection: self.id,
            stop: self.stop(),
            socket: self.socket_copy(),
            patience: config.cancel_timeout,
            timeout: config.statement_timeout,
        });
        if let Some(Parts { connection, side }) = &self.parts {
            let gauge: Arc<dyn Gauge> = Arc::<Brake>::clone(&brake);
            let told = self.warden.ask(|driver| driver.gauge(connection, side, gauge));
            if told.unwrap_or(false) {
                brake.tells_of_statements();
            }
        }
        brake
    }

    fn stop(&self) -> Option<Stop> {
        let parts = self.parts.as_ref()?;
        let ask = |driver: &D| {
            let canceller = driver.canceller(&parts.connection, &parts.side)?;
            Some((canceller, driver.cancelling_takes_a_session()))
        };
        let (canceller, takes_a_session) = self.warden.ask(ask).ok().flatten()?;
        let config = self.warden.config();
        let budget = takes_a_session.then(|| Arc::clone(self.warden.budget()));
        Some(Stop { canceller, budget, tcp: config.tcp(), grace: config.close_grace })
    }

    /// Enters that a borrower has it, if that makes a difference.
    #[inline]
    pub(crate) fn handed_out(&self) {
        if let Some(brake) = self.brake.get() {
            brake.check_out();
        }
    }

    /// Enters that the borrower has given it back: what could stop its statements is
    /// void, and what was sent must settle.
    #[inline]
    fn release_brake(&mut self) -> Parting {
        let parting = self.brake.get().map_or(Parting::Calm, |brake| brake.check_in());
        self.shaken |= parting == Parting::Shaken;
        parting
    }

    /// Waits for what may still be stopping its statements; tells whether it is known
    /// to be done.
    fn has_settled(&self, deadline: Instant) -> bool {
        self.brake.get().is_none_or(|brake| brake.settle(deadline))
    }

    fn calm_down(&mut self) {
        if std::mem::take(&mut self.shaken)
            && let Some(brake) = self.brake.get()
        {
            brake.calm_down();
        }
    }

    fn retire_brake(&self) {
        if let Some(brake) = self.brake.get() {
            brake.retire();
        }
    }

    /// A descriptor of our own for the connection's socket, if it has one.
    pub(crate) fn socket_copy(&self) -> Option<Descriptor> {
        let parts = self.parts.as_ref()?;
        parts.socket_copy(&self.warden)
    }

    fn report(&mut self, now: Instant) {
        self.warden.dismiss(&self.holder);
        if let Some(encryption) = self.encryption.take() {
            self.warden.totals().leave_protected(encryption);
        }
        let fate = self.fate.take().unwrap_or_else(|| Discard::planned(CloseReason::Released));
        let was_idle = !self.holder.is_out();
        let idle = now.saturating_duration_since(self.idle_since);
        let event = Closed {
            pool: self.warden.journal().pool(),
            connection: self.id,
            reason: fate.reason,
            words: fate.words.as_ref(),
            age: now.saturating_duration_since(self.birth),
            idle: if was_idle { idle } else { Duration::ZERO },
        };
        self.warden.journal().closed(self.warden.totals(), &event, now);
    }

    /// Hands the driver's connection to the closer, which returns the permit.
    fn part(&mut self) {
        self.retire_brake();
        let busy = self.fate.as_ref().is_some_and(|fate| fate.busy);
        let stop =
            if busy { self.brake.get().map_or_else(|| self.stop(), |b| b.stop()) } else { None };
        let Some(mut parts) = self.parts.take() else { return };
        let (connection, side) = (&mut parts.connection, &mut parts.side);
        let owed = self.warden.ask(|driver| driver.give_up(connection, side)).unwrap_or(true);
        let fate = self.fate.as_ref();
        let manner = if busy {
            stop.map_or(Manner::Cut, Manner::Cancel)
        } else if fate.is_some_and(|fate| fate.reason.peer_has_ended_it()) {
            Manner::Ended
        } else if owed || fate.is_some_and(|fate| fate.reason.peer_is_deaf()) {
            Manner::Cut
        } else {
            Manner::Orderly
        };
        let socket = parts.socket_copy(&self.warden);
        closer::submit(Farewell {
            connection: Box::new(parts),
            socket,
            permit: self.permit.take(),
            grace: self.warden.config().close_grace,
            manner,
        });
    }
}

impl<D: Driver> Drop for Managed<D> {
    fn drop(&mut self) {
        if self.parts.is_some() {
            // The closer first: a slow log sink must not hold up the permit.
            if crate::fence::fence(|| self.part()).is_err() {
                self.warden.totals().count_panic();
            }
            self.report(Instant::now());
        }
    }
}

/// The server's own words, and why a connection goes.
impl Words {
    pub(crate) fn into_discard(self) -> Discard {
        Discard { reason: self.reason, words: Some(self), busy: false }
    }
}
