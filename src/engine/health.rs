//! The answer for a readiness probe.

use super::checkout::Blocking;
use super::engine::Engine;
use super::lease::Lease;
use super::ping::{self, Pinged};
use crate::connection::CheckoutVerdict;
use crate::driver::Driver;
use crate::engine::core::Take;
use crate::error::{Error, ErrorKind};
use crate::observe::Health;
use crate::sys::clock::{self, Tick};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl<D: Driver> Engine<D> {
    /// Finds out how the pool is doing. Blocks for at most `timeout`.
    pub(crate) fn health(
        self: &Arc<Self>,
        timeout: Duration,
        site: &'static Location<'static>,
    ) -> Health {
        if self.shared.is_forked() {
            return Health::Closed;
        }
        if self.is_suspended() {
            return Health::Suspended;
        }
        let until = clock::after(Instant::now(), timeout);
        loop {
            let now = Instant::now();
            match self.core.take(|| now) {
                Take::Closed => return Health::Closed,
                Take::Nothing => return self.health_without_idle(clock::left(until, now), site),
                Take::Idle(managed) => {
                    if let Some(health) = self.probe(Lease::new(self, managed), until) {
                        return health;
                    }
                }
            }
        }
    }

    /// Asks the server over an idle connection; `None` if that connection was closed and the
    /// next one is to be asked.
    fn probe(self: &Arc<Self>, mut lease: Lease<D>, until: Instant) -> Option<Health> {
        if let CheckoutVerdict::Close(cause) = lease.managed_mut().look(Tick::read()) {
            lease.discard(cause);
            return None;
        }
        if !self.shared.may_block_here() {
            lease.put_back();
            return Some(self.health_if_served());
        }
        match ping::ping(self, lease, until) {
            Pinged::Answered(lease) => {
                lease.put_back();
                Some(self.health_if_served())
            }
            Pinged::Failed(_) if Instant::now() < until => None,
            Pinged::Failed(_) | Pinged::Late => Some(self.down("no connection answered in time")),
        }
    }

    fn health_if_served(&self) -> Health {
        if let Some((error, _)) = self.core.last_failure() {
            return Health::Degraded { cause: error.to_string() };
        }
        match self.shared.next_step() {
            Some(_) => {
                let cause = "the server reported too many connections";
                Health::Degraded { cause: cause.to_owned() }
            }
            None => Health::Serving,
        }
    }

    /// No connection is idle: either callers use them, and none waits, or the probe waits for
    /// one as a caller does.
    fn health_without_idle(
        self: &Arc<Self>,
        left: Duration,
        site: &'static Location<'static>,
    ) -> Health {
        let levels = self.levels();
        if levels.in_use > 0 && levels.waiting == 0 {
            return self.health_if_served();
        }
        match self.check_out(left, Blocking::IfAllowed, site) {
            Ok(_) => self.health_if_served(),
            Err(error) => self.health_of(&error),
        }
    }

    fn health_of(&self, error: &Error) -> Health {
        match error.kind() {
            ErrorKind::Closed => Health::Closed,
            ErrorKind::QueueFull => self.saturated_health(),
            _ if self.levels().open > 0 => self.saturated_health(),
            _ => self.down(&error.to_string()),
        }
    }

    fn saturated_health(&self) -> Health {
        let waiting = self.levels().waiting;
        let longest_wait = self.core.first_arrival().map(|since| since.elapsed());
        Health::Saturated { waiting, longest_wait: longest_wait.unwrap_or_default() }
    }

    fn down(&self, cause: &str) -> Health {
        match self.core.last_failure() {
            Some((error, since)) => {
                Health::Down { down_for: since.elapsed(), cause: error.to_string() }
            }
            None => Health::Down { down_for: Duration::ZERO, cause: cause.to_owned() },
        }
    }
}
