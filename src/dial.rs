//! Opens one connection, on the thread that calls: connect, init hook, and where
//! the permit goes if it fails.

use crate::budget::Permit;
use crate::closer::{self, Farewell, Manner};
use crate::driver::{Attempt, Driver, Terms};
use crate::error::{ConnectError, ConnectFault, Phase};
use crate::fence::fence;
use crate::managed::{Managed, Parts, Warden};
use crate::watchdog;
use std::sync::Arc;
use std::time::Instant;

/// What is said, once, of connections that cannot be peeked at.
const HIDDEN: &str = "the sockets of this driver's connections cannot be seen: every check-out \
                      pings, one round trip, instead of peeking";

/// Begins an attempt under the pool's `connect_timeout`.
pub(crate) fn attempt<D: Driver>(warden: &Warden<D>) -> Arc<Attempt> {
    let config = warden.config();
    let (timeout, tcp, role) = (config.connect_timeout, config.tcp(), config.role);
    Arc::new(Attempt::new(Instant::now(), Terms { timeout, tcp, role }))
}

/// Opens a connection; by the attempt's deadline its socket is shut down.
///
/// On failure the permit goes back when the server has let go of the socket.
pub(crate) fn open<D: Driver>(
    warden: &Arc<Warden<D>>,
    attempt: &Arc<Attempt>,
    mut permit: Permit,
) -> Result<Box<Managed<D>>, ConnectError> {
    warden.totals().count_attempt();
    let watch = watchdog::bound(attempt);
    let outcome = connect(warden, attempt).and_then(|parts| initialise(warden, attempt, parts));
    let outcome = outcome.and_then(|parts| inquire(warden, attempt, parts));
    drop(watch);
    let socket = attempt.take_socket();
    let now = Instant::now();
    let failure = match outcome {
        Ok(parts) if !attempt.is_expired() => {
            drop(socket);
            let mut managed = Managed::new(warden, parts, permit, attempt.began(), now);
            let took = now.saturating_duration_since(attempt.began());
            warden.journal().opened(warden.totals(), managed.id(), took);
            managed.enter_protection(now);
            if managed.is_hidden() {
                warden.journal().mention_once(warden.totals(), "hidden", HIDDEN, now);
            }
            return Ok(managed);
        }
        Ok(parts) => (Some(parts), timed_out(warden)),
        Err(failure) => failure,
    };
    let (leftover, error) = failure;
    permit.leave();
    let cut = attempt.is_expired();
    // A driver that hides its socket while it connects may show it afterwards.
    let shown = || leftover.as_ref().and_then(|parts| parts.socket_copy(warden));
    closer::submit(Farewell {
        socket: socket.or_else(shown),
        connection: Box::new(leftover),
        permit: Some(permit),
        grace: warden.config().close_grace,
        manner: if cut { Manner::Cut } else { Manner::Orderly },
    });
    let error = explain(warden, attempt, error, now);
    warden.journal().connect_failed(warden.totals(), &error, now);
    Err(error)
}

/// What is left of a failed attempt, and why it failed.
type Failure<D> = (Option<Parts<D>>, ConnectError);

fn connect<D: Driver>(warden: &Warden<D>, attempt: &Attempt) -> Result<Parts<D>, Failure<D>> {
    match fence(|| warden.driver().connect(attempt)) {
        Ok(Ok((connection, side))) => Ok(Parts { connection, side }),
        Ok(Err(error)) => Err((None, error)),
        Err(panicked) => {
            warden.totals().count_panic();
            let error = ConnectError::new(ConnectFault::Panicked, warden.name());
            Err((None, error.with_source(panicked)))
        }
    }
}

fn initialise<D: Driver>(
    warden: &Warden<D>,
    attempt: &Attempt,
    mut parts: Parts<D>,
) -> Result<Parts<D>, Failure<D>> {
    let Some(init) = warden.init() else { return Ok(parts) };
    attempt.enter(Phase::Initialising);
    let error = match fence(|| init(&mut parts.connection)) {
        Ok(Ok(())) => return Ok(parts),
        Ok(Err(cause)) => ConnectError::new(ConnectFault::Hook, warden.name()).with_source(cause),
        Err(panicked) => {
            warden.totals().count_panic();
            ConnectError::new(ConnectFault::Panicked, warden.name()).with_source(panicked)
        }
    };
    Err((Some(parts), error))
}

/// Reads the server's limits if it is time, over the connection just opened.
fn inquire<D: Driver>(
    warden: &Warden<D>,
    attempt: &Attempt,
    mut parts: Parts<D>,
) -> Result<Parts<D>, Failure<D>> {
    if !warden.claim_reading(Instant::now()) {
        return Ok(parts);
    }
    let Err(cause) = warden.read_limits(&mut parts, attempt.deadline()) else { return Ok(parts) };
    let lost = cause.downcast::<ConnectError>().map(|known| *known);
    let lost = lost.unwrap_or_else(|cause| {
        let text = format!("lost while the server's limits were read: {cause}");
        ConnectError::new(ConnectFault::Hangup, label(warden)).with_source(text)
    });
    Err((Some(parts), lost))
}

fn timed_out<D: Driver>(warden: &Warden<D>) -> ConnectError {
    ConnectError::new(ConnectFault::TimedOut, label(warden))
}

fn label<D: Driver>(warden: &Warden<D>) -> String {
    warden.ask(D::label).unwrap_or_else(|_| warden.name().to_owned())
}

/// A dial that we ended reports whatever its driver made of that: say what
/// happened instead, and add how far it had come.
fn explain<D: Driver>(
    warden: &Warden<D>,
    attempt: &Attempt,
    error: ConnectError,
    now: Instant,
) -> ConnectError {
    let error = if attempt.is_self_connected() {
        ConnectError::new(ConnectFault::SelfConnected, label(warden))
    } else if attempt.is_expired() && error.fault() != ConnectFault::TimedOut {
        // What the driver says of a socket that we cut would only mislead.
        timed_out(warden)
    } else {
        error
    };
    let took = now.saturating_duration_since(attempt.began());
    error.with_progress(attempt.current_phase(), took)
}
