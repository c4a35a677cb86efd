//! The errors of a check-out: every number that a person on call asks for.

use super::Engine;
use super::checkout::Doing;
use crate::driver::Driver;
use crate::error::{ConnectError, ConnectFault, Error, ErrorKind, Levels};
use crate::fence::fence;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

pub(super) fn closed<D: Driver>(engine: &Engine<D>) -> Error {
    Error::new(ErrorKind::Closed, format!("pool {} is closed", engine.warden.name()))
}

pub(super) fn full<D: Driver>(engine: &Engine<D>, limit: u32) -> Error {
    let levels = engine.levels();
    let message = format!(
        "pool {}: {limit} callers wait already (max_waiting {limit}); {levels}{}",
        engine.warden.name(),
        engine.warden.holders(Instant::now())
    );
    Error::new(ErrorKind::QueueFull, message).with_levels(levels)
}

pub(super) fn async_context<D: Driver>(engine: &Engine<D>, to_do: &str) -> Error {
    let message = format!(
        "pool {}: this check-out would have to {to_do}, which blocks, and this thread runs an \
         async runtime: move the work to spawn_blocking or web::block",
        engine.warden.name()
    );
    Error::new(ErrorKind::AsyncContext, message).with_levels(engine.levels())
}

pub(super) fn failed<D: Driver>(engine: &Engine<D>, error: ConnectError, began: Instant) -> Error {
    let failed = Error::connect(error).with_levels(engine.levels());
    let failed = failed.with_waited(began.elapsed());
    match engine.core.last_failure() {
        // Known before this caller came.
        Some((_, since)) if since < began => failed.with_down_for(since.elapsed()),
        _ => failed,
    }
}

/// The deadline passed: says what was being waited for, how full the pool is,
/// why no connection could be opened, and who holds the others.
pub(super) fn too_late<D: Driver>(
    engine: &Engine<D>,
    began: Instant,
    timeout: Duration,
    doing: Doing,
) -> Error {
    let now = Instant::now();
    let waited = now.saturating_duration_since(began);
    engine.warden.journal().timed_out(engine.warden.totals(), waited);
    let levels = engine.levels();
    let failure = engine.core.last_failure().map(|(failure, _)| failure);
    let mut text = format!(
        "pool {}: no connection within {timeout:?} (waited {waited:.1?}): {}; {levels}",
        engine.warden.name(),
        cause(engine, doing, &levels, now)
    );
    if let Some(failure) = &failure {
        // The causes in it are foreign, and print themselves.
        let said = fence(|| failure.full_text()).unwrap_or_else(|_| failure.to_string());
        let _ = write!(text, "; last connect error: {said}");
    }
    if levels.in_use > 0 {
        let _ = write!(text, "{}", engine.warden.holders(now));
    }
    let error = Error::new(ErrorKind::CheckoutTimeout, text);
    let error = error.with_levels(levels).with_waited(waited);
    match failure {
        Some(failure) => error.with_connect_source(failure),
        None => error,
    }
}

fn cause<D: Driver>(engine: &Engine<D>, doing: Doing, levels: &Levels, now: Instant) -> String {
    if doing == Doing::Pinging {
        return "an idle connection did not answer its ping".into();
    }
    if doing == Doing::Pausing {
        return "every connection opened for this caller was closed by the other side at once"
            .into();
    }
    let failure = engine.core.last_failure();
    if failure.is_some_and(|(failure, _)| failure.fault() == ConnectFault::Saturated) {
        return full_server(engine, levels);
    }
    if let Some(attempt) = engine.oldest_attempt() {
        let since = now.saturating_duration_since(attempt.began());
        let phase = attempt.current_phase();
        return format!("a connection is being opened: {phase}, for {since:.1?} so far");
    }
    let for_work = engine.warden.budget().for_work();
    if levels.in_use >= for_work {
        let kept = if for_work < levels.max_size { ", and one is kept for KILL QUERY" } else { "" };
        return format!("all {for_work} connections are in use{kept}");
    }
    if levels.closing > 0 && levels.in_use + levels.closing >= for_work {
        return format!(
            "{} connections were closed and the server has not let go of them yet",
            levels.closing
        );
    }
    "no connection became free".into()
}

/// What a person on call asks next: how many does it allow, how many do we hold?
fn full_server<D: Driver>(engine: &Engine<D>, levels: &Levels) -> String {
    let limits = engine.warden.limits();
    let allowed = limits.as_ref().and_then(|limits| limits.max_connections);
    let allowed = allowed.map(|most| format!("it allows {most} connections, "));
    let held = limits.and_then(|limits| limits.connections);
    let held = held.map(|held| format!("{held} were open when last counted, "));
    format!(
        "the server is full: {}{}this pool holds {}",
        allowed.unwrap_or_default(),
        held.unwrap_or_default(),
        levels.open
    )
}
