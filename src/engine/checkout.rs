//! One check-out: takes or waits for a connection and checks it, until one is healthy
//! or the deadline passes.

use super::checkout_error;
use super::engine::Engine;
use super::lease::Lease;
use super::ping::{self, Pinged};
use super::prepare::Prepared;
use super::suspension::Awaited;
use super::wait_phase::WaitPhase;
use crate::connection::{CheckoutVerdict, Shared};
use crate::driver::Driver;
use crate::engine::core::{Handover, Join, Take, Ticket};
use crate::error::Error;
use crate::observe::CloseReason;
use crate::sys::backoff::Backoff;
use crate::sys::clock::{self, Tick};
use crate::sys::stalled;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pauses after new connections that failed their first check: a server that accepts
/// connections and closes them must not be flooded with attempts.
const NEW_AND_DEAD_PAUSE: Backoff =
    Backoff::new(Duration::from_millis(10), Duration::from_millis(500));

/// How long a check-out that never waits lets the housekeeper finish its check of the
/// only idle connection, which takes about a microsecond.
const CHECK_TIME: Duration = Duration::from_millis(1);

/// Whether a check-out may block the thread it runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// Only if the pool and its driver allow it on this thread.
    IfAllowed,
    /// Always: this was asked already, or the program is starting and no other task waits
    /// for this thread.
    Always,
}

impl<D: Driver> Engine<D> {
    /// Checks a connection out. Blocks for at most `timeout`.
    #[inline]
    pub(crate) fn check_out(
        self: &Arc<Self>,
        timeout: Duration,
        blocking: Blocking,
        site: &'static Location<'static>,
    ) -> Result<Lease<D>, Error> {
        if self.shared.is_forked() {
            return Err(self.shared.forked());
        }
        if blocking == Blocking::IfAllowed && !self.shared.is_usable_here() {
            return Err(checkout_error::unusable_here(self));
        }
        if self.suspension.is_suspended() {
            return self.check_out_when_resumed(timeout, blocking, site);
        }
        let mut first = None;
        match self.core.take(Instant::now) {
            Take::Idle(managed) => {
                let mut lease = Lease::new(self, managed);
                let now = lease.managed().now();
                match lease.managed_mut().look(now) {
                    CheckoutVerdict::Ready if self.shared.hooks().on_checkout().is_none() => {
                        lease.hand_out(site, Duration::ZERO, now);
                        return Ok(lease);
                    }
                    verdict => first = Some((lease, verdict)),
                }
            }
            Take::Nothing => {}
            Take::Closed => return Err(checkout_error::closed(self)),
        }
        let began = Instant::now();
        let deadline = clock::after(began, timeout);
        let check_out = CheckOut {
            engine: self,
            began,
            timeout,
            deadline,
            blocking,
            ticket: None,
            unused: None,
        };
        let lease = check_out.run(first)?;
        let waited = began.elapsed();
        lease.hand_out(site, waited, lease.managed().now());
        Ok(lease)
    }

    /// Hands out an idle connection that needs no ping. Never waits, never opens.
    pub(crate) fn try_check_out(
        self: &Arc<Self>,
        site: &'static Location<'static>,
    ) -> Option<Lease<D>> {
        if self.shared.is_forked() || !self.shared.is_usable_here() || self.is_suspended() {
            return None;
        }
        let now = Instant::now();
        loop {
            let managed = match self.core.take(|| now) {
                Take::Idle(managed) => managed,
                Take::Nothing if self.core.is_checking() && now.elapsed() < CHECK_TIME => {
                    std::thread::yield_now();
                    continue;
                }
                Take::Nothing | Take::Closed => return None,
            };
            let mut lease = Lease::new(self, managed);
            let tick = lease.managed().now();
            match lease.managed_mut().look(tick) {
                // There is no time for a ping; as far as the kernel knows it is alive.
                CheckoutVerdict::Ready | CheckoutVerdict::Unverified => {
                    match self.prepare_now(lease)? {
                        Prepared::Ready(lease) => {
                            lease.hand_out(site, Duration::ZERO, lease.managed().now());
                            return Some(lease);
                        }
                        Prepared::Refused => {}
                    }
                }
                CheckoutVerdict::Close(cause) => lease.discard(cause),
                CheckoutVerdict::NeedsPing => {
                    lease.put_back();
                    return None;
                }
            }
        }
    }
}

impl<D: Driver> Engine<D> {
    /// Waits until the pool is resumed, and then checks out in the time that is left.
    #[cold]
    fn check_out_when_resumed(
        self: &Arc<Self>,
        timeout: Duration,
        blocking: Blocking,
        site: &'static Location<'static>,
    ) -> Result<Lease<D>, Error> {
        if blocking == Blocking::IfAllowed && !self.shared.may_block_here() {
            let action = "wait until the pool is resumed";
            return Err(checkout_error::async_context(self, action));
        }
        let (began, limit) = (Instant::now(), self.shared.config().max_waiting);
        let deadline = clock::after(began, timeout);
        match self.suspension.wait(limit, deadline) {
            Awaited::Resumed => {
                let left = clock::left(deadline, Instant::now());
                self.check_out(left, blocking, site)
            }
            Awaited::TimedOut => {
                Err(checkout_error::too_late(self, began, timeout, WaitPhase::Suspended))
            }
            Awaited::Full(limit) => Err(checkout_error::full(self, limit)),
        }
    }

    /// Runs `on_checkout` for a check-out that does not wait; `None` if the hook must not
    /// run on this thread.
    fn prepare_now(self: &Arc<Self>, lease: Lease<D>) -> Option<Prepared<Lease<D>>> {
        if self.shared.hooks().on_checkout().is_none() {
            return Some(Prepared::Ready(lease));
        }
        if !self.shared.may_block_here() {
            lease.put_back();
            return None;
        }
        // The hook has a bound of its own.
        let far = clock::after(Instant::now(), self.shared.config().checkout_timeout);
        Some(self.prepare(lease, false, far).unwrap_or(Prepared::Refused))
    }
}

/// A check-out that did not succeed with the first connection.
struct CheckOut<'a, D: Driver> {
    engine: &'a Arc<Engine<D>>,
    began: Instant,
    timeout: Duration,
    deadline: Instant,
    blocking: Blocking,
    /// Kept if the connection that was handed over fails its check.
    ticket: Option<Ticket>,
    /// Why the last new connection was closed instead of being handed out.
    unused: Option<CloseReason>,
}

impl<D: Driver> CheckOut<'_, D> {
    fn run(mut self, first: Option<(Lease<D>, CheckoutVerdict)>) -> Result<Lease<D>, Error> {
        let mut found = first;
        let mut new_and_dead = 0;
        loop {
            let (lease, verdict) = match found.take() {
                Some(found) => found,
                None => {
                    let mut lease = self.next()?;
                    let verdict = lease.managed_mut().look(Tick::of(Instant::now()));
                    (lease, verdict)
                }
            };
            let is_new = lease.managed().is_new_since(self.began);
            let checked = match verdict {
                CheckoutVerdict::Ready => Ok(lease),
                CheckoutVerdict::Close(cause) => {
                    let reason = cause.reason;
                    lease.discard(cause);
                    Err(WaitPhase::after_close(reason, is_new))
                }
                CheckoutVerdict::NeedsPing | CheckoutVerdict::Unverified => {
                    match self.ping(lease)? {
                        Pinged::Answered(lease) => Ok(lease),
                        Pinged::Failed(CloseReason::PingTimeout) => Err(WaitPhase::Pinging),
                        Pinged::Failed(reason) => Err(WaitPhase::after_close(reason, is_new)),
                        Pinged::Late => return Err(self.too_late(WaitPhase::Pinging)),
                    }
                }
            };
            if let Err(WaitPhase::Pausing(reason)) = checked {
                self.unused = Some(reason);
            }
            let phase = match checked {
                Err(phase) => phase,
                Ok(lease) => match self.prepare(lease, is_new)? {
                    Prepared::Ready(lease) => return Ok(lease),
                    Prepared::Refused => WaitPhase::Preparing,
                },
            };
            self.check_time(phase)?;
            new_and_dead = if is_new { new_and_dead + 1 } else { 0 };
            self.pause(NEW_AND_DEAD_PAUSE.pause(new_and_dead, fastrand::f64()), phase)?;
        }
    }

    fn pause(&self, pause: Duration, phase: WaitPhase) -> Result<(), Error> {
        if pause.is_zero() {
            return Ok(());
        }
        std::thread::sleep(pause.min(clock::left(self.deadline, Instant::now())));
        self.check_time(phase)
    }

    fn check_time(&self, phase: WaitPhase) -> Result<(), Error> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(self.too_late(phase))
    }

    fn too_late(&self, phase: WaitPhase) -> Error {
        let phase = match self.unused {
            // The next one would have met the same.
            Some(reason) if phase == WaitPhase::Waiting && reason.is_planned() => {
                WaitPhase::Pausing(reason)
            }
            _ => phase,
        };
        checkout_error::too_late(self.engine, self.began, self.timeout, phase)
    }

    /// Takes an idle connection or waits for one.
    fn next(&mut self) -> Result<Lease<D>, Error> {
        match self.engine.core.take(Instant::now) {
            Take::Idle(managed) => Ok(Lease::new(self.engine, managed)),
            Take::Closed => Err(checkout_error::closed(self.engine)),
            Take::Nothing => self.wait(),
        }
    }

    fn wait(&mut self) -> Result<Lease<D>, Error> {
        self.allow("wait for a connection", Shared::may_queue_here)?;
        stalled::press_on();
        let config = self.engine.shared.config();
        let now = Instant::now();
        match self.engine.core.join(self.ticket.as_ref(), config.max_waiting, now) {
            Join::Idle(managed) => Ok(Lease::new(self.engine, managed)),
            Join::Closed => Err(checkout_error::closed(self.engine)),
            Join::Full(limit) => Err(checkout_error::full(self.engine, limit)),
            Join::Failed(error) => Err(checkout_error::failed(self.engine, error, self.began)),
            Join::Queued(ticket, orders) => {
                self.ticket = Some(ticket.clone());
                self.engine.start_dials(orders);
                self.wait_in_queue(&ticket)
            }
        }
    }

    fn wait_in_queue(&self, ticket: &Ticket) -> Result<Lease<D>, Error> {
        let core = &self.engine.core;
        loop {
            let now = Instant::now();
            if let Some(handover) = core.wait(ticket, self.deadline, self.deadline, now) {
                return self.accept(handover);
            }
            let now = Instant::now();
            if now >= self.deadline {
                return match core.leave(ticket) {
                    Some(handover) => self.accept(handover),
                    None => Err(self.too_late(WaitPhase::Waiting)),
                };
            }
            self.engine.start_dials(core.plan(now));
        }
    }

    fn accept(
        &self,
        handover: Handover<Box<crate::connection::Managed<D>>, crate::error::ConnectError>,
    ) -> Result<Lease<D>, Error> {
        match handover {
            Handover::Connection(managed) => Ok(Lease::new(self.engine, managed)),
            Handover::Failed(error) => Err(checkout_error::failed(self.engine, error, self.began)),
            Handover::Closed => Err(checkout_error::closed(self.engine)),
        }
    }

    fn may_block(&self, action: &str) -> Result<(), Error> {
        self.allow(action, Shared::may_block_here)
    }

    fn allow(&self, action: &str, is_allowed: fn(&Shared<D>) -> bool) -> Result<(), Error> {
        if self.blocking == Blocking::Always || is_allowed(&self.engine.shared) {
            return Ok(());
        }
        Err(checkout_error::async_context(self.engine, action))
    }

    /// Pings the connection, unless this thread must not block: then the connection is
    /// checked in unchanged.
    fn ping(&self, lease: Lease<D>) -> Result<Pinged<D>, Error> {
        match self.may_block("ping an idle connection") {
            Ok(()) => Ok(ping::ping(self.engine, lease, self.deadline)),
            Err(error) => {
                lease.put_back();
                Err(error)
            }
        }
    }

    /// Runs `on_checkout`, unless this thread must not block or there is no time left: then
    /// the connection is checked in unchanged.
    fn prepare(&self, lease: Lease<D>, is_new: bool) -> Result<Prepared<Lease<D>>, Error> {
        if self.engine.shared.hooks().on_checkout().is_none() {
            return Ok(Prepared::Ready(lease));
        }
        let may_run = self.may_block("run the on_checkout hook");
        match may_run.and_then(|()| self.check_time(WaitPhase::Preparing)) {
            Ok(()) => self.engine.prepare(lease, is_new, self.deadline),
            Err(error) => {
                lease.put_back();
                Err(error)
            }
        }
    }
}
