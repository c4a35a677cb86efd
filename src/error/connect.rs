//! Why a connection could not be opened.

use super::{BoxError, SharedError};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The class of a failed attempt to open a connection.
///
/// The class decides who is told and when: see [`ConnectFault::waits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectFault {
    /// Nobody listens there, or a firewall said no.
    Refused,
    /// The host's name has no address.
    UnknownHost,
    /// The network has no way to the host.
    Unreachable,
    /// The attempt did not end within `connect_timeout`.
    TimedOut,
    /// The server ended the attempt without saying why.
    Hangup,
    /// The server does not accept this user, password or origin.
    Authentication,
    /// The database named in the configuration does not exist.
    UnknownDatabase,
    /// TLS was wanted and could not be had, or the certificate was not accepted.
    Tls,
    /// The server is starting up, shutting down or recovering.
    Starting,
    /// The server, the role or the database has no connection left to give.
    Saturated,
    /// The server takes no writes, and the pool wants one that does.
    ReadOnly,
    /// A pooler answers, and cannot reach the server behind it.
    NoServer,
    /// The socket was connected to itself: nobody listens on that port.
    SelfConnected,
    /// This process lacks something: descriptors, threads, memory.
    LocalResource,
    /// The configuration cannot work; no attempt was or will be made.
    Config,
    /// The driver or a hook panicked.
    Panicked,
    /// The hook that prepares a new connection returned an error.
    Hook,
    /// The hook that returns the credentials returned an error.
    Credentials,
    /// Any other error of the driver.
    Other,
}

impl ConnectFault {
    /// Tells whether a caller waits for the cause to pass, within its deadline.
    ///
    /// A server that starts, or that is full, heals by itself while the caller
    /// waits. Every other class is reported to the caller at once.
    pub fn waits(self) -> bool {
        matches!(self, ConnectFault::Starting | ConnectFault::Saturated)
    }

    fn phrase(self) -> &'static str {
        match self {
            ConnectFault::Refused => "connection refused",
            ConnectFault::UnknownHost => "no such host",
            ConnectFault::Unreachable => "network or host unreachable",
            ConnectFault::TimedOut => "timed out",
            ConnectFault::Hangup => "the other side closed the connection without a word",
            ConnectFault::Authentication => "the server does not accept these credentials",
            ConnectFault::UnknownDatabase => "no such database",
            ConnectFault::Tls => "TLS failed",
            ConnectFault::Starting => "the server is starting up or shutting down",
            ConnectFault::Saturated => "the server has no connection left to give",
            ConnectFault::ReadOnly => "the server takes no writes",
            ConnectFault::NoServer => "the pooler cannot reach the server behind it",
            ConnectFault::SelfConnected => {
                "the socket was connected to itself: nobody listens on that port"
            }
            ConnectFault::LocalResource => "this process is out of a resource",
            ConnectFault::Config => "the configuration cannot work",
            ConnectFault::Panicked => "the driver or a hook panicked",
            ConnectFault::Hook => "the init hook returned an error",
            ConnectFault::Credentials => "the credentials hook returned an error",
            ConnectFault::Other => "the driver reported an error",
        }
    }
}

/// How far an attempt to open a connection had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Phase {
    /// The thread of the attempt has not begun yet.
    Starting = 0,
    /// The host's name is being resolved.
    Resolving = 1,
    /// The TCP or unix connection is being made.
    Connecting = 2,
    /// The server's greeting, TLS and authentication are under way.
    Handshaking = 3,
    /// The init hook prepares the connection.
    Initialising = 4,
    /// The credentials hook is asked.
    Authorising = 5,
}

impl Phase {
    pub(crate) fn from_u8(value: u8) -> Phase {
        match value {
            1 => Phase::Resolving,
            2 => Phase::Connecting,
            3 => Phase::Handshaking,
            4 => Phase::Initialising,
            5 => Phase::Authorising,
            _ => Phase::Starting,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Starting => "starting the attempt",
            Phase::Resolving => "resolving the host name",
            Phase::Connecting => "connecting",
            Phase::Handshaking => "waiting for the server in the handshake",
            Phase::Initialising => "running the init hook",
            Phase::Authorising => "asking the credentials hook",
        })
    }
}

/// A failed attempt to open a connection, shared by all callers that it fails.
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
    /// Why other places of the same attempt failed before this one.
    earlier: Vec<String>,
    source: Option<SharedError>,
}

impl ConnectError {
    /// Makes an error of this class about this target, for drivers.
    ///
    /// `target` names the server for people, without a secret:
    /// `127.0.0.1:5432`.
    pub fn new(fault: ConnectFault, target: impl Into<String>) -> ConnectError {
        let target = target.into();
        ConnectError(Arc::new(Inner {
            fault,
            target,
            code: None,
            phase: None,
            took: None,
            earlier: Vec::new(),
            source: None,
        }))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> ConnectError {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }

    /// Adds the driver's own error. Has no effect on an error already shared.
    pub fn with_source(self, source: impl Into<BoxError>) -> ConnectError {
        let source: SharedError = Arc::from(source.into());
        self.change(|inner| inner.source = Some(source))
    }

    /// Adds the server's error code: a SQLSTATE or a MySQL error number.
    pub fn with_code(self, code: impl Into<String>) -> ConnectError {
        let code = code.into();
        self.change(|inner| inner.code = Some(code))
    }

    /// Adds how far the attempt had come and how long it had taken.
    pub(crate) fn with_progress(self, phase: Phase, took: Duration) -> ConnectError {
        self.change(|inner| {
            inner.phase = Some(phase);
            inner.took = Some(took);
        })
    }

    /// Adds why other places failed before this one.
    pub(crate) fn after(self, failed: Vec<ConnectError>) -> ConnectError {
        let told = |error: ConnectError| {
            let said = format!("{}: {}", error.0.target, error.0.fault.phrase());
            error.0.earlier.iter().cloned().chain([said]).collect::<Vec<_>>()
        };
        let told: Vec<String> = failed.into_iter().flat_map(told).collect();
        self.change(|inner| {
            let own = std::mem::replace(&mut inner.earlier, told);
            inner.earlier.extend(own);
        })
    }

    /// The same about a place that did not answer in time: what the driver said of a
    /// socket that we cut would only mislead.
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

    /// Returns how far the attempt had come.
    pub fn phase(&self) -> Option<Phase> {
        self.0.phase
    }

    /// Writes the failure and its whole chain of causes on one line.
    pub(crate) fn full_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let part = error.to_string();
            if !text.contains(&part) {
                let _ = write!(text, ": {part}");
            }
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        write!(f, "cannot open a connection to {}: {}", inner.target, inner.fault.phrase())?;
        if let Some(code) = &inner.code {
            write!(f, " ({code})")?;
        }
        if let (ConnectFault::TimedOut | ConnectFault::Hangup, Some(phase), Some(took)) =
            (inner.fault, inner.phase, inner.took)
        {
            write!(f, " while {phase}, after {took:.1?}")?;
        }
        match &*inner.earlier {
            [] => Ok(()),
            earlier => write!(f, " (before it: {})", earlier.join(", ")),
        }
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectError({:?}, {:?})", self.0.fault, self.full_text())
    }
}

impl StdError for ConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn StdError + 'static))
    }
}
