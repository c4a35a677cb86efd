//! What an error means, as two separate answers: is the connection still usable,
//! and may the work be repeated?

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

/// The kind of failure: why a connection could not be opened, or what ended a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultClass {
    // Of connections and statements.
    /// The server, the role, the database, a pooler or the pool is at a limit. This is
    /// backpressure, and no reason to close a connection.
    Saturated,
    /// The server is starting up, shutting down or recovering.
    Starting,
    /// The server is read-only: a standby, or a former primary.
    ReadOnly,
    /// The server rejected the user, the password or the client's address.
    Authentication,
    /// The database does not exist, or was dropped.
    UnknownDatabase,
    /// The configuration is invalid, or the server cannot satisfy it.
    Configuration,
    /// This process is out of descriptors, threads or memory.
    LocalResource,
    /// A timeout of this crate; of an attempt to connect, `connect_timeout`.
    TimedOut,
    /// A pooler answers, but cannot reach its server.
    NoServer,
    /// Anything else.
    Other,

    // Of attempts to connect.
    /// No slot of the pool's [`FleetCap`](crate::config::FleetCap) is free.
    FleetFull,
    /// No server listens on that address, or a firewall rejects the connection.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// There is no route to the host.
    Unreachable,
    /// The peer closed the connection during the attempt without an error message.
    Hangup,
    /// The socket connected to itself: no server listens on that port.
    SelfConnected,
    /// The server is not a standby, and the pool or the settings require one.
    NotStandby,
    /// TLS is required and not available, or certificate verification failed.
    Tls,
    /// The hook that returns the credentials returned an error.
    Credentials,
    /// The driver's `before_connect` hook returned an error, or changed what it may not.
    BeforeConnect,
    /// The hook that prepares a new connection returned an error.
    Hook,
    /// The driver or a hook panicked.
    Panicked,

    // Of statements.
    /// The statement was cancelled, by request or by a timeout of the server.
    Cancelled,
    /// A conflict with another transaction: a serialization failure or a deadlock.
    Conflict,
    /// A lock was not available in time.
    LockTimeout,
    /// The connection was lost.
    Disconnected,
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
    /// The caller's own error.
    Caller,
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
    pub(crate) const fn of_connect(class: FaultClass) -> Fault {
        let repeat = match class {
            FaultClass::Saturated
            | FaultClass::FleetFull
            | FaultClass::Starting
            | FaultClass::ReadOnly
            | FaultClass::TimedOut
            | FaultClass::LocalResource
            // The store of the credentials may be back for the next attempt.
            | FaultClass::Credentials
            | FaultClass::BeforeConnect => RetrySafety::NothingSent,
            class if class.is_unreachable() => RetrySafety::NothingSent,
            _ => RetrySafety::Permanent,
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

    /// Returns the class of a failed connect for the same server code: no statement was
    /// sent whose class it could be.
    pub(crate) const fn when_connecting(self) -> FaultClass {
        match self {
            FaultClass::Saturated
            | FaultClass::Starting
            | FaultClass::Authentication
            | FaultClass::UnknownDatabase
            | FaultClass::Configuration
            | FaultClass::NoServer => self,
            _ => FaultClass::Other,
        }
    }

    /// Returns `true` if callers wait, within their deadline, for the cause of a failed
    /// connect to pass.
    ///
    /// A server that is starting up or at its connection limit may recover while
    /// the caller waits, and so may a fleet at its cap. Every other class is reported to the caller immediately.
    pub const fn waits(self) -> bool {
        matches!(self, FaultClass::Starting | FaultClass::Saturated | FaultClass::FleetFull)
    }

    /// Returns `true` if no server, or not the one that was meant, could be reached:
    /// [`Refused`](FaultClass::Refused), [`UnknownHost`](FaultClass::UnknownHost),
    /// [`Unreachable`](FaultClass::Unreachable), [`Hangup`](FaultClass::Hangup),
    /// [`SelfConnected`](FaultClass::SelfConnected), [`NotStandby`](FaultClass::NotStandby)
    /// and [`NoServer`](FaultClass::NoServer).
    pub const fn is_unreachable(self) -> bool {
        matches!(
            self,
            FaultClass::Refused
                | FaultClass::UnknownHost
                | FaultClass::Unreachable
                | FaultClass::Hangup
                | FaultClass::SelfConnected
                | FaultClass::NotStandby
                | FaultClass::NoServer
        )
    }

    /// Returns what a failed attempt to connect is called in texts.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            FaultClass::Refused => "connection refused",
            FaultClass::UnknownHost => "no such host",
            FaultClass::Unreachable => "network or host unreachable",
            FaultClass::TimedOut => "timed out",
            FaultClass::Hangup => "peer closed the connection unexpectedly",
            FaultClass::Authentication => "authentication failed",
            FaultClass::UnknownDatabase => "database does not exist",
            FaultClass::Tls => "TLS failed",
            FaultClass::Starting => "server is starting up or shutting down",
            FaultClass::Saturated => "too many connections",
            FaultClass::FleetFull => "fleet is at its cap",
            FaultClass::ReadOnly => "server is read-only",
            FaultClass::NotStandby => "server is not a standby",
            FaultClass::NoServer => "pooler cannot reach its server",
            FaultClass::SelfConnected => {
                "socket connected to itself (no server listens on that port)"
            }
            FaultClass::LocalResource => {
                "local resource exhausted (descriptors, threads or memory)"
            }
            FaultClass::Configuration => "invalid configuration",
            FaultClass::Panicked => "panicked",
            FaultClass::Hook => "init hook failed",
            FaultClass::Credentials => "credentials hook failed",
            FaultClass::BeforeConnect => "before_connect hook failed",
            _ => "driver error",
        }
    }
}
