//! A managed connection: the driver's own, with everything that decides whether it may
//! be reused. What is guaranteed here holds in a bare `r2d2::Pool` too.

use super::cause::CloseCause;
use super::parts::Parts;
use crate::connection::checkouts::CheckoutInfo;
use crate::connection::closer::Stop;
use crate::connection::exact_times;
use crate::connection::lifetime;
use crate::connection::permits::Permit;
use crate::connection::shared::Shared;
use crate::connection::statement_timeout::{
    CancelState, SlowStatements, StatementTimer, TimerSettings,
};
use crate::driver::{Driver, Session, SocketAccess, StatementObserver, Usage};
use crate::observe::{CloseReason, Encryption};
use crate::sys::catch_panic::drop_catching;
use crate::sys::clock::Tick;
use crate::sys::deadlines;
use crate::sys::sockets::Descriptor;
use crate::sys::watcher::Watched;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// An open connection and everything the pool knows about it.
///
/// Dropping it closes it, through the closer, with the cause that `close_with` set.
pub(crate) struct Managed<D: Driver> {
    /// Law: present until the connection is closed or detached.
    pub(super) parts: Option<Parts<D>>,
    pub(super) shared: Arc<Shared<D>>,
    pub(super) id: u64,
    pub(super) birth: Instant,
    /// Law: computed once, at birth; neither handed out nor kept past it.
    pub(super) deadline: Option<Instant>,
    /// The same for the hot path.
    pub(super) deadline_tick: Tick,
    /// From when on only exact times tell whether its deadline has passed.
    pub(super) exact_from: Tick,
    /// When it was last returned; its birth if it was never checked out.
    pub(super) idle_since: Tick,
    /// When a ping last kept it alive while it was idle.
    pub(super) kept_alive: Option<Instant>,
    /// When the server last answered on it: its birth, the last ping or reset.
    pub(super) verified: Tick,
    /// How long the computer was suspended since its birth: its age counts that time.
    pub(super) asleep: Duration,
    /// The suspended time that `shared` had noted when this was last looked at.
    pub(super) suspended: u64,
    /// It has not been checked out yet.
    pub(super) never_out: bool,
    /// How the current borrower has used it.
    pub(super) usage: Usage,
    pub(super) cause: Option<CloseCause>,
    /// When it was closed, until that is reported.
    pub(super) closed: Option<Instant>,
    /// It is closed at a check-in whose check-out was not registered: a bare `r2d2::Pool`'s.
    pub(super) was_in_use: bool,
    /// Created at its first use.
    pub(super) timer: OnceLock<Arc<StatementTimer>>,
    /// A cancel request was sent during the last borrow.
    pub(super) cancel_requested: bool,
    /// From when on it gives its slot of the fleet to a session that waits for one.
    pub(super) turn_ends: Tick,
    pub(super) checkout: Arc<CheckoutInfo>,
    pub(super) permit: Option<Permit>,
    /// Law: dropped before the connection is closed: an end of ours is not the peer's.
    pub(super) watched: Option<Watched>,
    /// Law: counted in the counters as long as it is present.
    pub(super) encryption: Option<Encryption>,
}

impl<D: Driver> Managed<D> {
    pub(crate) fn new(
        shared: &Arc<Shared<D>>,
        parts: Parts<D>,
        permit: Permit,
        birth: Instant,
        now: Instant,
    ) -> Box<Managed<D>> {
        let config = shared.config();
        let jitter = fastrand::f64();
        let lifetime = shared.age_limits().lifetime();
        let deadline = lifetime::deadline(birth, lifetime, config.lifetime_jitter, jitter);
        let process = parts.describe(shared, |facts, session| facts.server_process(session));
        let (id, checkout) = shared.register(process, birth, deadline);
        let watched = shared.watch(parts.own_socket());
        let managed = Box::new(Managed {
            parts: Some(parts),
            shared: Arc::clone(shared),
            id,
            birth,
            deadline,
            deadline_tick: tick_of(deadline),
            exact_from: exact_times::from(deadline),
            idle_since: Tick::of(now),
            kept_alive: None,
            verified: Tick::of(now),
            asleep: Duration::ZERO,
            suspended: shared.suspended(),
            never_out: true,
            usage: Usage::Unused,
            cause: None,
            closed: None,
            was_in_use: false,
            timer: OnceLock::new(),
            cancel_requested: false,
            turn_ends: tick_of(config.fleet_cap.as_ref().map(|cap| now + cap.turn())),
            checkout,
            permit: Some(permit),
            watched,
            encryption: None,
        });
        if config.statement_timeout.is_some() || config.slow_statement.is_some() {
            let _ = managed.timer.set(managed.make_timer());
        }
        managed
    }

    /// Asks the driver how the connection is encrypted, and counts it; returns the warning
    /// about one that is not, with what tells warnings apart.
    pub(crate) fn record_protection(&mut self) -> Option<(&'static str, String)> {
        let parts = self.parts.as_ref()?;
        let protection =
            parts.describe(&self.shared, |facts, session| facts.protection(session))?;
        self.shared.totals().enter_encryption(protection.encryption);
        self.encryption = Some(protection.encryption);
        protection.warning.map(|warning| (protection.encryption.as_str(), warning))
    }

    #[inline]
    pub(crate) fn connection(&self) -> &D::Connection {
        self.parts.as_ref().expect("bug: a closed connection was used").session.connection()
    }

    #[inline]
    pub(crate) fn connection_mut(&mut self) -> &mut D::Connection {
        self.borrow_as(Usage::Raw)
    }

    /// Borrows the connection and records how it is used, for the check-in.
    #[inline]
    pub(crate) fn borrow_as(&mut self, usage: Usage) -> &mut D::Connection {
        self.usage = self.usage.max(usage);
        self.parts.as_mut().expect("bug: a closed connection was used").session.connection_mut()
    }

    /// Borrows the session for one of the pool's own queries.
    pub(crate) fn own_session(&mut self) -> &mut D::Session {
        self.usage = self.usage.max(Usage::PoolQueries);
        &mut self.parts.as_mut().expect("bug: a closed connection was used").session
    }

    /// Returns the session, until it is closed.
    pub(crate) fn session(&self) -> Option<&D::Session> {
        self.parts.as_ref().map(|parts| &parts.session)
    }

    /// Returns the session and what we hold for it, until it is closed.
    pub(crate) fn parts(&self) -> Option<&Parts<D>> {
        self.parts.as_ref()
    }

    /// Returns `true` if it belongs to the process from which this one was forked.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.shared.is_forked()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    #[inline]
    pub(crate) fn checkout(&self) -> &CheckoutInfo {
        &self.checkout
    }

    /// Returns `true` if the driver exposes no socket.
    pub(crate) fn socket_is_unavailable(&self) -> bool {
        matches!(self.socket_access(), Ok(SocketAccess::Unavailable) | Err(_))
    }

    /// Returns `true` if a borrower has returned it in a usable state.
    #[inline]
    pub(crate) fn has_served(&self) -> bool {
        !self.never_out
    }

    /// Returns `true` if the watcher has noticed that the peer has ended the connection.
    #[inline]
    pub(super) fn end_was_noticed(&self) -> bool {
        self.watched.as_ref().is_some_and(Watched::has_ended)
    }

    /// Returns `true` if it was opened since then and has not been checked out yet.
    pub(crate) fn is_new_since(&self, then: Instant) -> bool {
        self.never_out && self.idle_since >= Tick::of(then)
    }

    /// Returns why this connection is to be closed, if it is: more are open than allowed, or
    /// another pool is to have its shared permit. It has been idle for this long.
    pub(crate) fn leave_if_surplus(&mut self, idle: Duration) -> Option<CloseReason> {
        let permit = self.permit.as_mut()?;
        if permit.leave_if_surplus() {
            return Some(CloseReason::Surplus);
        }
        permit.leave_if_given_up(idle).then_some(CloseReason::GivenUp)
    }

    /// Returns `true` if another pool is to have the shared permit of this connection, which
    /// has been idle for this long.
    pub(crate) fn leave_if_given_up(&mut self, idle: Duration) -> bool {
        self.permit.as_mut().is_some_and(|permit| permit.leave_if_given_up(idle))
    }

    /// Reads the server's limits over this connection, by the deadline.
    ///
    /// Blocks on the server until the deadline at most, if the connection has a socket.
    pub(crate) fn read_limits(&mut self, deadline: Instant) -> Result<(), CloseCause> {
        let watch = self.socket_copy().map(|socket| deadlines::abort_at(deadline, socket));
        let shared = Arc::clone(&self.shared);
        let parts = self.parts.as_mut().expect("bug: a closed connection was queried");
        let outcome = parts.read_limits(&shared, deadline);
        drop(watch);
        outcome.map_err(|error| {
            let _ = drop_catching(error);
            CloseCause::planned(CloseReason::PingFailed)
        })
    }

    /// Returns the timer of its statements, created at the first call, and the number of
    /// the current borrow.
    pub(crate) fn timer_of_borrow(&self) -> (Arc<StatementTimer>, u64) {
        let timer = self.timer.get_or_init(|| self.make_timer());
        // A forked child may have inherited the timer's lock locked; its handle does nothing.
        let borrow = if self.is_forked() { 0 } else { timer.check_out() };
        (Arc::clone(timer), borrow)
    }

    /// Returns the timer of its statements, if one was created.
    #[inline]
    pub(crate) fn timer(&self) -> Option<&Arc<StatementTimer>> {
        self.timer.get()
    }

    pub(super) fn make_timer(&self) -> Arc<StatementTimer> {
        let config = self.shared.config();
        let timer = StatementTimer::new(TimerSettings {
            connection: self.id,
            stop: self.stop(),
            socket: self.socket_copy(),
            cancel_timeout: config.cancel_timeout,
            timeout: config.statement_timeout,
            slow: config.slow_statement.map(|limit| self.slow_statements(limit)),
        });
        if let Some(Parts { session, .. }) = &self.parts {
            let observer: Arc<dyn StatementObserver> = Arc::<StatementTimer>::clone(&timer);
            let observe = |driver: &D| Some(driver.statements()?.observe(session, observer));
            if self.shared.ask(observe).ok().flatten().unwrap_or(false) {
                timer.statements_are_observed();
            }
        }
        timer
    }

    fn slow_statements(&self, limit: Duration) -> SlowStatements {
        let (shared, checkout) = (Arc::downgrade(&self.shared), Arc::clone(&self.checkout));
        let id = self.id;
        let report = move |took| {
            if let Some(shared) = shared.upgrade() {
                let of = (id, checkout.site().location());
                let (log, totals) = (shared.event_log(), shared.totals());
                log.slow_statement(totals, of, took, limit, Instant::now());
            }
        };
        SlowStatements { limit, report: Box::new(report) }
    }

    pub(super) fn stop(&self) -> Option<Stop> {
        let parts = self.parts.as_ref()?;
        let (canceller, takes_a_session) = parts.canceller(&self.shared)?;
        let config = self.shared.config();
        let permits = takes_a_session.then(|| Arc::clone(self.shared.permits()));
        Some(Stop { canceller, permits, tcp: config.tcp(), grace: config.close_grace })
    }

    /// Tells the statement timer, if there is one, that the connection was checked out.
    #[inline]
    pub(crate) fn handed_out(&self) {
        if let Some(timer) = self.timer.get() {
            timer.check_out();
        }
    }

    /// Ends the borrow for the statement timer: its cancel handles become void, and a
    /// request that was sent must settle.
    #[inline]
    pub(super) fn release_timer(&mut self) -> CancelState {
        let state = self.timer.get().map_or(CancelState::None, |timer| timer.check_in());
        self.cancel_requested |= state == CancelState::Requested;
        state
    }

    /// Waits for cancel requests under way; returns `true` if all are known to be done.
    pub(super) fn has_settled(&self, deadline: Instant) -> bool {
        self.timer.get().is_none_or(|timer| timer.settle(deadline))
    }

    pub(super) fn clear_cancel_requested(&mut self) {
        if std::mem::take(&mut self.cancel_requested)
            && let Some(timer) = self.timer.get()
        {
            timer.clear_cancel_requested();
        }
    }

    pub(super) fn retire_timer(&self) {
        if let Some(timer) = self.timer.get() {
            timer.retire();
        }
    }

    /// Returns a descriptor of our own for the connection's socket, if it has one.
    pub(crate) fn socket_copy(&self) -> Option<Descriptor> {
        let parts = self.parts.as_ref()?;
        parts.socket_copy(&self.shared)
    }
}

pub(super) fn tick_of(deadline: Option<Instant>) -> Tick {
    deadline.map_or(Tick::NEVER, Tick::of)
}
