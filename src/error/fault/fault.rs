//! What an error means, as two separate answers: is the connection still usable,
//! and may the work be repeated?

use crate::error::connect_error::ConnectFault;

/// What an error means for the connection and for the work.
///
/// [`Error::fault`](crate::Error::fault) returns it for the errors of this crate,
/// [`fault_of`](crate::fault_of) for those of a driver's own methods on a guard.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{FaultClass, Pool, RetrySafety, Sqlite, Usability};
///
/// let pool = Pool::builder().build(Sqlite::memory())?;
/// let guard = pool.get()?;
/// let error = guard.execute_batch("select * from no_such_table").unwrap_err();
/// let fault = poolwarden::fault_of(&error);
/// assert_eq!(fault.class(), FaultClass::Statement);
/// assert_eq!(fault.connection(), Usability::Usable);
/// assert_eq!(fault.retry_safety(), RetrySafety::Permanent);
/// # }
/// # Ok::<(), poolwarden::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    class: FaultClass,
    connection: Usability,
    retry_safety: RetrySafety,
}

/// Whether the connection is still usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Usability {
    /// Yes: it is open and in sync with the server.
    Usable,
    /// It is open, but its server or its state does not fit the work: ping it first,
    /// or use another connection.
    Suspect,
    /// No: it was lost, was never opened, or is out of sync with the server.
    Broken,
}

/// Whether the work may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetrySafety {
    /// Yes: nothing of it reached the server.
    NothingSent,
    /// Yes, from its beginning: the server rolled it back, or refused to start it.
    RolledBack,
    /// It was sent and the reply was lost: it may have taken effect. Only idempotent
    /// work may be repeated.
    OutcomeUnknown,
    /// No: it would fail in the same way, or the caller ended it.
    Permanent,
}

/// The kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultClass {
    /// The server, a pooler or the pool is at a limit. This is backpressure, and no
    /// reason to close a connection.
    Saturated,
    /// The server is starting up, shutting down or recovering.
    Starting,
    /// The server is read-only: a standby, or a former primary.
    ReadOnly,
    /// The statement was cancelled, by request or by a timeout of the server.
    Cancelled,
    /// A conflict with another transaction: a serialization failure or a deadlock.
    Conflict,
    /// A lock was not available in time.
    LockTimeout,
    /// The connection was lost.
    Disconnected,
    /// No connection could be opened: refused, unknown host, unreachable or timed out.
    Unreachable,
    /// The server rejected the user, the password or the client's address.
    Authentication,
    /// The database does not exist, or was dropped.
    UnknownDatabase,
    /// TLS, or another part of the configuration, is wrong.
    Configuration,
    /// This process is out of descriptors, threads or memory.
    LocalResource,
    /// The connection is out of sync: replies no longer match requests.
    Protocol,
    /// The transaction failed earlier and rejects every further statement.
    TransactionAborted,
    /// A prepared statement, or its plan, is no longer valid.
    Stale,
    /// The server rejected the statement: a constraint, a missing privilege, a syntax
    /// error.
    Statement,
    /// The call does not match the statement: parameters, types, rows.
    Usage,
    /// A timeout of this crate.
    TimedOut,
    /// The caller's own error.
    Caller,
    /// Anything else.
    Other,
}

impl Fault {
    /// Returns the fault of an application's own error: the connection is usable, and no
    /// retry helps.
    pub const fn of_caller() -> Fault {
        Fault::new(FaultClass::Caller, Usability::Usable, RetrySafety::Permanent)
    }

    pub(crate) const fn new(
        class: FaultClass,
        connection: Usability,
        retry_safety: RetrySafety,
    ) -> Fault {
        Fault { class, connection, retry_safety }
    }

    /// Returns the kind of failure.
    pub fn class(self) -> FaultClass {
        self.class
    }

    /// Returns whether the connection is still usable.
    pub fn connection(self) -> Usability {
        self.connection
    }

    /// Returns whether the work may be repeated.
    pub fn retry_safety(self) -> RetrySafety {
        self.retry_safety
    }

    /// Returns the fault with another class.
    pub(crate) const fn of_class(self, class: FaultClass) -> Fault {
        Fault { class, ..self }
    }

    /// Returns the fault with another answer about the work.
    pub(crate) const fn with_retry_safety(self, retry_safety: RetrySafety) -> Fault {
        Fault { retry_safety, ..self }
    }

    /// Returns the fault with another answer about the connection.
    pub(crate) const fn with_connection(self, connection: Usability) -> Fault {
        Fault { connection, ..self }
    }

    /// Returns the fault of a failed attempt to open a connection: nothing was sent, and
    /// classes that may recover, by themselves or by an administrator, may be retried.
    pub(crate) fn of_connect(fault: ConnectFault) -> Fault {
        let (class, repeat) = match fault {
            ConnectFault::Saturated => (FaultClass::Saturated, RetrySafety::NothingSent),
            ConnectFault::Starting => (FaultClass::Starting, RetrySafety::NothingSent),
            ConnectFault::ReadOnly => (FaultClass::ReadOnly, RetrySafety::NothingSent),
            ConnectFault::Refused
            | ConnectFault::UnknownHost
            | ConnectFault::Unreachable
            | ConnectFault::TimedOut
            | ConnectFault::Hangup
            | ConnectFault::NotStandby
            | ConnectFault::NoServer
            | ConnectFault::SelfConnected => (FaultClass::Unreachable, RetrySafety::NothingSent),
            ConnectFault::LocalResource => (FaultClass::LocalResource, RetrySafety::NothingSent),
            ConnectFault::Authentication => (FaultClass::Authentication, RetrySafety::Permanent),
            ConnectFault::UnknownDatabase => (FaultClass::UnknownDatabase, RetrySafety::Permanent),
            ConnectFault::Tls | ConnectFault::Config => {
                (FaultClass::Configuration, RetrySafety::Permanent)
            }
            // The store of the credentials may be back for the next attempt.
            ConnectFault::Credentials | ConnectFault::BeforeConnect => {
                (FaultClass::Other, RetrySafety::NothingSent)
            }
            ConnectFault::Panicked | ConnectFault::Hook | ConnectFault::Other => {
                (FaultClass::Other, RetrySafety::Permanent)
            }
        };
        Fault::new(class, Usability::Broken, repeat)
    }
}

impl FaultClass {
    /// Returns the fault of a statement's error of this class, on a session that the
    /// error does not end. Other signs show that a session ended.
    pub(crate) const fn of_statement(self) -> Fault {
        let (connection, repeat) = match self {
            FaultClass::ReadOnly => (Usability::Suspect, RetrySafety::RolledBack),
            FaultClass::Conflict | FaultClass::LockTimeout | FaultClass::Saturated => {
                (Usability::Usable, RetrySafety::RolledBack)
            }
            FaultClass::Stale => (Usability::Suspect, RetrySafety::RolledBack),
            FaultClass::Disconnected | FaultClass::Protocol | FaultClass::Starting => {
                (Usability::Broken, RetrySafety::OutcomeUnknown)
            }
            _ => (Usability::Usable, RetrySafety::Permanent),
        };
        Fault::new(self, connection, repeat)
    }

    /// Returns the class of a failed connect for the same server code.
    pub(crate) fn when_connecting(self) -> ConnectFault {
        match self {
            FaultClass::Saturated => ConnectFault::Saturated,
            FaultClass::Starting => ConnectFault::Starting,
            FaultClass::Authentication => ConnectFault::Authentication,
            FaultClass::UnknownDatabase => ConnectFault::UnknownDatabase,
            FaultClass::Configuration => ConnectFault::Config,
            // Only a pooler reports this as an error of its own.
            FaultClass::Unreachable => ConnectFault::NoServer,
            _ => ConnectFault::Other,
        }
    }
}
