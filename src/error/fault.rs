//! What an error means, as two separate answers: may the connection be used on,
//! and may the work be done again? Pure tables, one for each driver.

pub(crate) mod io;
#[cfg(feature = "mysql")]
pub(crate) mod mysql;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use super::{ConnectError, ConnectFault, Error};
use std::error::Error as StdError;

/// What an error means for the connection and for the work.
///
/// From [`Error::fault`] for the errors of this crate, and from [`fault_of`] for
/// those of a driver's own methods on a guard.
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// use poolwarden::{FaultClass, Pool, Repeat, Sqlite, Usability};
///
/// let pool = Pool::builder().build(Sqlite::memory())?;
/// let guard = pool.get()?;
/// let error = guard.execute_batch("select * from no_such_table").unwrap_err();
/// let fault = poolwarden::fault_of(&error);
/// assert_eq!(fault.class(), FaultClass::Statement);
/// assert_eq!(fault.connection(), Usability::Usable);
/// assert_eq!(fault.repeat(), Repeat::Permanent);
/// # }
/// # Ok::<(), poolwarden::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    class: FaultClass,
    connection: Usability,
    repeat: Repeat,
}

/// May the connection be used on?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Usability {
    /// Yes: it is alive and in step.
    Usable,
    /// It is alive, but the wrong one for this work, or in doubt: ask it for a sign
    /// of life, or open another.
    Suspect,
    /// No: it is gone, was never there, or its answers can no longer be trusted.
    Broken,
}

/// May the work be done again?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repeat {
    /// Nothing of it has reached the server: yes.
    NothingSent,
    /// The server has undone it, or refused to begin it: yes, from its beginning.
    RolledBack,
    /// It was sent, and the answer was lost: it may have been done. Only if doing it
    /// twice is the same as doing it once.
    OutcomeUnknown,
    /// The same would fail in the same way, or is not wanted.
    Permanent,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultClass {
    /// The server, a pooler or the pool has nothing left to give. It is backpressure:
    /// no reason to close a connection.
    Saturated,
    /// The server is starting, stopping or recovering.
    Starting,
    /// The server takes no writes: a standby, or one that was taken out of service.
    ReadOnly,
    /// Somebody cancelled the statement, or a time-out of the server did.
    Cancelled,
    /// It collided with others: a serialization failure or a deadlock.
    Conflict,
    /// A lock was not free in time.
    LockTimeout,
    /// The connection was lost.
    Disconnected,
    /// No connection could be made: refused, unknown, unreachable, or too slow.
    Unreachable,
    /// The server does not accept this user, password or origin.
    Authentication,
    /// There is no such database, or it was dropped.
    UnknownDatabase,
    /// TLS, or another part of the configuration, cannot work.
    Configuration,
    /// This process lacks something: descriptors, threads, memory.
    LocalResource,
    /// Answers and questions no longer match.
    Protocol,
    /// The transaction had failed before, and refuses whatever follows.
    Doomed,
    /// A prepared statement, or a plan of one, is no longer valid.
    Stale,
    /// The server refuses this statement: a constraint, a right, a mistake in it.
    Statement,
    /// The call does not fit: parameters, types, rows.
    Usage,
    /// A deadline of this crate passed.
    TimedOut,
    /// The caller's own error.
    Caller,
    /// Anything else.
    Other,
}

impl Fault {
    pub(crate) const fn new(class: FaultClass, connection: Usability, repeat: Repeat) -> Fault {
        Fault { class, connection, repeat }
    }

    /// Says what kind of failure it is.
    pub fn class(self) -> FaultClass {
        self.class
    }

    /// Says whether the connection may be used on.
    pub fn connection(self) -> Usability {
        self.connection
    }

    /// Says whether the work may be done again.
    pub fn repeat(self) -> Repeat {
        self.repeat
    }

    /// The same answers for a failure of another class.
    pub(crate) const fn of_class(self, class: FaultClass) -> Fault {
        Fault { class, ..self }
    }

    /// The same failure, of which more is known about the work.
    pub(crate) const fn with_repeat(self, repeat: Repeat) -> Fault {
        Fault { repeat, ..self }
    }

    /// The same failure, of which more is known about the connection.
    pub(crate) const fn with_connection(self, connection: Usability) -> Fault {
        Fault { connection, ..self }
    }

    /// What a failed attempt to open a connection means: nothing was sent, and the
    /// classes that pass by themselves, or by somebody's hand, may be tried again.
    pub(crate) fn of_connect(fault: ConnectFault) -> Fault {
        let (class, repeat) = match fault {
            ConnectFault::Saturated => (FaultClass::Saturated, Repeat::NothingSent),
            ConnectFault::Starting => (FaultClass::Starting, Repeat::NothingSent),
            ConnectFault::ReadOnly => (FaultClass::ReadOnly, Repeat::NothingSent),
            ConnectFault::Refused
            | ConnectFault::UnknownHost
            | ConnectFault::Unreachable
            | ConnectFault::TimedOut
            | ConnectFault::Hangup
            | ConnectFault::NoServer
            | ConnectFault::SelfConnected => (FaultClass::Unreachable, Repeat::NothingSent),
            ConnectFault::LocalResource => (FaultClass::LocalResource, Repeat::NothingSent),
            ConnectFault::Authentication => (FaultClass::Authentication, Repeat::Permanent),
            ConnectFault::UnknownDatabase => (FaultClass::UnknownDatabase, Repeat::Permanent),
            ConnectFault::Tls | ConnectFault::Config => {
                (FaultClass::Configuration, Repeat::Permanent)
            }
            // A vault that is sealed is opened again.
            ConnectFault::Credentials => (FaultClass::Other, Repeat::NothingSent),
            ConnectFault::Panicked | ConnectFault::Hook | ConnectFault::Other => {
                (FaultClass::Other, Repeat::Permanent)
            }
        };
        Fault::new(class, Usability::Broken, repeat)
    }
}

impl FaultClass {
    /// What an error of this class means when a statement met it on a connection that
    /// lives on; one that ends the session says so by other means.
    pub(crate) const fn of_statement(self) -> Fault {
        let (connection, repeat) = match self {
            FaultClass::ReadOnly => (Usability::Suspect, Repeat::RolledBack),
            FaultClass::Conflict | FaultClass::LockTimeout | FaultClass::Saturated => {
                (Usability::Usable, Repeat::RolledBack)
            }
            FaultClass::Stale => (Usability::Suspect, Repeat::RolledBack),
            FaultClass::Disconnected | FaultClass::Protocol | FaultClass::Starting => {
                (Usability::Broken, Repeat::OutcomeUnknown)
            }
            _ => (Usability::Usable, Repeat::Permanent),
        };
        Fault::new(self, connection, repeat)
    }

    /// The class of a failed connect that the same code of the server stands for.
    pub(crate) fn when_connecting(self) -> ConnectFault {
        match self {
            FaultClass::Saturated => ConnectFault::Saturated,
            FaultClass::Starting => ConnectFault::Starting,
            FaultClass::Authentication => ConnectFault::Authentication,
            FaultClass::UnknownDatabase => ConnectFault::UnknownDatabase,
            FaultClass::Configuration => ConnectFault::Config,
            // Only a pooler says so itself.
            FaultClass::Unreachable => ConnectFault::NoServer,
            _ => ConnectFault::Other,
        }
    }
}

/// An error whose [`Fault`] is known: those of this crate and of its drivers.
pub trait Classify: sealed::Sealed {
    /// Says what the error means for the connection and for the work.
    fn classify(&self) -> Fault;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! classify {
    ($error:ty, $by:expr) => {
        impl sealed::Sealed for $error {}

        impl Classify for $error {
            fn classify(&self) -> Fault {
                $by(self)
            }
        }
    };
}

classify!(Error, Error::fault);
classify!(ConnectError, |error: &ConnectError| Fault::of_connect(error.fault()));
#[cfg(feature = "postgres")]
classify!(::postgres::Error, postgres::fault);
#[cfg(feature = "mysql")]
classify!(::mysql::Error, mysql::fault);
#[cfg(feature = "sqlite")]
classify!(rusqlite::Error, sqlite::fault);

/// Says what an error of a driver's own methods means.
///
/// It knows the error alone: an error of the server to a statement of a transaction
/// is judged as if that statement had been all there was.
pub fn fault_of(error: &impl Classify) -> Fault {
    error.classify()
}

/// The fault of the first error of a driver in a chain of causes.
pub(crate) fn in_chain(mut error: &(dyn StdError + 'static)) -> Option<Fault> {
    loop {
        if let Some(fault) = of_driver(error) {
            return Some(fault);
        }
        error = error.source()?;
    }
}

fn of_driver(error: &(dyn StdError + 'static)) -> Option<Fault> {
    #[cfg(feature = "postgres")]
    if let Some(error) = error.downcast_ref::<::postgres::Error>() {
        return Some(postgres::fault(error));
    }
    #[cfg(feature = "mysql")]
    if let Some(error) = error.downcast_ref::<::mysql::Error>() {
        return Some(mysql::fault(error));
    }
    #[cfg(feature = "sqlite")]
    if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
        return Some(sqlite::fault(error));
    }
    error.downcast_ref::<Error>().map(Error::fault)
}
