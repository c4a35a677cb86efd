//! One check-out: take or wait, check, and again, within one deadline.

use super::{Engine, Lease, refusal};
use crate::clock;
use crate::core::{Delivery, Join, Place, Take};
use crate::driver::Driver;
use crate::error::Error;
use crate::fence::fence;
use crate::managed::{Discard, Look};
use crate::observe::CloseReason;
use crate::retry::Backoff;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pauses after connections that were opened for us and failed their check at
/// once: a server that accepts and hangs up must not be stormed.
const STILLBORN: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));

/// May this check-out block the thread it runs on?
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// Only if the driver says that this thread may.
    IfAllowed,
    /// Yes: the program starts, and nothing else waits for this thread.
    Always,
}

impl<D: Driver> Engine<D> {
    /// Checks a connection out. Blocks for at most the time given.
    #[inline]
    pub(crate) fn check_out(
        self: &Arc<Self>,
        timeout: Duration,
        blocking: Blocking,
        site: &'static Location<'static>,
    ) -> Result<Lease<D>, Error> {
        let began = Instant::now();
        let mut first = None;
        match self.core.take(began) {
            Take::Idle(managed) => {
                let mut lease = Lease::new(self, managed);
                match lease.managed_mut().look(began) {
                    Look::Fine => return Ok(lease.handed_out(site, began)),
                    look => first = Some((lease, look)),
                }
            }
            Take::Nothing => {}
            Take::Closed => return Err(refusal::closed(self)),
        }
        let deadline = clock::after(began, timeout);
        let visit = Visit { engine: self, began, timeout, deadline, blocking, place: None };
        visit.run(first).map(|lease| lease.handed_out(site, Instant::now()))
    }

    /// Hands out an idle connection that needs no ping. Never waits, never opens.
    pub(crate) fn try_check_out(
        self: &Arc<Self>,
        site: &'static Location<'static>,
    ) -> Option<Lease<D>> {
        let now = Instant::now();
        loop {
            let Take::Idle(managed) = self.core.take(now) else { return None };
            let mut lease = Lease::new(self, managed);
            match lease.managed_mut().look(now) {
                // It cannot be asked here; as far as the kernel knows it lives.
                Look::Fine | Look::Doubted => return Some(lease.handed_out(site, now)),
                Look::Close(fate) => lease.discard(fate),
                Look::AskServer => {
                    lease.put_back(now);
                    return None;
                }
            }
        }
    }
}

/// A check-out that did not end at its first look.
struct Visit<'a, D: Driver> {
    engine: &'a Arc<Engine<D>>,
    began: Instant,
    timeout: Duration,
    deadline: Instant,
    blocking: Blocking,
    /// The place in the queue is kept when what was handed over fails its check.
    place: Option<Place>,
}

/// What a visit was doing when its time was over.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Waiting,
    Pinging,
    Pausing,
}

impl<D: Driver> Visit<'_, D> {
    fn run(mut self, first: Option<(Lease<D>, Look)>) -> Result<Lease<D>, Error> {
        let mut found = first;
        let mut stillborn = 0;
        loop {
            let (mut lease, look) = match found.take() {
                Some(found) => found,
                None => {
                    let mut lease = self.next()?;
                    let look = lease.managed_mut().look(Instant::now());
                    (lease, look)
                }
            };
            let fresh = lease.managed().is_new_since(self.began);
            let fate = match look {
                Look::Fine => return Ok(lease),
                Look::Close(fate) => fate,
                Look::AskServer | Look::Doubted => match self.ping(&mut lease) {
                    Ok(Ok(())) => return Ok(lease),
                    Ok(Err(fate)) => fate,
                    Err(error) => {
                        lease.put_back(Instant::now());
                        return Err(error);
                    }
                },
            };
            let silent = fate.reason == CloseReason::PingTimeout;
            lease.discard(fate);
            let doing = if silent { Doing::Pinging } else { Doing::Waiting };
            self.check_time(doing)?;
            stillborn = if fresh { stillborn + 1 } else { 0 };
            self.pause(STILLBORN.pause(stillborn, fastrand::f64()))?;
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), Error> {
        if pause.is_zero() {
            return Ok(());
        }
        std::thread::sleep(pause.min(clock::left(self.deadline, Instant::now())));
        self.check_time(Doing::Pausing)
    }

    fn check_time(&self, doing: Doing) -> Result<(), Error> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(self.too_late(doing))
    }

    fn too_late(&self, doing: Doing) -> Error {
        refusal::too_late(self.engine, self.began, self.timeout, doing)
    }

    /// Takes what is idle, or waits for what comes.
    fn next(&mut self) -> Result<Lease<D>, Error> {
        match self.engine.core.take(Instant::now()) {
            Take::Idle(managed) => Ok(Lease::new(self.engine, managed)),
            Take::Closed => Err(refusal::closed(self.engine)),
            Take::Nothing => self.wait(),
        }
    }

    fn wait(&mut self) -> Result<Lease<D>, Error> {
        self.may_block("wait for a connection")?;
        let config = self.engine.warden.config();
        let now = Instant::now();
        match self.engine.core.join(self.place.as_ref(), config.max_waiting, now) {
            Join::Idle(managed) => Ok(Lease::new(self.engine, managed)),
            Join::Closed => Err(refusal::closed(self.engine)),
            Join::Full(limit) => Err(refusal::full(self.engine, limit)),
            Join::Failed(error) => Err(refusal::failed(self.engine, error, self.began)),
            Join::Queued(place, orders) => {
                self.place = Some(place.clone());
                let queued = Queued { engine: self.engine, place: Some(place) };
                self.engine.carry_out(orders);
                self.wait_in_queue(queued)
            }
        }
    }

    fn wait_in_queue(&self, mut queued: Queued<'_, D>) -> Result<Lease<D>, Error> {
        loop {
            if let Some(delivery) = queued.wait(self.deadline, Instant::now()) {
                return self.accept(delivery);
            }
            let now = Instant::now();
            if now >= self.deadline {
                return match queued.leave() {
                    Some(delivery) => self.accept(delivery),
                    None => Err(self.too_late(Doing::Waiting)),
                };
            }
            let orders = self.engine.core.plan(now);
            self.engine.carry_out(orders);
        }
    }

    fn accept(
        &self,
        delivery: Delivery<Box<crate::managed::Managed<D>>, crate::error::ConnectError>,
    ) -> Result<Lease<D>, Error> {
        match delivery {
            Delivery::Connection(managed) => Ok(Lease::new(self.engine, managed)),
            Delivery::Failed(error) => Err(refusal::failed(self.engine, error, self.began)),
            Delivery::Closed => Err(refusal::closed(self.engine)),
        }
    }

    fn may_block(&self, to_do: &str) -> Result<(), Error> {
        if self.blocking == Blocking::Always {
            return Ok(());
        }
        let driver = self.engine.warden.driver();
        match fence(|| driver.may_block_here()) {
            Ok(true) => Ok(()),
            _ => Err(refusal::async_context(self.engine, to_do)),
        }
    }

    /// Pings what was taken: on this thread if that is bounded, else on another.
    /// An error ends the visit, and the connection goes back as it was.
    fn ping(&self, lease: &mut Lease<D>) -> Result<Result<(), Discard>, Error> {
        self.may_block("ping an idle connection")?;
        let now = Instant::now();
        let (deadline, full) = lease.managed().ping_deadline(now, self.deadline);
        if lease.managed().ping_is_bounded() {
            return Ok(lease.managed_mut().ping(deadline, full));
        }
        let verdict = ping_elsewhere(lease, deadline, full);
        let silent = verdict.as_ref().is_err_and(|fate| fate.reason == CloseReason::PingTimeout);
        if silent && full {
            self.engine.warden.suspect(now);
        }
        Ok(verdict)
    }
}

/// Pings on a helper thread that is left behind if it does not come back: a
/// driver without a socket gives us nothing to shut down.
fn ping_elsewhere<D: Driver>(
    lease: &mut Lease<D>,
    deadline: Instant,
    full: bool,
) -> Result<(), Discard> {
    let Some(mut managed) = lease.lend() else {
        return Err(Discard::planned(CloseReason::Broken));
    };
    // Without room: what is reported late is reported to nobody, and known to be.
    let (report, answer) = crossbeam_channel::bounded(0);
    let work = move || {
        let verdict = managed.ping(deadline, full);
        // Nobody listens any more: the connection is closed here.
        if let Err(late) = report.send((managed, verdict)) {
            super::discard(late.0.0, Discard::planned(CloseReason::PingTimeout));
        }
    };
    let thread = std::thread::Builder::new().name("poolwarden-ping".into());
    let started = thread.spawn(work).is_ok();
    match answer.recv_deadline(deadline) {
        Ok((managed, verdict)) => {
            lease.returned(managed);
            verdict
        }
        Err(_) => {
            lease.lost();
            let reason = if started { CloseReason::PingTimeout } else { CloseReason::PingFailed };
            Err(Discard::planned(reason))
        }
    }
}

/// A place in the queue that is given up whatever happens to its owner.
struct Queued<'a, D: Driver> {
    engine: &'a Arc<Engine<D>>,
    place: Option<Place>,
}

impl<D: Driver> Queued<'_, D> {
    fn wait(
        &mut self,
        deadline: Instant,
        now: Instant,
    ) -> Option<Delivery<Box<crate::managed::Managed<D>>, crate::error::ConnectError>> {
        let delivery = self.engine.core.wait(self.place.as_ref()?, deadline, now)?;
        self.place = None;
        Some(delivery)
    }

    fn leave(
        &mut self,
    ) -> Option<Delivery<Box<crate::managed::Managed<D>>, crate::error::ConnectError>> {
        self.engine.core.leave(&self.place.take()?)
    }
}

impl<D: Driver> Drop for Queued<'_, D> {
    fn drop(&mut self) {
        if let Some(Delivery::Connection(managed)) = self.leave() {
            drop(Lease::new(self.engine, managed));
        }
    }
}
