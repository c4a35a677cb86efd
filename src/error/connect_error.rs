//! Why a connection could not be opened.

use super::cause;
use super::fault::{Fault, FaultClass};
use super::foreign::{BoxError, SharedError};
use crate::sys::human_duration::HumanDuration;
use crate::sys::one_line::one_line;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How far an attempt to open a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Phase {
    /// The attempt's thread has not started to connect.
    Starting = 0,
    /// The host name is being resolved.
    Resolving = 1,
    /// The TCP or unix-socket connection is being established.
    Connecting = 2,
    /// The driver exchanges the server's greeting, TLS and authentication messages.
    Handshaking = 3,
    /// The `init` hook is preparing the connection.
    Initialising = 4,
    /// The credentials hook is running.
    Authorising = 5,
    /// The driver's `before_connect` hook is running.
    Configuring = 6,
    /// A connection of a [`FleetCap`](crate::config::FleetCap) waits for its turn to log in, or for a
    /// free slot.
    TakingSlot = 7,
}

impl Phase {
    pub(crate) fn from_u8(value: u8) -> Phase {
        match value {
            1 => Phase::Resolving,
            2 => Phase::Connecting,
            3 => Phase::Handshaking,
            4 => Phase::Initialising,
            5 => Phase::Authorising,
            6 => Phase::Configuring,
            7 => Phase::TakingSlot,
            _ => Phase::Starting,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Starting => "during start-up",
            Phase::Resolving => "during name resolution",
            Phase::Connecting => "during connect",
            Phase::Handshaking => "during the handshake",
            Phase::Initialising => "in the init hook",
            Phase::Authorising => "in the credentials hook",
            Phase::Configuring => "in the before_connect hook",
            Phase::TakingSlot => "while waiting for a slot of the fleet",
        })
    }
}

/// A failed attempt to open a connection, shared by all callers that fail because
/// of it.
///
/// Cheap to clone. Its [`source`](StdError::source) is the driver's own error.
#[derive(Clone)]
pub struct ConnectError(Arc<Inner>);

struct Inner {
    class: FaultClass,
    target: String,
    code: Option<String>,
    phase: Option<Phase>,
    took: Option<Duration>,
    /// Why the endpoints tried earlier in the same attempt failed.
    earlier: Vec<String>,
    /// The text of the source; fixed here, so that no foreign code runs in `Display`.
    cause: Option<String>,
    source: Option<SharedError>,
}

impl Inner {
    fn phrase(&self) -> &'static str {
        match (self.class, self.phase) {
            (FaultClass::Panicked, Some(Phase::Initialising)) => "init hook panicked",
            (FaultClass::Panicked, Some(Phase::Authorising)) => "credentials hook panicked",
            (FaultClass::Panicked, Some(Phase::Configuring)) => "before_connect hook panicked",
            (FaultClass::Panicked, _) => "driver panicked",
            (class, _) => class.phrase(),
        }
    }
}

impl ConnectError {
    /// Creates an error of this class about this target; for drivers.
    ///
    /// `target` is the server's name in error texts, such as `127.0.0.1:5432`; it must
    /// not contain a secret.
    pub fn new(class: FaultClass, target: impl Into<String>) -> ConnectError {
        let target = one_line(&target.into()).into_owned();
        ConnectError(Arc::new(Inner {
            class,
            target,
            code: None,
            phase: None,
            took: None,
            earlier: Vec::new(),
            cause: None,
            source: None,
        }))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> ConnectError {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// Sets the driver's own error as the source. Has no effect on a shared error.
    pub fn with_source(self, source: impl Into<BoxError>) -> ConnectError {
        let source: SharedError = Arc::from(source.into());
        self.change(|inner| {
            inner.cause = Some(cause::text(&*source));
            inner.source = Some(source);
        })
    }

    /// Sets the server's error code: a SQLSTATE or a MySQL error number.
    pub fn with_code(self, code: impl Into<String>) -> ConnectError {
        let code = code.into();
        self.change(|inner| inner.code = Some(code))
    }

    /// Sets the phase that the attempt had reached and its duration.
    pub(crate) fn with_progress(self, phase: Phase, took: Duration) -> ConnectError {
        self.change(|inner| {
            inner.phase = Some(phase);
            inner.took = Some(took);
        })
    }

    /// Prepends the failures of the endpoints tried earlier.
    pub(crate) fn after(self, failed: Vec<ConnectError>) -> ConnectError {
        let summarize = |error: ConnectError| {
            let summary = format!("{}: {}", error.0.target, error.0.phrase());
            error.0.earlier.iter().cloned().chain([summary]).collect::<Vec<_>>()
        };
        let earlier: Vec<String> = failed.into_iter().flat_map(summarize).collect();
        self.change(|inner| {
            let own = std::mem::replace(&mut inner.earlier, earlier);
            inner.earlier.extend(own);
        })
    }

    /// Turns the error into a timeout of its endpoint. The driver's error about a socket
    /// that the pool shut down would mislead.
    pub(crate) fn into_timed_out(self) -> ConnectError {
        let earlier = self.0.earlier.clone();
        let error = ConnectError::new(FaultClass::TimedOut, self.0.target.clone());
        error.change(|inner| inner.earlier = earlier)
    }

    /// Returns the kind of failure.
    pub fn class(&self) -> FaultClass {
        self.0.class
    }

    /// Returns what the failure means: nothing was sent, and where the cause may pass, by
    /// itself or by an administrator, the work may be repeated.
    pub fn fault(&self) -> Fault {
        Fault::of_connect(self.0.class)
    }

    /// Returns the server's error code: a SQLSTATE or a MySQL error number.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Returns the phase in which the attempt failed.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }
}

/// One line, with the server's primary message and code, or the driver's own text. The
/// alternate form (`{:#}`) leaves that out, for printers of the whole chain.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "cannot connect to {}: ", inner.target)?;
        let cause = inner.cause.as_deref().filter(|_| !f.alternate()).unwrap_or_default();
        let cause = cause.strip_prefix("panicked: ").unwrap_or(cause);
        match without_phrase(cause, inner.phrase()) {
            "" => f.write_str(inner.phrase())?,
            rest if rest.starts_with(' ') => write!(f, "{}{rest}", inner.phrase())?,
            rest => write!(f, "{}: {rest}", inner.phrase())?,
        }
        if let Some(code) = inner.code.as_ref().filter(|code| !cause.contains(&***code)) {
            write!(f, " ({code})")?;
        }
        if let (FaultClass::TimedOut | FaultClass::Hangup, Some(phase), Some(took)) =
            (inner.class, inner.phase, inner.took)
        {
            write!(f, " ({phase}, after {})", HumanDuration(took))?;
        }
        match &*inner.earlier {
            [] => Ok(()),
            earlier => write!(f, "; earlier: {}", earlier.join("; ")),
        }
    }
}

/// Returns a cause without the phrase that it begins with: the operating system's
/// "Connection refused" repeats ours.
fn without_phrase<'a>(cause: &'a str, phrase: &str) -> &'a str {
    let begin = cause.get(..phrase.len()).filter(|begin| begin.eq_ignore_ascii_case(phrase));
    let rest = begin.map_or(cause, |begin| &cause[begin.len()..]);
    rest.strip_prefix(": ").unwrap_or(rest)
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ConnectError");
        out.field("class", &self.0.class).field("message", &self.to_string());
        if let Some(source) = self.source() {
            out.field("chain", &cause::chain(source));
        }
        out.finish()
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
