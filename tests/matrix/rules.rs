//! What must come of each cell. Read it as the contract: one rule a line, the first
//! that fits counts.

use crate::cell::{Blow, Cell, Position, Security};
use poolwarden::CloseReason::{self, *};
use poolwarden::ConnectFault::{self, Hangup, Other, TimedOut, Tls};
use std::time::Duration;

/// How long a ping, and the cleaning of a check-in, may take.
pub const PING: Duration = Duration::from_millis(300);
/// How long an attempt to connect may take.
pub const CONNECT: Duration = Duration::from_secs(1);
/// How long a statement may take, from its beginning.
pub const STATEMENT: Duration = Duration::from_millis(400);
/// How long it may go on after that.
pub const CANCEL: Duration = Duration::from_millis(200);
/// How much later each answer comes under `Delay`.
pub const LATE: Duration = Duration::from_millis(40);
/// How much longer than its bound anything may take on a loaded computer.
pub const SLACK: Duration = Duration::from_secs(6);

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is done.
    Ok,
    /// No connection could be opened.
    Connect,
    /// The driver's error; what was to be written is not.
    Failed,
    /// It may or may not have been done.
    Unknown,
}

/// What must come of a cell.
pub struct Rule {
    pub told: Told,
    /// The caller is told no sooner.
    pub at_least: Duration,
    /// Why connections were closed: by nothing but these; by one at least, if any.
    pub closed: &'static [CloseReason],
    /// What class the failed attempt to connect is of; none for work that was begun.
    pub connect: &'static [ConnectFault],
}

const AT_ONCE: Duration = Duration::ZERO;

fn rule(told: Told, at_least: Duration, closed: &'static [CloseReason]) -> Rule {
    Rule { told, at_least, closed, connect: &[] }
}

fn no_connect(at_least: Duration, connect: &'static [ConnectFault]) -> Rule {
    Rule { told: Told::Connect, at_least, closed: &[], connect }
}

/// What the kernel, or the answer, says of a connection that was struck.
fn cause(blow: Blow) -> &'static [CloseReason] {
    match blow {
        Blow::Fin | Blow::HalfClose => &[ServerClosed],
        Blow::Truncated => &[ServerClosed, ServerError],
        Blow::Rst => &[ConnectionReset],
        Blow::Stall | Blow::BlackHole => &[PingTimeout, Condemned],
        Blow::Injected => &[Unsolicited, PingFailed],
        Blow::Delay => &[],
    }
}

/// The rule of a cell.
pub fn of(cell: Cell) -> Rule {
    let Cell { position, blow, .. } = cell;
    let silent = cell.is_silent();
    match position {
        // Late is not dead: everybody is served, and nothing is closed.
        _ if blow == Blow::Delay => rule(Told::Ok, LATE, &[]),
        // Nobody's work was under way: it costs no caller an error, and a silent death
        // one ping, however many died.
        Position::Idle | Position::CheckOut if silent => rule(Told::Ok, PING, cause(blow)),
        Position::Idle => rule(Told::Ok, AT_ONCE, cause(blow)),
        Position::CheckOut => rule(Told::Ok, AT_ONCE, &[PingFailed]),
        // The guard is gone: whatever happens to the cleaning, nobody is told.
        Position::CheckIn if silent => rule(Told::Ok, PING, &[Dirty]),
        Position::CheckIn => rule(Told::Ok, AT_ONCE, in_use(cell)),
        // Work was under way: an error, of the class that leaves the truth open where
        // the server may have done it. What is silent is ended by its time-out.
        Position::Query | Position::Between if silent => rule(Told::Failed, STATEMENT, TIMED_OUT),
        Position::Query | Position::Between => rule(Told::Failed, AT_ONCE, in_use(cell)),
        Position::Write | Position::CommitSent | Position::CommitDone if silent => {
            rule(Told::Unknown, STATEMENT, TIMED_OUT)
        }
        Position::Write | Position::CommitSent | Position::CommitDone => {
            rule(Told::Unknown, AT_ONCE, in_use(cell))
        }
        // Nothing was open: the attempt is what failed.
        Position::Connecting | Position::Handshake if silent => no_connect(CONNECT, &[TimedOut]),
        // The server's answer to whether it has TLS is one byte, which no fault halves.
        Position::Connecting if blow == Blow::Truncated => no_connect(AT_ONCE, &[Hangup, Tls]),
        Position::Connecting if blow == Blow::Injected => no_connect(AT_ONCE, &[Hangup, Other]),
        Position::Connecting => no_connect(AT_ONCE, &[Hangup]),
        Position::Handshake => no_connect(AT_ONCE, &[Tls]),
    }
}

/// Why a connection went that broke in somebody's hands.
fn in_use(cell: Cell) -> &'static [CloseReason] {
    match cell.blow {
        // What it sent makes no sense. Over TLS it is told so; it may hang up at once, or
        // be gone, and what is written to it answered by a reset. Half a record makes no
        // sense either, before the end of it is here.
        Blow::Injected | Blow::Truncated if cell.security == Security::Tls => {
            &[Broken, Dirty, ServerClosed, ConnectionReset]
        }
        Blow::Injected => &[Broken, Dirty],
        blow => cause(blow),
    }
}

/// A connection whose statement was not answered in time.
const TIMED_OUT: &[CloseReason] = &[StatementTimeout];
