//! The expected outcome of each cell. Read it as the contract: one rule a line, the first
//! that matches counts.

use crate::cell::{Cell, Encryption, FaultKind, Position};
use poolwarden::CloseReason::{self, *};
use poolwarden::FaultClass::{self, Hangup, Other, Tls};
use std::time::Duration;

/// The time limit of a ping, and of the reset of a check-in.
pub const PING: Duration = Duration::from_millis(300);
/// The time limit of an attempt to connect.
pub const CONNECT: Duration = Duration::from_secs(5);
/// The time after which an attempt without a reply is followed by another.
pub const NEXT_ATTEMPT: Duration = Duration::from_millis(500);
/// The time limit of a statement.
pub const STATEMENT: Duration = Duration::from_millis(400);
/// The time limit of its cancel request.
pub const CANCEL: Duration = Duration::from_millis(200);
/// The delay of each reply under `Delay`.
pub const LATE: Duration = Duration::from_millis(40);
/// The delay that a loaded computer may add to any bound.
pub const SLACK: Duration = Duration::from_secs(6);

/// A caller's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerResult {
    /// The work was done.
    Ok,
    /// No connection could be opened.
    Connect,
    /// The driver's error; nothing was written.
    Failed,
    /// The outcome is unknown.
    Unknown,
}

/// The expected outcome of a cell.
pub struct Rule {
    pub result: CallerResult,
    /// The earliest time of the result.
    pub at_least: Duration,
    /// The allowed close reasons; if there are any, at least one must occur.
    pub closed: &'static [CloseReason],
    /// The allowed faults of the failed attempt to connect; none for work that was begun.
    pub connect: &'static [FaultClass],
}

const NO_DELAY: Duration = Duration::ZERO;

fn rule(result: CallerResult, at_least: Duration, closed: &'static [CloseReason]) -> Rule {
    Rule { result, at_least, closed, connect: &[] }
}

fn no_connect(at_least: Duration, connect: &'static [FaultClass]) -> Rule {
    Rule { result: CallerResult::Connect, at_least, closed: &[], connect }
}

/// Returns the close reasons that a fault of an idle connection causes.
fn cause(fault_kind: FaultKind) -> &'static [CloseReason] {
    match fault_kind {
        FaultKind::Fin | FaultKind::HalfClose => &[ServerClosed],
        FaultKind::Truncated => &[ServerClosed, ServerError],
        FaultKind::Rst => &[ConnectionReset],
        FaultKind::Stall | FaultKind::BlackHole => &[PingTimeout, SiblingPingTimeout],
        FaultKind::Injected => &[Unsolicited, PingFailed],
        FaultKind::Delay => &[],
    }
}

/// Returns the rule of a cell.
pub fn of(cell: Cell) -> Rule {
    let Cell { position, fault_kind, .. } = cell;
    let needs_a_timeout = cell.needs_a_timeout();
    match position {
        // Late is not dead: every caller is served, and nothing is closed.
        _ if fault_kind == FaultKind::Delay => rule(CallerResult::Ok, LATE, &[]),
        // No statement was running: no caller gets an error, and a silent death costs
        // one ping timeout, however many connections died.
        Position::Idle | Position::CheckOut if needs_a_timeout => {
            rule(CallerResult::Ok, PING, cause(fault_kind))
        }
        Position::Idle => rule(CallerResult::Ok, NO_DELAY, cause(fault_kind)),
        Position::CheckOut => rule(CallerResult::Ok, NO_DELAY, &[PingFailed]),
        // The guard is dropped: no caller gets an error, whatever happens to the reset.
        Position::CheckIn if needs_a_timeout => rule(CallerResult::Ok, PING, &[Dirty]),
        Position::CheckIn => rule(CallerResult::Ok, NO_DELAY, in_use(cell)),
        // A statement was running: an error, with an unknown outcome where
        // the server may have done the work. Without a reply the timeout ends it.
        Position::Query | Position::Between if needs_a_timeout => {
            rule(CallerResult::Failed, STATEMENT, TIMED_OUT)
        }
        Position::Query | Position::Between => rule(CallerResult::Failed, NO_DELAY, in_use(cell)),
        Position::Write | Position::CommitSent | Position::CommitDone if needs_a_timeout => {
            rule(CallerResult::Unknown, STATEMENT, TIMED_OUT)
        }
        Position::Write | Position::CommitSent | Position::CommitDone => {
            rule(CallerResult::Unknown, NO_DELAY, in_use(cell))
        }
        // An attempt without a reply is followed by another, which the fault does not hit.
        Position::Connecting | Position::Handshake if needs_a_timeout => {
            rule(CallerResult::Ok, NEXT_ATTEMPT, &[])
        }
        // No connection was open: the attempt failed.
        // The server's reply to the TLS request is one byte, which no fault halves.
        Position::Connecting if fault_kind == FaultKind::Truncated => {
            no_connect(NO_DELAY, &[Hangup, Tls])
        }
        Position::Connecting if fault_kind == FaultKind::Injected => {
            no_connect(NO_DELAY, &[Hangup, Other])
        }
        Position::Connecting => no_connect(NO_DELAY, &[Hangup]),
        Position::Handshake => no_connect(NO_DELAY, &[Tls]),
    }
}

/// Returns the close reasons of a connection that broke in use.
fn in_use(cell: Cell) -> &'static [CloseReason] {
    match cell.fault_kind {
        // The bytes are invalid. Over TLS the client sends an alert; the server may close
        // immediately, and answer further bytes with a reset. Half a record is invalid
        // too, until its FIN arrives.
        FaultKind::Injected | FaultKind::Truncated if cell.encryption == Encryption::Tls => {
            &[Broken, Dirty, ServerClosed, ConnectionReset]
        }
        FaultKind::Injected => &[Broken, Dirty],
        fault_kind => cause(fault_kind),
    }
}

/// A connection whose statement got no reply in time.
const TIMED_OUT: &[CloseReason] = &[StatementTimeout];
