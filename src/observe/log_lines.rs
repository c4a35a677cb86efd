//! The texts and fields of log lines.

use super::connection_info::ConnectionInfo;
use super::emit::emit;
use super::event::{CheckedOut, Closed, LimitChanged, LostTogether, OutageEnded, SlowStatement};
use super::log_throttle::{EndedBurst, EventKind};
use crate::error::ConnectError;
use crate::sys::counted::counted;
use crate::sys::human_duration::HumanDuration;
use crate::sys::one_line::one_line;
use std::fmt::Display;
use std::time::Duration;

pub(super) fn opened(pool: &str, connection: u64, took: Duration) {
    emit!(
        debug,
        { pool = pool, conn = connection, took_ms = millis(took) },
        "pool {pool}: opened connection {connection} in {}", HumanDuration(took)
    );
}

pub(super) fn outage_ended(event: &OutageEnded<'_>) {
    let OutageEnded { pool, lasted, failed, lost } = event;
    emit!(
        info,
        { pool = *pool, outage_ms = millis(*lasted), failed = *failed, lost = *lost },
        "pool {pool}: the server accepts connections again after {} ({} failed, {} lost)",
        HumanDuration(*lasted), counted(*failed, "attempt"), counted(*lost, "connection")
    );
}

pub(super) fn closed_as_planned(event: &Closed<'_>) {
    emit!(
        debug,
        {
            pool = event.pool, conn = event.connection, reason = event.reason.as_str(),
            age_ms = millis(event.age), idle_ms = millis(event.idle)
        },
        "pool {}: closed connection {}: {}, age {}",
        event.pool, event.connection, event.reason.phrase(), HumanDuration(event.age)
    );
}

pub(super) fn lost(event: &Closed<'_>, suppressed: u64) {
    let code = event.message.map_or("", |message| &*message.code);
    let message = event.message.map(|message| format!(": {message}"));
    let busy = event.idle.is_zero();
    let state = if busy { "in use".into() } else { format!("idle {}", HumanDuration(event.idle)) };
    let more = suppressed_note(suppressed);
    emit!(
        warn,
        {
            pool = event.pool, conn = event.connection, reason = event.reason.as_str(),
            code = code, age_ms = millis(event.age), idle_ms = millis(event.idle)
        },
        "{}", one_line(&format!(
            "pool {}: lost connection {}: {}{} (age {}, {state}){more}",
            event.pool, event.connection, event.reason.phrase(), message.unwrap_or_default(),
            HumanDuration(event.age)
        ))
    );
}

/// Several connections, `lost` of `open`, were lost together.
pub(super) fn lost_together(event: &LostTogether<'_>, suppressed: u64) {
    let LostTogether { pool, lost, open, reason, message } = event;
    let code = message.map_or("", |message| &*message.code);
    let text = message.map(|message| format!(": {message}")).unwrap_or_default();
    let more = suppressed_note(suppressed);
    emit!(
        warn,
        { pool = pool, events = lost, reason = reason.as_str(), code = code },
        "{}", one_line(&format!(
            "pool {pool}: lost {lost} of {open} connections: {}{text}{more}", reason.phrase()
        ))
    );
}

/// A borrower left a transaction open; `site` is where it checked out.
pub(super) fn rolled_back(pool: &str, connection: u64, site: &dyn Display, suppressed: u64) {
    let more = suppressed_note(suppressed);
    emit!(
        warn,
        { pool = pool, conn = connection },
        "pool {pool}: connection {connection} was checked in inside a transaction, which \
         was rolled back; it had been checked out at {site}{more}"
    );
}

pub(super) fn connect_failed(pool: &str, error: &ConnectError, suppressed: u64) {
    let more = suppressed_note(suppressed);
    let (fault, code) = (format!("{:?}", error.class()), one_line(error.code().unwrap_or("")));
    emit!(
        warn,
        { pool = pool, fault = fault.as_str(), code = &*code },
        "{}", one_line(&format!("pool {pool}: {error}{more}"))
    );
}

/// A check-out reached its deadline; `text` is that of its error.
pub(super) fn timed_out(pool: &str, waited: Duration, text: &str, suppressed: u64) {
    let more = suppressed_note(suppressed);
    emit!(
        warn,
        { pool = pool, waited_ms = millis(waited) },
        "{}", one_line(&format!("{text}{more}"))
    );
}

pub(super) fn slow_checkout(event: &CheckedOut<'_>, limit: Duration, suppressed: u64) {
    let more = suppressed_note(suppressed);
    let CheckedOut { pool, connection, waited, site } = event;
    emit!(
        warn,
        { pool = *pool, conn = *connection, waited_ms = millis(*waited) },
        "pool {pool}: the check-out of connection {connection} at {}:{} took {} \
         (slow_checkout {}){more}",
        site.file(), site.line(), HumanDuration(*waited), HumanDuration(limit)
    );
}

pub(super) fn slow_statement(event: &SlowStatement<'_>, limit: Duration, suppressed: u64) {
    let more = suppressed_note(suppressed);
    let SlowStatement { pool, connection, took, site } = event;
    let site = site.map(|site| format!(", checked out at {}:{},", site.file(), site.line()));
    emit!(
        warn,
        { pool = *pool, conn = *connection, took_ms = millis(*took) },
        "pool {pool}: a statement on connection {connection}{} took {} (slow_statement {}){more}",
        site.unwrap_or_default(), HumanDuration(*took), HumanDuration(limit)
    );
}

/// A caller holds a connection for longer than `limit`.
pub(super) fn held_too_long(pool: &str, info: &ConnectionInfo, limit: Duration) {
    let calls = info.calls.as_ref().map(|calls| format!(", checked out by {calls}"));
    emit!(
        warn,
        { pool = pool, conn = info.id },
        "{}", one_line(&format!(
            "pool {pool}: connection {} has been {} (held_warning {}){}",
            info.id, info.status, HumanDuration(limit), calls.unwrap_or_default()
        ))
    );
}

/// A connection came back that was reported as held too long; `site` is where it was
/// checked out.
pub(super) fn returned_late(pool: &str, connection: u64, held: Duration, site: &dyn Display) {
    emit!(
        warn,
        { pool = pool, conn = connection, held_ms = millis(held) },
        "pool {pool}: connection {connection} was returned after {}; it had been checked \
         out at {site}",
        HumanDuration(held)
    );
}

pub(super) fn limit_changed(event: &LimitChanged<'_>) {
    let LimitChanged { pool, before, max_size } = event;
    emit!(
        debug,
        { pool = *pool, before = *before, max_size = *max_size },
        "pool {pool}: may have {} from now on, not {before}", counted(*max_size, "connection")
    );
}

pub(super) fn burst_ended(pool: &str, burst: &EndedBurst) {
    let EndedBurst { kind, suppressed, lasted } = burst;
    let (noun, what) = match kind {
        EventKind::Closed(reason, code) if code.is_empty() => {
            ("connection", format!("lost: {}", reason.phrase()))
        }
        EventKind::Closed(reason, code) => {
            ("connection", format!("lost: {} ({code})", reason.phrase()))
        }
        EventKind::ConnectFailed(fault) => ("attempt", format!("failed: {}", fault.phrase())),
        EventKind::RolledBack => ("transaction", "left open and rolled back".to_owned()),
        EventKind::TimedOut => ("check-out", "timed out".to_owned()),
        EventKind::SlowCheckout => ("check-out", "slow".to_owned()),
        EventKind::SlowStatement => ("statement", "slow".to_owned()),
        EventKind::Once(_) => return,
    };
    let events = counted(*suppressed, &format!("more {noun}"));
    emit!(
        warn,
        { pool = pool, events = *suppressed },
        "{}", one_line(&format!("pool {pool}: {events} {what} (within {})", HumanDuration(*lasted)))
    );
}

pub(super) fn warning(pool: &str, text: &str) {
    emit!(warn, { pool = pool }, "pool {pool}: {}", one_line(text));
}

#[cfg(feature = "postgres")]
pub(super) fn warning_of_driver(text: &str) {
    emit!(warn, { driver = "postgres" }, "{}", one_line(text));
}

pub(super) fn mention(pool: &str, text: &str) {
    emit!(info, { pool = pool }, "pool {pool}: {}", one_line(text));
}

/// Mentions the similar events that were not logged, if there were any.
fn suppressed_note(suppressed: u64) -> String {
    match suppressed {
        0 => String::new(),
        events => format!(" ({events} more since the last line)"),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
