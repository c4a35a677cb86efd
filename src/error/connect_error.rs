//! Why a connection could not be opened.

use super::cause;
use super::foreign::{BoxError, SharedError};
use crate::sys::human_duration::HumanDuration;
use crate::sys::one_line::one_line;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The class of a failed attempt to open a connection.
///
/// The class decides whether callers wait or fail fast: see [`ConnectFault::waits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFault {
    /// No server listens on that address, or a firewall rejects the connection.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// There is no route to the host.
    Unreachable,
    /// The attempt did not end within `connect_timeout`.
    TimedOut,
    /// The peer closed the connection during the attempt without an error message.
    Hangup,
    /// The server rejected the user, the password or the client's address.
    Authentication,
    /// The database named in the configuration does not exist.
    UnknownDatabase,
    /// TLS is required and not available, or certificate verification failed.
    Tls,
    /// The server is starting up, shutting down or recovering.
    Starting,
    /// The server, the role or the database is at its connection limit.
    Saturated,
    /// The server is read-only, and the pool requires a writable one.
    ReadOnly,
    /// The server is not a standby, and the pool or the settings require one.
    NotStandby,
    /// A pooler answers, but cannot reach its server.
    NoServer,
    /// The socket connected to itself: no server listens on that port.
    SelfConnected,
    /// This process is out of descriptors, threads or memory.
    LocalResource,
    /// The configuration is invalid or the server cannot satisfy it.
    Config,
    /// The driver or a hook panicked.
    Panicked,
    /// The hook that prepares a new connection returned an error.
    Hook,
    /// The hook that returns the credentials returned an error.
    Credentials,
    /// The driver's `before_connect` hook returned an error, or changed what it may not.
    BeforeConnect,
    /// Any other error of the driver.
    Other,
}

impl ConnectFault {
    /// Returns `true` if callers wait, within their deadline, for the cause to pass.
    ///
    /// A server that is starting up or at its connection limit may recover while
    /// the caller waits. Every other class is reported to the caller immediately.
    pub fn waits(self) -> bool {
        matches!(self, ConnectFault::Starting | ConnectFault::Saturated)
    }

    pub(crate) fn phrase(self) -> &'static str {
        match self {
            ConnectFault::Refused => "connection refused",
            ConnectFault::UnknownHost => "no such host",
            ConnectFault::Unreachable => "network or host unreachable",
            ConnectFault::TimedOut => "timed out",
            ConnectFault::Hangup => "peer closed the connection unexpectedly",
            ConnectFault::Authentication => "authentication failed",
            ConnectFault::UnknownDatabase => "database does not exist",
            ConnectFault::Tls => "TLS failed",
            ConnectFault::Starting => "server is starting up or shutting down",
            ConnectFault::Saturated => "too many connections",
            ConnectFault::ReadOnly => "server is read-only",
            ConnectFault::NotStandby => "server is not a standby",
            ConnectFault::NoServer => "pooler cannot reach its server",
            ConnectFault::SelfConnected => {
                "socket connected to itself (no server listens on that port)"
            }
            ConnectFault::LocalResource => {
                "local resource exhausted (descriptors, threads or memory)"
            }
            ConnectFault::Config => "invalid configuration",
            ConnectFault::Panicked => "panicked",
            ConnectFault::Hook => "init hook failed",
            ConnectFault::Credentials => "credentials hook failed",
            ConnectFault::BeforeConnect => "before_connect hook failed",
            ConnectFault::Other => "driver error",
        }
    }
}

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
    fault: ConnectFault,
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
        match (self.fault, self.phase) {
            (ConnectFault::Panicked, Some(Phase::Initialising)) => "init hook panicked",
            (ConnectFault::Panicked, Some(Phase::Authorising)) => "credentials hook panicked",
            (ConnectFault::Panicked, Some(Phase::Configuring)) => "before_connect hook panicked",
            (ConnectFault::Panicked, _) => "driver panicked",
            (fault, _) => fault.phrase(),
        }
    }
}

impl ConnectError {
    /// Creates an error of this class about this target; for drivers.
    ///
    /// `target` is the server's name in error texts, such as `127.0.0.1:5432`; it must
    /// not contain a secret.
    pub fn new(fault: ConnectFault, target: impl Into<String>) -> ConnectError {
        let target = one_line(&target.into()).into_owned();
        ConnectError(Arc::new(Inner {
            fault,
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
        let error = ConnectError::new(ConnectFault::TimedOut, self.0.target.clone());
        error.change(|inner| inner.earlier = earlier)
    }

    /// Returns the class of the failure.
    pub fn fault(&self) -> ConnectFault {
        self.0.fault
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
        if let (ConnectFault::TimedOut | ConnectFault::Hangup, Some(phase), Some(took)) =
            (inner.fault, inner.phase, inner.took)
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
        out.field("fault", &self.0.fault).field("message", &self.to_string());
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
