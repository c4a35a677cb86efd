//! The errors of a check-out, with every number that a person on call needs.

use super::engine::Engine;
use super::wait_phase::WaitPhase;
use crate::driver::Driver;
use crate::driver::workarounds::async_context::why_refused;
use crate::error::{ConnectError, Error, ErrorKind, FaultClass, Levels};
use crate::observe::CloseReason;
use crate::sys::counted::counted;
use crate::sys::human_duration::HumanDuration;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) fn closed<D: Driver>(engine: &Engine<D>) -> Error {
    Error::new(ErrorKind::Closed, "the pool is closed").in_pool(engine.shared.name())
}

pub(super) fn full<D: Driver>(engine: &Engine<D>, limit: u32) -> Error {
    let levels = engine.levels();
    let waiting = counted(limit, "caller");
    let message = format!("queue full: {waiting} already waiting (max_waiting {limit}); {levels}");
    let error = Error::new(ErrorKind::QueueFull, message).with_levels(levels);
    with_holders(error, engine, Instant::now())
}

pub(super) fn async_context<D: Driver>(engine: &Engine<D>, action: &str) -> Error {
    let message = format!(
        "cannot {action} on a thread of an async runtime, because that blocks; move the call to \
         spawn_blocking or web::block"
    );
    let error = Error::new(ErrorKind::AsyncContext, message).in_pool(engine.shared.name());
    error.with_levels(engine.levels())
}

pub(super) fn unusable_here<D: Driver>(engine: &Engine<D>) -> Error {
    let message = why_refused(
        "a connection cannot be used on a thread of an async runtime, where the driver panics; \
         move the call to spawn_blocking or web::block",
    );
    let error = Error::new(ErrorKind::AsyncContext, message).in_pool(engine.shared.name());
    error.with_levels(engine.levels())
}

pub(super) fn failed<D: Driver>(engine: &Engine<D>, error: ConnectError, began: Instant) -> Error {
    let failed = Error::connect(error).in_pool(engine.shared.name());
    let failed = failed.with_levels(engine.levels()).with_waited(began.elapsed());
    match engine.core.last_failure() {
        // The outage began before this check-out.
        Some((_, since)) if since < began => failed.with_down_for(since.elapsed()),
        _ => failed,
    }
}

/// Returns the error of a check-out whose deadline passed: what it was waiting for, how
/// full the pool is, why no connection could be opened, and which callers hold the
/// others.
pub(super) fn too_late<D: Driver>(
    engine: &Arc<Engine<D>>,
    began: Instant,
    timeout: Duration,
    phase: WaitPhase,
) -> Error {
    let now = Instant::now();
    let waited = now.saturating_duration_since(began);
    let levels = engine.levels();
    let message = format!(
        "no connection within {} (waited {}): {}; {levels}",
        as_given(timeout),
        HumanDuration(waited),
        cause(engine, phase, &levels, now)
    );
    let error = Error::new(ErrorKind::CheckoutTimeout, message);
    let error = error.with_levels(levels).with_waited(waited);
    let error = match engine.shared.holders(now).warning() {
        Some(warning) => error.with_remark(&warning),
        None => error,
    };
    let error = with_holders(error, engine, now);
    let error = match engine.core.last_failure() {
        Some((failure, _)) => error.with_connect_source(failure),
        None => error,
    };
    let text = error.to_string();
    engine.shared.event_log().timed_out(engine.shared.totals(), waited, &text, now);
    engine.shared.watch_bursts();
    error
}

fn with_holders<D: Driver>(error: Error, engine: &Engine<D>, now: Instant) -> Error {
    let holders = engine.shared.holders(now).entries();
    error.in_pool(engine.shared.name()).with_holders(holders)
}

fn cause<D: Driver>(engine: &Engine<D>, phase: WaitPhase, levels: &Levels, now: Instant) -> String {
    if phase == WaitPhase::Pinging {
        return "an idle connection did not answer its ping".into();
    }
    if let WaitPhase::Pausing(reason) = phase {
        return new_and_closed(engine, reason);
    }
    if phase == WaitPhase::Preparing {
        return "a hook did not finish in time".into();
    }
    if phase == WaitPhase::Suspended {
        return "the pool is suspended".into();
    }
    match engine.core.last_failure().map(|(failure, _)| failure.class()) {
        Some(FaultClass::Saturated) => return full_server(engine, levels),
        Some(FaultClass::FleetFull) => {
            return format!("the fleet is at its cap: this pool has {}", levels.open);
        }
        _ => {}
    }
    if let Some(attempt) = engine.oldest_attempt() {
        let since = HumanDuration(now.saturating_duration_since(attempt.began()));
        let phase = attempt.current_phase();
        return format!("a connection is being opened: {phase}, for {since} so far");
    }
    let for_work = engine.shared.permits().for_work();
    if levels.in_use >= for_work {
        return all_in_use(for_work, levels);
    }
    if let Some(text) = all_shared(engine) {
        return text;
    }
    if levels.closing > 0 && levels.in_use + levels.closing >= for_work {
        let closing = counted(levels.closing, "connection");
        return format!("waiting for the server to confirm the close of {closing}");
    }
    "no connection became free".into()
}

/// Describes the permits that the pool shares, if the others leave it none.
fn all_shared<D: Driver>(engine: &Engine<D>) -> Option<String> {
    let member = engine.shared.permits().member()?;
    let (usage, (own, room)) = (member.group().usage(), member.counts());
    let limit = counted(usage.limit, "shared permit");
    let (verb, more) = if usage.limit == 1 { ("is", "") } else { ("are", " of them") };
    let reserved = if usage.used < usage.limit { " or reserved" } else { "" };
    (room == 0).then(|| format!("the {limit} {verb} in use ({own}{more} by this pool){reserved}"))
}

/// Describes why no new connection could be handed out, if each was closed for this reason.
fn new_and_closed<D: Driver>(engine: &Engine<D>, reason: CloseReason) -> String {
    match (reason, engine.shared.config().max_lifetime) {
        (CloseReason::MaxLifetime, Some(lifetime)) => format!(
            "the lifetime of every connection had passed before it could be handed out \
             (max_lifetime {})",
            as_given(lifetime)
        ),
        _ if reason.is_planned() => {
            format!("every new connection was closed unused: {}", reason.phrase())
        }
        _ => "the peer closed every connection immediately after it had been opened".into(),
    }
}

fn all_in_use(for_work: u32, levels: &Levels) -> String {
    let subject = match for_work {
        // Those over a lowered cap are closed at their check-in.
        _ if levels.in_use > levels.max_size => {
            let most = levels.max_size;
            return format!("{} connections are in use, and {most} may be open", levels.in_use);
        }
        1 => "the only connection is".to_owned(),
        several => format!("all {several} connections are"),
    };
    let is_reserved = for_work < levels.max_size;
    let reserved = if is_reserved { ", and one permit is reserved for KILL QUERY" } else { "" };
    format!("{subject} in use{reserved}")
}

/// Formats a timeout as a user writes it: `60 ms`, `1.25 s`. What an earlier attempt has
/// left of one is rounded.
fn as_given(timeout: Duration) -> String {
    let millis = timeout.as_millis();
    if Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)) != timeout {
        return HumanDuration(timeout).to_string();
    }
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ => format!("{} s", timeout.as_secs_f64()),
    }
}

/// Describes a full server: how many connections it allows, and how many the pool has.
fn full_server<D: Driver>(engine: &Engine<D>, levels: &Levels) -> String {
    let limits = engine.shared.limits();
    let allowed = limits.as_ref().and_then(|limits| limits.max_connections);
    let allowed = allowed.map(|most| format!("it allows {}, ", counted(most, "connection")));
    let held = limits.and_then(|limits| limits.connections);
    let held = held.map(|held| format!("{held} were open when last counted, "));
    format!(
        "too many connections: {}{}this pool has {}",
        allowed.unwrap_or_default(),
        held.unwrap_or_default(),
        levels.open
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_shown_as_it_was_given() {
        let shown = |micros| as_given(Duration::from_micros(micros));
        assert_eq!([60_000, 1_000_000, 1_250_000].map(shown), ["60 ms", "1 s", "1.25 s"]);
        assert_eq!([999_999, 743_218, 30_000_000].map(shown), ["1 s", "743 ms", "30 s"]);
        assert_eq!(shown(0), "0 ms");
        assert!(as_given(Duration::MAX).contains(" d "));
    }
}
