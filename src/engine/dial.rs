//! Opens one connection on the calling thread: connect, init hook, and the release of
//! the permit on failure.

use super::dial_report::DialReport;
use crate::connection::closer::{CloseJob, CloseMode};
use crate::connection::permits::Permit;
use crate::connection::{Managed, Parts, Shared, closer};
use crate::driver::{Attempt, AttemptOptions, Driver, Session, bound};
use crate::error::{BoxError, ConnectError, Error, FaultClass, Phase, Usability};
use crate::sys::catch_panic::{CaughtPanic, catch_panic};
use crate::sys::deadlines;
use std::sync::Arc;
use std::time::Instant;

/// Creates an attempt that is bounded by the pool's `connect_timeout`.
pub(crate) fn attempt<D: Driver>(shared: &Shared<D>) -> Arc<Attempt> {
    let config = shared.config();
    let now = Instant::now();
    // The limits are those of the session, which session defaults and `init` can change, and
    // of the moment when it has its slot of the fleet.
    let is_unchanged = config.session_defaults().is_empty()
        && shared.hooks().init().is_none()
        && config.fleet_cap.is_none();
    let options = AttemptOptions {
        timeout: config.connect_timeout,
        tcp: config.tcp(),
        role: config.role,
        fleet_cap: config.fleet_cap.clone(),
        reads_limits: is_unchanged && shared.is_reading_due(now),
    };
    Arc::new(Attempt::new(now, options))
}

/// Opens a connection; its socket is shut down at the attempt's deadline.
///
/// On failure the permit is released when the server has closed the socket. The log and
/// the observers learn of the outcome from the report, which the caller must send.
pub(crate) fn open<D: Driver>(
    shared: &Arc<Shared<D>>,
    attempt: &Arc<Attempt>,
    mut permit: Permit,
) -> (Result<Box<Managed<D>>, ConnectError>, DialReport) {
    shared.totals().count_attempt();
    let watch = bound(attempt);
    let connected = connect(shared, attempt);
    if connected.is_err() && attempt.is_reading_limits() {
        // As if they had been read afterwards.
        shared.claim_reading(Instant::now());
        shared.reading_failed();
    }
    let outcome = connected.and_then(|parts| initialise(shared, attempt, parts));
    let outcome = outcome.and_then(|parts| read_limits_if_due(shared, attempt, parts));
    drop(watch);
    let socket = attempt.take_socket();
    let now = Instant::now();
    let failure = match outcome {
        Ok(parts) if !attempt.is_expired() => {
            permit.opened();
            let mut managed = Managed::new(shared, parts, permit, attempt.began(), now);
            managed.mark_clean();
            let report = DialReport::opened(&mut managed, attempt.began(), now);
            return (Ok(managed), report);
        }
        Ok(parts) => (Some(parts), timed_out(shared)),
        Err(failure) => failure,
    };
    let (leftover, error) = failure;
    permit.leave();
    let is_aborted = attempt.is_expired();
    // A driver without access to its socket while it connects may have it afterwards.
    let copy = || leftover.as_ref().and_then(|parts| parts.socket_copy(shared));
    closer::submit(CloseJob {
        socket: socket.or_else(copy),
        connection: Box::new(leftover),
        permit: Some(permit),
        grace: shared.config().close_grace,
        mode: if is_aborted { CloseMode::Abort } else { CloseMode::Graceful },
    });
    let error = explain(shared, attempt, error, now);
    let report = DialReport::failed(error.clone(), attempt.began(), now);
    (Err(error), report)
}

/// What remains of a failed attempt, and the error.
type Failure<D> = (Option<Parts<D>>, ConnectError);

fn connect<D: Driver>(shared: &Shared<D>, attempt: &Attempt) -> Result<Parts<D>, Failure<D>> {
    let lacking = |error: std::io::Error| {
        ConnectError::new(FaultClass::LocalResource, label(shared)).with_source(error)
    };
    // Without timers nothing could end what takes too long, from the connect on.
    let timers = deadlines::hold().map_err(|error| (None, lacking(error)))?;
    let opened = match catch_panic(|| shared.driver().connect(attempt)) {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return Err((None, error)),
        Err(panicked) => {
            shared.totals().count_panic();
            let error = ConnectError::new(fault_of(&panicked), label(shared));
            return Err((None, error.with_source(panicked)));
        }
    };
    let (parts, outcome) = Parts::new(shared, opened, attempt.socket(), timers);
    match outcome {
        Ok(()) => {
            // Past its deadline the attempt fails all the same.
            let _ = parts.socket_copy(shared).map(|socket| attempt.watch(socket));
            Ok(parts)
        }
        Err(error) => Err((Some(parts), lacking(error))),
    }
}

/// The `postgres` driver panics if the system gives it no descriptor for its runtime,
/// also where there was one a moment before.
fn fault_of(panicked: &CaughtPanic) -> FaultClass {
    let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
    let text = panicked.to_string();
    let is_lacking = lacks.iter().any(|error| text.contains(&format!("Os {{ code: {error},")));
    if is_lacking { FaultClass::LocalResource } else { FaultClass::Panicked }
}

fn initialise<D: Driver>(
    shared: &Shared<D>,
    attempt: &Attempt,
    mut parts: Parts<D>,
) -> Result<Parts<D>, Failure<D>> {
    attempt.enter(Phase::Initialising);
    let error = match shared.set_session_defaults(&mut parts.session) {
        Ok(Ok(())) => return run_init(shared, parts),
        Ok(Err(cause)) => defaults_refused(shared, cause),
        Err(panicked) => {
            ConnectError::new(FaultClass::Panicked, label(shared)).with_source(panicked)
        }
    };
    Err((Some(parts), error))
}

/// Returns the error of a session whose defaults could not be set: the server refused
/// them, or the connection was lost meanwhile.
fn defaults_refused<D: Driver>(shared: &Shared<D>, cause: BoxError) -> ConnectError {
    let error = Error::driver("the session defaults could not be set", cause);
    let is_lost = error.fault().connection() == Usability::Broken;
    let fault = if is_lost { FaultClass::Hangup } else { FaultClass::Configuration };
    ConnectError::new(fault, label(shared)).with_source(error)
}

fn run_init<D: Driver>(shared: &Shared<D>, mut parts: Parts<D>) -> Result<Parts<D>, Failure<D>> {
    let Some(init) = shared.hooks().init() else { return Ok(parts) };
    let error = match catch_panic(|| init(parts.session.connection_mut())) {
        Ok(Ok(())) => return Ok(parts),
        Ok(Err(cause)) => ConnectError::new(FaultClass::Hook, label(shared)).with_source(cause),
        Err(panicked) => {
            shared.totals().count_panic();
            ConnectError::new(FaultClass::Panicked, label(shared)).with_source(panicked)
        }
    };
    Err((Some(parts), error))
}

/// Reads the server's limits over the new connection, if they are due.
fn read_limits_if_due<D: Driver>(
    shared: &Shared<D>,
    attempt: &Attempt,
    mut parts: Parts<D>,
) -> Result<Parts<D>, Failure<D>> {
    if !shared.claim_reading(Instant::now()) {
        return Ok(parts);
    }
    let Err(cause) = parts.read_limits(shared, attempt.deadline()) else { return Ok(parts) };
    let lost = cause.downcast::<ConnectError>().map(|known| *known);
    let lost = lost.unwrap_or_else(|cause| {
        let text = format!("connection lost while reading the server's limits: {cause}");
        ConnectError::new(FaultClass::Hangup, label(shared)).with_source(text)
    });
    Err((Some(parts), lost))
}

fn timed_out<D: Driver>(shared: &Shared<D>) -> ConnectError {
    ConnectError::new(FaultClass::TimedOut, label(shared))
}

fn label<D: Driver>(shared: &Shared<D>) -> String {
    shared.ask(D::label).unwrap_or_else(|_| shared.name().to_owned())
}

/// Replaces the driver's error of a dial that the pool ended, and adds the phase that
/// the dial had reached.
fn explain<D: Driver>(
    shared: &Shared<D>,
    attempt: &Attempt,
    error: ConnectError,
    now: Instant,
) -> ConnectError {
    let error = if attempt.is_self_connected() {
        ConnectError::new(FaultClass::SelfConnected, label(shared))
    } else if attempt.is_expired() && error.class() != FaultClass::TimedOut {
        // The driver's error about a socket that we shut down would mislead.
        timed_out(shared)
    } else {
        error
    };
    let took = now.saturating_duration_since(attempt.began());
    error.with_progress(attempt.current_phase(), took)
}
